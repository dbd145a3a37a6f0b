// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"crypto/x509"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/probes/probestest"
)

func httpTarget(addr netip.AddrPort, spec core.HTTPSpec) Target {
	target := tcpTarget(addr)
	target.Spec.Type, target.Spec.HTTP, target.Spec.Timeout = core.ProbeHTTP, spec, time.Second
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
	}
	for _, tt := range tests {
		p, ok := newHTTP(httpTarget(netip.MustParseAddrPort(tt.addr), core.HTTPSpec{Path: "/"})).(*httpProbe)
		if !ok || p.req.Host != tt.want {
			t.Errorf("host for %s: got %q, want %q", tt.addr, p.req.Host, tt.want)
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
	wantMetrics(t, s, core.MetricConnect, core.MetricTLS, core.MetricTTFB, core.MetricTransfer, core.MetricResponse)
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
	slow.SetDelay(5 * time.Second)
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
		{"TLS asked of a plain server", plain.Addr, https, core.L6Response, "handshake"},
		{"a certificate that nobody signed", secure.Addr, https, core.L6Response, "certificate"},
		{"not HTTP", probestest.Script(t, "SSH-2.0-OpenSSH\r\n\r\n"), core.HTTPSpec{}, core.L7Response, "header"},
		{"no answer at all", probestest.Script(t, ""), core.HTTPSpec{}, core.L7Response, "no answer came"},
		{"a reset", hangUp(t), core.HTTPSpec{}, core.L7Response, ""},
		{"half a header", probestest.Script(t, "HTTP/1.1 200 OK\r\nContent-Le"), core.HTTPSpec{}, core.L7Response, "header"},
		{"half a body", probestest.Script(t, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"), core.HTTPSpec{}, core.L7Response, "cut off"},
		{"a body that stalls", probestest.Script(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), core.HTTPSpec{}, core.L7Response, "cut off"},
		{"a header of 100 kB", probestest.Script(t, "HTTP/1.1 200 OK\r\n"+strings.Repeat("X-A: "+strings.Repeat("a", 1000)+"\r\n", 100)+"Content-Length: 0\r\n\r\n"), core.HTTPSpec{}, core.L7Response, "header"},
		{"interim answers only", probestest.Script(t, strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 100)), core.HTTPSpec{}, core.L7Response, "interim"},
		{"an impossible host", plain.Addr, core.HTTPSpec{Host: "a b"}, core.Internal, "http request"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel() // half of them wait for the timeout
			target := httpTarget(tt.addr, tt.spec)
			wantCode(t, ask(t, target), false, tt.code, tt.detail)
		})
	}
}

func TestHTTPSkipsInterimAnswers(t *testing.T) {
	addr := probestest.Script(t, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	wantCode(t, ask(t, httpTarget(addr, core.HTTPSpec{})), true, core.L7OK, "200")
}

// TestHTTPSVerifies gives the probe the server's certificate as its only root:
// the name asked for must be in it.
func TestHTTPSVerifies(t *testing.T) {
	web := probestest.NewWeb(t, true)
	roots := x509.NewCertPool()
	roots.AddCert(web.Server.Certificate())
	for host, ok := range map[string]bool{"": true, "example.com": true, "example.com:8443": true, "www.example.org": false} {
		t.Run(host, func(t *testing.T) {
			target := httpTarget(web.Addr, core.HTTPSpec{TLS: core.TLSSpec{Enabled: true}, Host: host})
			p, isHTTP := newProber(target).(*httpProbe)
			if !isHTTP {
				t.Fatal("no http probe")
			}
			p.tls.RootCAs = roots
			s := askWith(t, target, p)
			if s.OK != ok {
				t.Errorf("got %s %q, want ok=%t", s.Code, s.Detail, ok)
			}
		})
	}
}

func TestResponseTime(t *testing.T) {
	const delay = 30 * time.Millisecond
	web := probestest.NewWeb(t, false)
	web.SetDelay(delay)
	target := httpTarget(web.Addr, core.HTTPSpec{Path: "/"})
	target.Spec.Type, target.Spec.Role = core.ProbeResponseTime, core.MetricRole
	s := ask(t, target)
	wantCode(t, s, true, core.L7OK, "200")
	wantMetrics(t, s, core.MetricResponse)
	if m, _ := s.Metric(core.MetricResponse); m.Value < delay.Seconds() {
		t.Errorf("%g s for a server that waits %s", m.Value, delay)
	}

	target.Spec.HTTP = core.HTTPSpec{}
	s = ask(t, target)
	wantCode(t, s, true, core.L4OK, "connected")
	wantMetrics(t, s, core.MetricResponse)

	target.Addr = probestest.Refused(t)
	wantCode(t, ask(t, target), false, core.L4Refused, "refused")
}

func FuzzStatusRanges(f *testing.F) {
	f.Add(200, 399, 250)
	f.Add(500, 200, 300)
	f.Fuzz(func(t *testing.T, from, to, status int) {
		p := &httpProbe{status: []core.StatusRange{{From: from, To: to}}}
		if got, want := p.wants(status), status >= from && status <= to; got != want {
			t.Errorf("%d in %s: got %t", status, ranges(p.status), got)
		}
	})
}
