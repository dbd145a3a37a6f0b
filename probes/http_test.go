// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"io"
	"net"
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

func httpTarget(addr netip.AddrPort, spec core.HTTPSpec) Target {
	target := tcpTarget(addr)
	target.Spec.Type, target.Spec.HTTP, target.Spec.Timeout = core.ProbeHTTP, spec, ample
	return target
}

func TestHTTPStatus(t *testing.T) {
	web := probestest.NewWeb(t, false)
	tests := []struct {
		name   string
		status int
		want   []core.StatusRange
		ok     bool
		detail string
	}{
		{"200", 200, nil, true, "HTTP status 200 in "},
		{"a redirect is not followed", 302, nil, true, "302"},
		{"503", 503, nil, false, "503 Service Unavailable, want 200-399"},
		{"a 404 that is wished for", 404, []core.StatusRange{{From: 200, To: 200}, {From: 404, To: 404}}, true, "404"},
		{"a redirect that is not wished for", 301, []core.StatusRange{{From: 200, To: 299}, {From: 401, To: 401}}, false, "want 200-299, 401"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			web.SetStatus(tt.status)
			before := web.Hits()
			s := ask(t, httpTarget(web.Addr, core.HTTPSpec{Path: "/health", Status: tt.want}))
			code := core.L7OK
			if !tt.ok {
				code = core.L7Status
			}
			wantCode(t, s, tt.ok, code, tt.detail)
			if got := web.Hits() - before; got != 1 {
				t.Errorf("%d requests, want 1", got)
			}
		})
	}
}

func TestHTTPRequest(t *testing.T) {
	web := probestest.NewWeb(t, false)
	ask(t, httpTarget(web.Addr, core.HTTPSpec{Method: http.MethodHead, Path: "/health?deep=1", Host: "www.example.org"}))
	r := web.Last()
	if r.Method != "HEAD" || r.RequestURI != "/health?deep=1" || r.Host != "www.example.org" || !r.Close {
		t.Errorf("got %s %s, host %s, close=%t", r.Method, r.RequestURI, r.Host, r.Close)
	}
	ask(t, httpTarget(web.Addr, core.HTTPSpec{}))
	if r := web.Last(); r.Method != "GET" || r.RequestURI != "/" || r.Host != web.Addr.String() {
		t.Errorf("by default: got %s %s, host %s", r.Method, r.RequestURI, r.Host)
	}
}

func TestHTTPDefaultHost(t *testing.T) {
	tests := []struct{ addr, want string }{
		{"192.0.2.1:80", "192.0.2.1"},
		{"192.0.2.1:8080", "192.0.2.1:8080"},
		{"[2001:db8::1]:80", "[2001:db8::1]"},
		{"[2001:db8::1]:81", "[2001:db8::1]:81"},
		{"[fe80::1%eth0]:81", "[fe80::1]:81"},
	}
	for _, tt := range tests {
		p, ok := newHTTP(httpTarget(netip.MustParseAddrPort(tt.addr), core.HTTPSpec{Path: "/"})).(*httpProbe)
		if !ok {
			t.Fatal("no http probe")
		}
		if got := p.plan.hostFor(p.addr); got != tt.want {
			t.Errorf("host for %s: got %q, want %q", tt.addr, got, tt.want)
		}
	}
}

func TestHTTPPhases(t *testing.T) {
	const delay = 50 * time.Millisecond
	web := probestest.NewWeb(t, true)
	web.SetDelay(delay)
	web.SetSize(1 << 20) // more than is read
	s := ask(t, httpTarget(web.Addr, core.HTTPSpec{TLS: core.TLSSpec{Enabled: true, Insecure: true}, Path: "/"}))
	wantCode(t, s, true, core.L7OK, "HTTP status 200")
	wantMetrics(t, s, core.MetricConnect, core.MetricTLS, core.MetricTTFB, core.MetricTransfer, core.MetricResponse, core.MetricExpiry)
	var sum float64
	for _, m := range s.Metrics[:4] {
		if m.Value < 0 || m.Unit != "seconds" {
			t.Errorf("%s is %g %s", m.Name, m.Value, m.Unit)
		}
		sum += m.Value
	}
	total, _ := s.Metric(core.MetricResponse)
	if diff := total.Value - sum; diff > 1e-6 || diff < -1e-6 {
		t.Errorf("the phases add up to %g s, response_time is %g s", sum, total.Value)
	}
	first, _ := s.Metric(core.MetricTTFB)
	if first.Value < delay.Seconds() || total.Value > s.Took.Seconds() {
		t.Errorf("first byte after %g s of a server that waits %s; all in %g s of %s", first.Value, delay, total.Value, s.Took)
	}
}

