// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// Limits on what a backend can make us read in one run.
const (
	maxHeader = 64 << 10
	maxBody   = 64 << 10
)

// maxInterim is how many 1xx answers may come before the real one.
const maxInterim = 8

// httpProbe makes one request over a connection of its own and reads the
// answer: no redirect is followed, no connection kept, no HTTP/2. It speaks
// HTTP by hand instead of through http.Transport because the phases are what
// it is for, and a transport costs two goroutines a request. Emits connect,
// tls (https only), first_byte, transfer and response_time.
type httpProbe struct {
	addr   netip.AddrPort
	way    way
	req    *http.Request // read only
	tls    *tls.Config   // nil for http
	status []core.StatusRange
}

// goodStatus is what counts without a list: any success and any redirect.
var goodStatus = []core.StatusRange{{From: 200, To: 399}}

func newHTTP(t Target) prober {
	addr, spec := t.addr(), t.Spec.HTTP
	scheme, port := "http", uint16(80)
	if spec.TLS.Enabled {
		scheme, port = "https", 443
	}
	host := spec.Host
	if host == "" {
		host = addr.String()
		if addr.Port() == port { // as browsers write it
			host = bracketed(addr.Addr())
		}
	}
	path := cmp.Or(spec.Path, "/")
	req, err := http.NewRequest(cmp.Or(spec.Method, http.MethodGet), scheme+"://"+host+path, nil)
	if err != nil {
		return impossible(fmt.Sprintf("http request for host %q, path %q: %v", host, path, cause(err)))
	}
	req.Header.Set("User-Agent", "steelyard")
	req.Header.Set("Accept", "*/*")
	req.Close = true
	p := &httpProbe{addr: addr, way: way(t.Spec.Way), req: req, status: spec.Status}
	if len(p.status) == 0 {
		p.status = goodStatus
	}
	if spec.TLS.Enabled {
		p.tls = &tls.Config{
			// For an address Go sends no SNI and checks the certificate's IP names.
			ServerName: req.URL.Hostname(),
			// The operator's choice: many backends have self-signed certificates.
			InsecureSkipVerify: spec.TLS.Insecure,
			MinVersion:         tls.VersionTLS12,
		}
	}
	return p
}

func bracketed(a netip.Addr) string {
	if a.Is6() {
		return "[" + a.String() + "]"
	}
	return a.String()
}

func (p *httpProbe) probe(ctx context.Context) result {
	start := time.Now()
	conn, err := p.way.dial(ctx, "tcp", p.addr)
	if err != nil {
		return badDial(p.addr, time.Since(start), err)
	}
	defer conn.Close() //nolint:errcheck // the answer is already in hand
	// ctx bounds every read and write from here on. A deadline in the past wakes
	// the one that is blocked.
	release := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer release()

	x := exchange{conn: conn, start: start}
	x.done(core.MetricConnect)
	if p.tls != nil {
		secure := tls.Client(conn, p.tls)
		if err := secure.HandshakeContext(ctx); err != nil {
			return badTLS(ctx, p.addr, err)
		}
		x.conn = secure
		x.done(core.MetricTLS)
	}
	code, err := x.ask(p.req)
	switch {
	case err != nil && (timedOut(err) || ctx.Err() != nil):
		return bad(core.L7Timeout, "connected to %s, but %s: waited %s", p.addr, x.missing, short(time.Since(start)))
	case err != nil:
		return bad(core.L7Response, "answer of %s: %s: %v", p.addr, x.missing, err)
	case !p.wants(code):
		return bad(core.L7Status, "HTTP status %d %s, want %s", code, http.StatusText(code), ranges(p.status))
	}
	return result{
		ok:      true,
		code:    core.L7OK,
		detail:  fmt.Sprintf("HTTP status %d in %s", code, short(x.last.Sub(start))),
		metrics: append(x.phases, seconds(core.MetricResponse, x.last.Sub(start))),
	}
}

func badTLS(ctx context.Context, addr netip.AddrPort, err error) result {
	if timedOut(err) || ctx.Err() != nil {
		return bad(core.L6Timeout, "connected to %s, but the TLS handshake did not finish in time", addr)
	}
	return bad(core.L6Response, "TLS handshake with %s: %v", addr, err)
}

// An exchange is one request and its answer, with the time of each phase.
type exchange struct {
	conn    net.Conn
	start   time.Time
	last    time.Time // end of the latest phase
	phases  []core.Metric
	missing string // what has not come yet, for people
}

// done ends a phase that began where the one before ended.
func (x *exchange) done(phase string) {
	now := time.Now()
	from := x.last
	if from.IsZero() {
		from = x.start
	}
	x.last = now
	x.phases = append(x.phases, seconds(phase, now.Sub(from)))
}

// ask sends req and reads the answer to its end, or to maxBody. It returns the
// status.
func (x *exchange) ask(req *http.Request) (int, error) {
	x.missing = "the request could not be sent"
	if err := req.Write(x.conn); err != nil {
		return 0, err
	}
	x.missing = "no answer came"
	limited := &io.LimitedReader{R: x.conn, N: maxHeader}
	in := bufio.NewReader(limited)
	if _, err := in.Peek(1); err != nil {
		return 0, err
	}
	x.done(core.MetricTTFB)
	x.missing = "no whole header came"
	resp, err := readFinal(in, req)
	if err != nil {
		return 0, err
	}
	limited.N = math.MaxInt64 // the body has a limit of its own
	x.missing = "the body was cut off"
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, maxBody)); err != nil {
		return 0, err
	}
	x.done(core.MetricTransfer)
	return resp.StatusCode, nil
}

// readFinal skips interim answers such as 103 Early Hints.
func readFinal(in *bufio.Reader, req *http.Request) (*http.Response, error) {
	for range maxInterim {
		resp, err := http.ReadResponse(in, req)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp, nil
		}
	}
	return nil, fmt.Errorf("more than %d interim answers", maxInterim)
}

// wants reports whether the status is among the expected ones.
func (p *httpProbe) wants(status int) bool {
	for _, r := range p.status {
		if r.From <= status && status <= r.To {
			return true
		}
	}
	return false
}

func ranges(rs []core.StatusRange) string {
	texts := make([]string, len(rs))
	for i, r := range rs {
		texts[i] = fmt.Sprint(r.From)
		if r.To != r.From {
			texts[i] = fmt.Sprintf("%d-%d", r.From, r.To)
		}
	}
	return strings.Join(texts, ", ")
}
