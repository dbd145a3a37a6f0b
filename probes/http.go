// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// httpProbe makes one request over a connection of its own and reads the answer: no
// redirect is followed and no connection kept. It speaks HTTP/1.1 by hand instead of
// through http.Transport because the phases are what it is for, and a transport costs
// two goroutines a request. Emits connect, tls (https only), first_byte, transfer and
// response_time, cert_expiry (https only), and the metrics of the spec.
type httpProbe struct {
	addr  netip.AddrPort
	plan  *httpPlan
	picks *httpPicks // nil without metrics of the spec
}

func newHTTP(t Target) prober {
	plan, err := planHTTP(t.Spec)
	if err != nil {
		return impossible("http: " + err.Error())
	}
	p := &httpProbe{addr: t.addr(), plan: plan}
	if len(plan.metrics) > 0 {
		p.picks = &httpPicks{pickers: newPickers(plan.spec.Metrics)}
	}
	return p
}

func (p *httpProbe) probe(ctx context.Context) result {
	start := time.Now()
	conn, err := way(p.plan.spec.Way).dial(ctx, "tcp", p.addr)
	if err != nil {
		return badDial(p.addr, time.Since(start), err)
	}
	defer conn.Close() //nolint:errcheck // the answer is already in hand
	// ctx bounds every read and write from here on. A deadline in the past wakes
	// the one that is blocked.
	release := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer release()

	x := httpRun{conn: conn, phases: phases{start: start}}
	x.done(core.MetricConnect)
	note(ctx, "connect", "%s from %s in %s", p.addr, conn.LocalAddr(), short(x.last.Sub(start)))
	if p.plan.h2 != nil {
		x.conn = &bounded{Conn: conn, left: 4*p.plan.maxBody + maxFrames}
	}
	if p.plan.tls != nil {
		secure, code, err := handshake(ctx, x.conn, p.plan.tls)
		if err != nil {
			return badTLS(p.addr, code, err)
		}
		x.conn = secure
		x.done(core.MetricTLS)
	}
	buf := bodies.Get().(*[]byte)
	defer keepBody(buf)
	a, err := x.ask(ctx, p, buf)
	if err != nil {
		return p.badAnswer(ctx, &x, err)
	}
	return p.judge(ctx, &x, a)
}

// badAnswer says why no whole answer came.
func (p *httpProbe) badAnswer(ctx context.Context, x *httpRun, err error) result {
	var wrong protocolError
	switch {
	case errors.As(err, &wrong):
		return bad(core.L7Response, "%s %s", p.addr, string(wrong))
	case timedOut(err) || ctx.Err() != nil:
		return bad(core.L7Timeout, "connected to %s, but %s: waited %s", p.addr, x.missing, short(time.Since(x.start)))
	case p.plan.tls != nil && refusedTLS(err):
		code, said := tlsFailure(err, p.plan.tls, false)
		return badTLS(p.addr, code, said)
	}
	return bad(core.L7Response, "answer of %s: %s: %v", p.addr, x.missing, err)
}

// judge holds a whole answer against the spec.
func (p *httpProbe) judge(ctx context.Context, x *httpRun, a answer) result {
	note(ctx, "status", "%s %d %s, %d headers, %d bytes of body in %s", a.proto, a.status, http.StatusText(a.status), a.headers, len(a.body), short(x.last.Sub(x.start)))
	if len(a.body) > 0 {
		note(ctx, "body", "%s", firstOf(a.body))
	}
	if !within(p.plan.status, a.status) {
		return bad(core.L7Status, "HTTP status %d %s, want %s%s", a.status, http.StatusText(a.status), ranges(p.plan.status), p.hint(a))
	}
	doc, wrong := p.plan.checkBody(ctx, a)
	if wrong != "" {
		return bad(core.L7Expect, "%s", wrong)
	}
	r := result{
		ok:      true,
		code:    core.L7OK,
		detail:  fmt.Sprintf("HTTP status %d in %s", a.status, short(x.last.Sub(x.start))),
		metrics: append(x.metrics, seconds(core.MetricResponse, x.last.Sub(x.start))),
	}
	if secure, ok := x.conn.(*tls.Conn); ok {
		r.metrics = withExpiry(r.metrics, secure)
	}
	if p.picks != nil {
		p.picks.add(ctx, p.plan, doc, x.last, &r)
	}
	return r
}