func TestHTTPFailures(t *testing.T) {
	plain, secure, slow := probestest.NewWeb(t, false), probestest.NewWeb(t, true), probestest.NewWeb(t, false)
	slow.SetDelay(3 * time.Second)
	https := core.HTTPSpec{TLS: core.TLSSpec{Enabled: true}}
	tests := []struct {
		name   string
		addr   netip.AddrPort
		spec   core.HTTPSpec
		code   core.Code
		detail string
	}{
		{"refused", probestest.Refused(t), core.HTTPSpec{}, core.L4Refused, "refused"},
		{"no SYN-ACK", probestest.Full(t), core.HTTPSpec{}, core.L4Timeout, "no answer"},
		{"a server that thinks too long", slow.Addr, core.HTTPSpec{}, core.L7Timeout, "no answer came"},
		{"a mute server", probestest.Mute(t), core.HTTPSpec{}, core.L7Timeout, "connected"},
		{"a mute TLS server", probestest.Mute(t), https, core.L6Timeout, "handshake"},
		{"TLS asked of a plain server", plain.Addr, https, core.L6Response, "does not speak TLS"},
		{"a certificate that nobody signed", secure.Addr, https, core.L6Response, "certificate"},
		{"HTTP/2 of a server that does not know ALPN", withoutALPN(t), core.HTTPSpec{HTTP2: true, TLS: core.TLSSpec{Enabled: true, Insecure: true}}, core.L7Response, "does not speak HTTP/2"},
		{"not HTTP", probestest.Script(t, "SSH-2.0-OpenSSH\r\n\r\n"), core.HTTPSpec{}, core.L7Response, "header"},
		{"no answer at all", probestest.Script(t, ""), core.HTTPSpec{}, core.L7Response, "no answer came"},
		{"a reset", hangUp(t), core.HTTPSpec{}, core.L7Response, ""},
		{"half a header", probestest.Script(t, "HTTP/1.1 200 OK\r\nContent-Le"), core.HTTPSpec{}, core.L7Response, "header"},
		{"half a body", probestest.Script(t, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"), core.HTTPSpec{}, core.L7Response, "cut off"},
		{"a body that stalls", probestest.Script(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), core.HTTPSpec{}, core.L7Response, "cut off"},
		{"a header of 100 kB", probestest.Script(t, "HTTP/1.1 200 OK\r\n"+strings.Repeat("X-A: "+strings.Repeat("a", 1000)+"\r\n", 100)+"Content-Length: 0\r\n\r\n"), core.HTTPSpec{}, core.L7Response, "header"},
		{"interim answers only", probestest.Script(t, strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 100)), core.HTTPSpec{}, core.L7Response, "interim"},
		{"an impossible host", plain.Addr, core.HTTPSpec{Host: "a b"}, core.Internal, `host "a b"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel() // half of them wait for the timeout
			target := inVain(httpTarget(tt.addr, tt.spec), tt.code)
			wantCode(t, ask(t, target), false, tt.code, tt.detail)
		})
	}
}

// withoutALPN is a TLS server that passes over what protocols the client offers.
func withoutALPN(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{issue(t, nil, in(9), "old", "127.0.0.1").pair(t)}})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{}) // closed when the accepting goroutine ends
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 1)) // the handshake, and then the client hangs up
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return netip.MustParseAddrPort(l.Addr().String())
}

func TestHTTPSkipsInterimAnswers(t *testing.T) {
	addr := probestest.Script(t, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	wantCode(t, ask(t, httpTarget(addr, core.HTTPSpec{})), true, core.L7OK, "200")
}

// TestHTTPSVerifies gives the probe the server's certificate as its only root:
// the name asked for must be in it.
func TestHTTPSVerifies(t *testing.T) {
	web := probestest.NewWeb(t, true)
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Server.Certificate().Raw}))
	for host, ok := range map[string]bool{"": true, "example.com": true, "example.com:8443": true, "www.example.org": false} {
		t.Run(host, func(t *testing.T) {
			s := ask(t, httpTarget(web.Addr, core.HTTPSpec{TLS: core.TLSSpec{Enabled: true, CA: ca}, Host: host}))
			if s.OK != ok {
				t.Errorf("got %s %q, want ok=%t", s.Code, s.Detail, ok)
			}
		})
	}
}

func FuzzStatusRanges(f *testing.F) {
	f.Add(200, 399, 250)
	f.Add(500, 200, 300)
	f.Fuzz(func(t *testing.T, from, to, status int) {
		rs := []core.StatusRange{{From: from, To: to}}
		if got, want := within(rs, status), status >= from && status <= to; got != want {
			t.Errorf("%d in %s: got %t", status, ranges(rs), got)
		}
	})
}

func TestHTTPImpossible(t *testing.T) {
	addr := netip.MustParseAddrPort("127.0.0.1:1")
	for want, spec := range map[string]core.HTTPSpec{
		"does not begin with a /":  {Path: "health"},
		`header "X Token"`:         {Headers: []core.Header{{Name: "X Token", Value: "s3cret"}}},
		`header "X-Token"`:         {Headers: []core.Header{{Name: "X-Token", Value: "s3cret\r\nX: y"}}},
		"invalid method":           {Method: "GET /"},
		"expect: ":                 {Expect: "("},
		"reject: ":                 {Reject: "["},
		"want sha256:HEX":          {Digest: "sha1:00"},
		"want 64 hexadecimal":      {Digest: "sha256:00"},
		"operator":                 {JSON: []core.JSONRule{{Path: "a", Op: "~"}}},
		"tls.ca_file holds no PEM": {TLS: core.TLSSpec{Enabled: true, CA: "x"}},
	} {
		s := ask(t, httpTarget(addr, spec))
		wantCode(t, s, false, core.Internal, want)
		if strings.Contains(s.Detail, "s3cret") {
			t.Errorf("a secret is in %q", s.Detail)
		}
	}
}

// TestHTTPNotes: who watches a run sees each step, and no secret.
func TestHTTPNotes(t *testing.T) {
	addr := probestest.Script(t, "HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 34\r\n\r\n{\"db\":{\"lag\":7}, \"state\": \"ready\"}")
	target := httpTarget(addr, core.HTTPSpec{
		Path: "/health", Host: "www.example.org", Headers: []core.Header{{Name: "Authorization", Value: "Bearer s3cret"}},
		Expect: "ready", JSON: []core.JSONRule{{Path: "db.lag", Op: "<", Want: "5"}},
	})
	var notes []string
	ctx := traced(t.Context(), func(step, text string) { notes = append(notes, step+": "+text) })
	r := newProber(target).probe(ctx)
	if r.code != core.L7Expect {
		t.Errorf("got %+v", r)
	}
	all := strings.Join(notes, "\n")
	for _, want := range []string{"connect: " + addr.String(), "request: GET /health, Host: www.example.org", "status: HTTP/1.1 200 OK, 2 headers, 34 bytes", `body: {"db":{"lag":7}`, "expect: `ready`: matches", "json: db.lag < 5: it is 7"} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in\n%s", want, all)
		}
	}
	if strings.Contains(all, "s3cret") {
		t.Errorf("a secret is in\n%s", all)
	}
}

// TestHTTPPlanIsShared: of 16,000 backends of one spec each holds an address and two
// pointers.
func TestHTTPPlanIsShared(t *testing.T) {
	spec := &core.ProbeSpec{Type: core.ProbeHTTP, HTTP: core.HTTPSpec{TLS: core.TLSSpec{Enabled: true}, Path: "/health", Expect: "ok|fine"}}
	const n, most = 10_000, 80
	all := make([]prober, n)
	before := heapBytes()
	for i := range all {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 443)
		all[i] = newProber(Target{Addr: addr, Spec: spec})
	}
	each := (heapBytes() - before) / n
	if each > most {
		t.Errorf("an http prober takes %d bytes, want %d at most", each, most)
	}
	one, two := all[0].(*httpProbe), all[n-1].(*httpProbe)
	if one.plan != two.plan || one.plan.tls == nil {
		t.Errorf("plans %p and %p", one.plan, two.plan)
	}
	// A spec is never changed once made; if it is, nothing old is believed.
	spec.HTTP.Path = "/other"
	if three, ok := newProber(Target{Addr: one.addr, Spec: spec}).(*httpProbe); !ok || three.plan == one.plan {
		t.Error("the plan of another spec")
	}
	t.Logf("an http prober takes %d bytes", each)
}

// TestHTTP2EndsItsConnection: nothing is left of a run, no goroutine for one.
func TestHTTP2EndsItsConnection(t *testing.T) {
	web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(r.Proto + " " + r.Method)) // the client may be gone
		if body, err := io.ReadAll(r.Body); err == nil {
			_, _ = w.Write(body)
		}
	}))
	var open atomic.Int64
	web.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed:
			open.Add(-1)
		}
	}
	web.EnableHTTP2 = true
	web.StartTLS()
	defer web.Close()
	target := httpTarget(netip.MustParseAddrPort(web.Listener.Addr().String()), core.HTTPSpec{
		HTTP2: true, TLS: core.TLSSpec{Enabled: true, Insecure: true}, Method: "POST", Body: "hello", Expect: "^HTTP/2.0 POSThello$",
	})
	p := newProber(target)
	before := runtime.NumGoroutine()
	for range 20 {
		s := askWith(t, target, p)
		wantCode(t, s, true, core.L7OK, "200")
		wantMetrics(t, s, core.MetricConnect, core.MetricTLS, core.MetricTTFB, core.MetricTransfer, core.MetricResponse, core.MetricExpiry)
	}
	for range 500 { // they end some time after
		if open.Load() == 0 && runtime.NumGoroutine() <= before+5 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d connections are open after 20 runs, %d goroutines where there were %d", open.Load(), runtime.NumGoroutine(), before)
}

// FuzzHTTPAnswer: whatever a server says, the run ends with a code and a line, and the
// rules see no more than they may.
func FuzzHTTPAnswer(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{\"state\":\"ready\"}"))
	f.Add([]byte("HTTP/1.0 503 No\r\n\r\nno"))
	f.Add([]byte("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nready\r\n0\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 204 \r\nContent-Length: -5\r\n\r\n"))
	f.Add([]byte("SSH-2.0-OpenSSH_9.2\r\n"))
	spec := &core.ProbeSpec{Type: core.ProbeHTTP, HTTP: core.HTTPSpec{
		Path: "/", Expect: "ready", Reject: "fail", MaxBody: 100, JSON: []core.JSONRule{{Path: "state", Want: "ready"}},
	}, Metrics: []core.MetricSpec{{Name: "lag", From: "*.lag", Aggregate: core.MaxOf}}}
	p, ok := newProber(Target{Addr: netip.MustParseAddrPort("192.0.2.1:80"), Spec: spec}).(*httpProbe)
	if !ok {
		f.Fatal("no http probe")
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		x := httpRun{conn: deafConn{Reader: bytes.NewReader(said)}, phases: phases{start: time.Now()}}
		buf := new([]byte)
		a, err := x.ask(t.Context(), p, buf)
		var r result
		if err != nil {
			r = p.badAnswer(t.Context(), &x, err)
		} else {
			r = p.judge(t.Context(), &x, a)
		}
		if int64(len(a.body)) > p.plan.maxBody || !r.code.Known() || oneLine(r.detail) == "" {
			t.Errorf("%d bytes of body, %+v", len(a.body), r)
		}
		if r.ok != (r.code == core.L7OK) || !r.ok && len(r.metrics) > 0 {
			t.Errorf("got %+v", r)
		}
		if r.ok && (!bytes.Contains(said, []byte("ready")) || !within(goodStatus, a.status)) {
			t.Errorf("%q is good", said)
		}
	})
}
