// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/probes/probestest"
)

// cpuRecipe is that of docs/probes.md: the CPU of a machine by its node_exporter.
var cpuRecipe = []core.MetricSpec{
	{Name: core.MetricCores, From: `node_cpu_seconds_total{mode="idle"}`, Aggregate: core.CountOf},
	{Name: core.MetricCPU, From: `node_cpu_seconds_total{mode="idle"}`, Kind: core.CounterKind, Aggregate: core.AvgOf, Complement: true},
}

func pageTarget(addr netip.AddrPort, metrics ...core.MetricSpec) Target {
	return Target{
		ID: core.BackendID{Service: "web", Backend: "web1"}, Addr: addr,
		Spec: &core.ProbeSpec{Name: "node", Type: core.ProbePrometheus, Role: core.MetricRole, Timeout: ample, Interval: time.Second, Metrics: metrics},
	}
}

// servePage serves what page returns.
func servePage(t *testing.T, page func(*http.Request) string) netip.AddrPort {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, page(r)) }))
	t.Cleanup(s.Close)
	return netip.MustParseAddrPort(s.Listener.Addr().String())
}

func TestPrometheus(t *testing.T) {
	var text atomic.Pointer[string]
	set := func(s string) { text.Store(&s) }
	addr := servePage(t, func(*http.Request) string { return *text.Load() })
	target := pageTarget(addr,
		core.MetricSpec{Name: "load", From: "node_load1"},
		core.MetricSpec{Name: "requests", From: `http_requests_total{code!~"5.."}`, Kind: core.CounterKind, Aggregate: core.SumOf})
	p := newProber(target)

	set("up 1\n")
	wantCode(t, askWith(t, target, p), false, core.MetricNone, "load: no node_load1 among the 1 series of the page; requests: no http_requests_total among")
	set("node_load1{x=\"1\"} 1\nnode_load1 2\nhttp_requests_total{code=\"503\"} 7\n")
	wantCode(t, askWith(t, target, p), false, core.MetricNone, `load: 2 numbers for "node_load1": narrow it down, or set aggregate; requests: 1 series http_requests_total, and none has these labels`)
	set("node_load1 NaN\nhttp_requests_total{code=\"200\"} 7\n")
	s := askWith(t, target, p)
	wantCode(t, s, true, core.MetricWait, "requests after the next answer")
	if again := p.(patient).enough(result{}); again != time.Second {
		t.Errorf("it wants to go on after %s, want its interval", again)
	}
	set("node_load1 1.5\nhttp_requests_total{code=\"200\"} 1007\nhttp_requests_total{code=\"404\"} 5\n")
	s = askWith(t, target, p)
	wantCode(t, s, true, core.MetricOK, "load 1.5; requests ")
	wantMetrics(t, s, "load", "requests")
	m, _ := s.Metric("requests")
	if grown := m.Value * m.Window.Seconds(); m.Unit != "per_second" || grown < 999.9 || grown > 1000.1 {
		t.Errorf("got %+v: it grew by %v in its window, want 1000", m, grown)
	}
	if again := p.(patient).enough(result{}); again != 0 {
		t.Errorf("it wants to go on after %s", again)
	}
}

// TestPrometheusStamps: numbers with a time of their own, as of a federation, are of
// that time, and a rate is over theirs.
func TestPrometheusStamps(t *testing.T) {
	var n atomic.Int64
	addr := servePage(t, func(*http.Request) string {
		i := n.Add(1) - 1
		return fmt.Sprintf("a_total %d %d\ng 5 %d\n", 100+50*i, 1700000000000+10000*i, 1600000000000)
	})
	target := pageTarget(addr, core.MetricSpec{Name: "a", From: "a_total", Kind: core.CounterKind}, core.MetricSpec{Name: "g", From: "g"})
	p := newProber(target)
	askWith(t, target, p)
	s := askWith(t, target, p)
	wantMetrics(t, s, "a", "g")
	if m := s.Metrics[0]; m.Value != 5 || m.Window != 10*time.Second || m.At.Unix() != 1700000010 {
		t.Errorf("got %+v, want 5 over 10s", m)
	}
	if m := s.Metrics[1]; m.At.Unix() != 1600000000 {
		t.Errorf("got %+v, want that of 2020", m)
	}
}

func TestPrometheusRequest(t *testing.T) {
	var last atomic.Pointer[http.Request]
	addr := servePage(t, func(r *http.Request) string { last.Store(r); return "a 1\n" })
	target := pageTarget(addr, core.MetricSpec{Name: "a", From: "a"})
	ask(t, target)
	if r := last.Load(); r.Method != "GET" || r.RequestURI != "/metrics" || r.Host != addr.String() || r.Header.Get("Accept") != acceptPage {
		t.Errorf("got %s %s, host %s, accept %s", r.Method, r.RequestURI, r.Host, r.Header.Get("Accept"))
	}
	target = pageTarget(addr, core.MetricSpec{Name: "a", From: "a"})
	target.Spec.Prometheus = core.PrometheusSpec{Path: "/probe?module=x", Host: "www.example.org", Headers: []core.Header{{Name: "Authorization", Value: "Bearer x"}, {Name: "accept", Value: "*/*"}}}
	ask(t, target)
	if r := last.Load(); r.RequestURI != "/probe?module=x" || r.Host != "www.example.org" || r.Header.Get("Authorization") != "Bearer x" || r.Header.Get("Accept") != "*/*" {
		t.Errorf("got %s, host %s, %v", r.RequestURI, r.Host, r.Header)
	}
}