// withExpiry adds cert_expiry.
func withExpiry(ms []core.Metric, conn *tls.Conn) []core.Metric {
	if m, ok := expiry(conn.ConnectionState(), time.Now()); ok {
		ms = append(ms, m)
	}
	return ms
}

// hint is what servers say only in the text of their 400: nginx, Apache and Go's.
func (p *httpProbe) hint(a answer) string {
	says := func(text string) bool { return bytes.Contains(a.body, []byte(text)) }
	switch {
	case p.plan.tls == nil && (says("plain HTTP request was sent to HTTPS port") || says("speaking plain HTTP to an SSL-enabled") || says("HTTP request to an HTTPS server")):
		return ": the port speaks https: add tls to the probe"
	case p.plan.tls != nil && len(p.plan.tls.Certificates) == 0 && says("SSL certificate"):
		return ": it wants a client certificate: name one in tls.cert_file and tls.key_file"
	}
	return ""
}

// firstOf is the beginning of a body, for people.
func firstOf(body []byte) string {
	const some = 200
	if len(body) <= some {
		return string(body)
	}
	return string(body[:some]) + "…"
}

// within reports whether the status is among the expected ones.
func within(rs []core.StatusRange, status int) bool {
	for _, r := range rs {
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

// phases measures what follows one after the other.
type phases struct {
	start   time.Time
	last    time.Time // end of the latest phase
	metrics []core.Metric
}

// done ends a phase that began where the one before ended.
func (x *phases) done(phase string) {
	now := time.Now()
	from := x.last
	if from.IsZero() {
		from = x.start
	}
	x.last = now
	x.metrics = append(x.metrics, seconds(phase, now.Sub(from)))
}

// An httpRun is one request and its answer, with the time of each phase.
type httpRun struct {
	phases
	conn    net.Conn
	missing string // what has not come yet, for people
}

// An answer is what a request brought. body is only good until the run is over.
type answer struct {
	proto   string
	status  int
	headers int
	body    []byte // up to the plan's maxBody; empty if nobody wants to see it
	more    bool   // there was more of it
}

// ask sends the request and reads the answer to its end, or to the plan's limit.
func (x *httpRun) ask(ctx context.Context, p *httpProbe, buf *[]byte) (answer, error) {
	x.missing = "the request could not be sent"
	note(ctx, "request", "%s %s, Host: %s, %d more headers, %d bytes of body", p.plan.req.Method, p.plan.req.URL.RequestURI(),
		p.plan.hostFor(p.addr), len(p.plan.req.Header), len(p.plan.spec.HTTP.Body))
	var (
		resp *http.Response
		err  error
	)
	if p.plan.h2 != nil {
		var done func()
		resp, done, err = x.ask2(ctx, p)
		defer done()
	} else {
		in := readers.Get().(*httpReader)
		defer in.keep()
		resp, err = x.ask1(p, in)
	}
	if err != nil {
		return answer{}, err
	}
	a := answer{proto: resp.Proto, status: resp.StatusCode, headers: len(resp.Header)}
	x.missing = "the body was cut off"
	// A refusal is read, too: it may say why.
	if p.plan.reads() || a.status == http.StatusBadRequest || watched(ctx) {
		err = a.read(resp.Body, p.plan.maxBody, buf)
	} else {
		_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, p.plan.maxBody))
	}
	if err != nil {
		return answer{}, err
	}
	x.done(core.MetricTransfer)
	return a, nil
}
