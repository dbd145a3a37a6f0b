// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"time"
	"weak"

	"github.com/steelyard-lb/steelyard/core"
)

// prometheusProbe scrapes the page of metrics of an exporter over a connection of its
// own and picks the metrics of the spec out of it. Emits those, each as soon as it is
// known: a rate after the second page.
type prometheusProbe struct {
	http    httpProbe
	plan    *scrapePlan
	pickers []picker
	wait    time.Duration // for the second page; see patient
}

// A scrapePlan is what all probes of one spec have in common.
type scrapePlan struct {
	spec      core.ProbeSpec // a copy: the plan is of this very spec
	http      *httpPlan
	selectors []*selector // of spec.Metrics
}

// scrapePlans are those in use; see httpPlans.
var scrapePlans shared[weak.Pointer[core.ProbeSpec], scrapePlan]

// acceptPage asks for the plain text format, which every exporter has.
const acceptPage = "text/plain;version=0.0.4"

func newPrometheus(t Target) prober {
	same := func(p *scrapePlan) bool { return reflect.DeepEqual(&p.spec, t.Spec) }
	plan, err := scrapePlans.get(weak.Make(t.Spec), same, func() (*scrapePlan, error) { return makeScrapePlan(*t.Spec) })
	if err != nil {
		return impossible("prometheus: " + err.Error())
	}
	return &prometheusProbe{
		http: httpProbe{addr: t.addr(), plan: plan.http}, plan: plan, pickers: newPickers(plan.spec.Metrics),
	}
}

func makeScrapePlan(spec core.ProbeSpec) (*scrapePlan, error) {
	if len(spec.Metrics) == 0 {
		return nil, errors.New("metrics is empty: there is nothing to read")
	}
	p := &scrapePlan{spec: spec}
	for _, m := range spec.Metrics {
		s, err := selectSeries(m.From)
		if err != nil {
			return nil, fmt.Errorf("metric %s: series %s: %w", m.Name, clip(m.From), err)
		}
		p.selectors = append(p.selectors, s)
	}
	ps := spec.Prometheus
	get := core.HTTPSpec{TLS: ps.TLS, Path: ps.Path, Host: ps.Host, Headers: withAccept(ps.Headers)}
	if get.Path == "" {
		get.Path = "/metrics"
	}
	var err error
	p.http, err = makeHTTPPlan(core.ProbeSpec{Type: core.ProbeHTTP, Way: spec.Way, HTTP: get})
	return p, err
}

// withAccept asks for the format that we read, unless the operator knows better.
func withAccept(headers []core.Header) []core.Header {
	for _, h := range headers {
		if strings.EqualFold(h.Name, "Accept") {
			return headers
		}
	}
	return append([]core.Header{{Name: "Accept", Value: acceptPage}}, headers...)
}

// enough implements patient.
func (p *prometheusProbe) enough(result) time.Duration { return p.wait }

func (p *prometheusProbe) probe(ctx context.Context) result {
	p.wait = 0
	start, h := time.Now(), &p.http
	conn, err := way(p.plan.spec.Way).dial(ctx, "tcp", h.addr)
	if err != nil {
		return badDial(h.addr, time.Since(start), err)
	}
	defer conn.Close() //nolint:errcheck // the answer is already in hand
	release := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer release()
	x := httpRun{conn: conn, phases: phases{start: start}}
	note(ctx, "connect", "%s from %s in %s", h.addr, conn.LocalAddr(), short(time.Since(start)))
	if h.plan.tls != nil {
		secure, code, err := handshake(ctx, conn, h.plan.tls)
		if err != nil {
			return badTLS(h.addr, code, err)
		}
		x.conn = secure
	}
	return p.scrape(ctx, &x)
}

// scrape asks for the page and reads it.
func (p *prometheusProbe) scrape(ctx context.Context, x *httpRun) result {
	h := &p.http
	x.missing = "the request could not be sent"
	note(ctx, "request", "GET %s, Host: %s", h.plan.req.URL.RequestURI(), h.plan.hostFor(h.addr))
	in := readers.Get().(*httpReader)
	defer in.keep()
	resp, err := x.ask1(h, in)
	if err != nil {
		return h.badAnswer(ctx, x, err)
	}
	note(ctx, "status", "%d %s, %s", resp.StatusCode, http.StatusText(resp.StatusCode), resp.Header.Get("Content-Type"))
	if resp.StatusCode != http.StatusOK {
		return bad(core.L7Status, "HTTP status %d %s for %s, want 200%s", resp.StatusCode, http.StatusText(resp.StatusCode), h.plan.req.URL.Path, loginHint(resp.StatusCode))
	}
	parts := make([]pagePart, len(p.pickers))
	for i := range parts {
		parts[i].selector = p.plan.selectors[i]
	}
	x.missing = "the page was cut off"
	at := x.last // when the first byte came: exporters count before they write
	size := &counted{r: resp.Body}
	series, err := readPage(size, parts)
	var wrong pageError
	switch {
	case errors.As(err, &wrong):
		return bad(core.L7Response, "%s of %s: %s", h.plan.req.URL.Path, h.addr, string(wrong))
	case err != nil:
		return h.badAnswer(ctx, x, err)
	}
	note(ctx, "page", "%d series, %d bytes in %s", series, size.n, short(time.Since(x.start)))
	return p.report(ctx, parts, series, at)
}

func loginHint(status int) string {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return ": set an Authorization header in headers"
	case http.StatusNotFound:
		return ": set path"
	}
	return ""
}

// report makes the result of a page that came at the given time.
func (p *prometheusProbe) report(ctx context.Context, parts []pagePart, series int, at time.Time) result {
	var s selection
	for i := range parts {
		part, pick := &parts[i], &p.pickers[i]
		if len(part.readings) == 0 {
			s.lack(ctx, pick, part.absent(series))
			continue
		}
		if part.kind == "counter" && pick.spec.Kind != core.CounterKind && pick.spec.Aggregate != core.CountOf {
			note(ctx, "hint", "%s is a counter, and %s takes it as a gauge: for its growth per second set kind: counter", part.selector.name, pick.spec.Name)
		}
		// A page of somebody else's numbers says of what time they are.
		when := at
		if !part.stamp.IsZero() {
			when = part.stamp
		}
		before := len(s.metrics)
		s.add(ctx, pick, part.readings, 0, when)
		if len(s.metrics) > before && !part.stamp.IsZero() {
			s.metrics[before].At = when.UTC()
		}
	}
	p.wait = s.again(p.plan.spec.Interval)
	r := result{ok: true, code: core.MetricOK, detail: s.detail(), metrics: s.metrics}
	switch {
	case len(s.metrics) > 0:
	case len(s.waits) > 0:
		r.code = core.MetricWait
	default:
		r.ok, r.code = false, core.MetricNone
	}
	return r
}

// absent says what is wrong where a page has nothing for a selector.
func (p *pagePart) absent(series int) string {
	if p.named == 0 {
		return fmt.Sprintf("no %s among the %d series of the page", p.selector.name, series)
	}
	return fmt.Sprintf("%d series %s, and none has these labels", p.named, p.selector.name)
}

// counted counts what is read through it.
type counted struct {
	r io.Reader
	n int
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += n
	return n, err
}