func TestPrometheusFailures(t *testing.T) {
	a := core.MetricSpec{Name: "a", From: "a"}
	web := probestest.NewWeb(t, false)
	web.SetStatus(http.StatusNotFound)
	wantCode(t, ask(t, pageTarget(web.Addr, a)), false, core.L7Status, "HTTP status 404 Not Found for /metrics, want 200: set path")
	wantCode(t, ask(t, pageTarget(freePort(t), a)), false, core.L4Refused, "refused")
	page := probestest.Script(t, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>")
	wantCode(t, ask(t, pageTarget(page, a)), false, core.L7Response, `/metrics of `+page.String()+`: line 1: want the name of a metric before "<html>"`)
	cut := probestest.Script(t, "HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\na 1\n")
	wantCode(t, ask(t, pageTarget(cut, a)), false, core.L7Response, "the page was cut off")
	mute := pageTarget(probestest.Mute(t), a)
	mute.Spec.Timeout = brief
	wantCode(t, ask(t, mute), false, core.L7Timeout, "no answer came")
	wantCode(t, ask(t, pageTarget(web.Addr)), false, core.Internal, "metrics is empty")
	wantCode(t, ask(t, pageTarget(web.Addr, core.MetricSpec{Name: "a", From: "a{x=1}"})), false, core.Internal, "metric a: series a{x=1}: want a value in quotes at character 5")
}

// TestNodeExporter scrapes Debian's node_exporter and expects the CPU of this machine
// by the recipe of the documentation.
func TestNodeExporter(t *testing.T) {
	at := freePort(t)
	startServer(t, []netip.AddrPort{at}, "prometheus-node-exporter", "--web.listen-address="+at.String())
	target := pageTarget(at, cpuRecipe...)
	var steps []string
	ctx := t.Context()
	s := Try(ctx, target, func(step, text string) { steps = append(steps, step+": "+text) })
	wantCode(t, s, true, core.MetricOK, "cpu ")
	wantMetrics(t, s, core.MetricCores, core.MetricCPU)
	if m, _ := s.Metric(core.MetricCores); m.Value != float64(runtime.NumCPU()) || m.Unit != "count" {
		t.Errorf("got %+v, want %d cores", m, runtime.NumCPU())
	}
	if m, _ := s.Metric(core.MetricCPU); m.Value < 0 || m.Value > 1 || m.Unit != "ratio" || m.Window < 500*time.Millisecond || s.Seq != 2 {
		t.Errorf("got %+v after %d runs, want a ratio over about a second after 2", m, s.Seq)
	}
	if all := strings.Join(steps, "\n"); !strings.Contains(all, "cpu waits") || !strings.Contains(all, "(avg); cpu") {
		t.Errorf("the notes do not show how it came about:\n%s", all)
	}
}

// TestNginxPage: a page that nginx serves over TLS, as a file of a textfile collector.
func TestNginxPage(t *testing.T) {
	ca := issue(t, nil, in(300), "Test CA")
	web := issue(t, ca, in(90), "www", "www.example.org")
	files := map[string]string{"web.crt": web.cert, "web.key": web.key, "metrics": string(nodePage(4, 100))}
	n := startNginx(t, files, []string{"tls"}, `
events {}
http {
	access_log off; client_body_temp_path DIR/t1; proxy_temp_path DIR/t2; fastcgi_temp_path DIR/t3; uwsgi_temp_path DIR/t4; scgi_temp_path DIR/t5;
	server { listen {tls} ssl; ssl_certificate DIR/web.crt; ssl_certificate_key DIR/web.key; root DIR; gzip on; gzip_types *; chunked_transfer_encoding on; }
}`)
	target := pageTarget(n.ports["tls"], core.MetricSpec{Name: "things", From: `node_thing_149{device=~"eth[1-3]"}`, Aggregate: core.SumOf})
	target.Spec.Prometheus = core.PrometheusSpec{Host: "www.example.org", TLS: core.TLSSpec{Enabled: true, CA: ca.cert}}
	s := ask(t, target)
	wantCode(t, s, true, core.MetricOK, "things 894")
	target = pageTarget(n.ports["tls"], core.MetricSpec{Name: "things", From: "x"})
	target.Spec.Prometheus = core.PrometheusSpec{TLS: core.TLSSpec{Enabled: true, CA: ca.cert}}
	wantCode(t, ask(t, target), false, core.L6Response, "TLS with")
}
