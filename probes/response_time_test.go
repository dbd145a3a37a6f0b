// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"context"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/lab/bubbletest"
	"github.com/steelyard-lb/steelyard/probes/probestest"
)

var responseMetrics = []string{core.MetricResponse, core.MetricResponseEWMA, core.MetricResponseP50, core.MetricResponseP90, core.MetricResponseP99}

func TestResponseTime(t *testing.T) {
	const delay = 30 * time.Millisecond
	web := probestest.NewWeb(t, false)
	web.SetDelay(delay)
	target := httpTarget(web.Addr, core.HTTPSpec{Path: "/"})
	target.Spec.Type, target.Spec.Role = core.ProbeResponseTime, core.MetricRole
	s := ask(t, target)
	wantCode(t, s, true, core.L7OK, "200")
	wantMetrics(t, s, responseMetrics...)
	for _, m := range s.Metrics {
		if m.Value < delay.Seconds() || m.Unit != "seconds" {
			t.Errorf("%s is %g %s for a server that waits %s", m.Name, m.Value, m.Unit, delay)
		}
	}

	target.Spec.HTTP = core.HTTPSpec{}
	s = ask(t, target)
	wantCode(t, s, true, core.L4OK, "connected")
	wantMetrics(t, s, responseMetrics...)

	target.Addr = probestest.Refused(t)
	wantCode(t, ask(t, target), false, core.L4Refused, "refused")

	target.Spec.HTTP = core.HTTPSpec{Path: "nonsense"}
	wantCode(t, ask(t, target), false, core.Internal, "does not begin with a /")
}

// slow is an inner probe whose runs take what is in the list; a negative one fails.
type slow struct {
	takes []time.Duration
	run   int
}

func (s *slow) probe(context.Context) result {
	d := s.takes[s.run%len(s.takes)]
	s.run++
	if d < 0 {
		return bad(core.L7Status, "HTTP status 503")
	}
	time.Sleep(d)
	return result{ok: true, code: core.L7OK, detail: "in " + short(d), metrics: []core.Metric{seconds(core.MetricConnect, 0), seconds(core.MetricResponse, d)}}
}

// TestResponseTimeWindow: a failed run adds nothing, and the quantiles say how long a
// time they are about.
func TestResponseTimeWindow(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		p := &responseTime{prober: &slow{takes: []time.Duration{time.Second, -1, 3 * time.Second, 2 * time.Second}}, runs: latestRuns{most: 2}}
		run := func() core.Sample {
			time.Sleep(10 * time.Second)
			r := p.probe(t.Context())
			return core.Sample{OK: r.ok, Metrics: r.metrics}
		}
		want := func(s core.Sample, took, p50, p99, ewma float64, window time.Duration) {
			t.Helper()
			for name, v := range map[string]float64{core.MetricResponse: took, core.MetricResponseP50: p50, core.MetricResponseP99: p99, core.MetricResponseEWMA: ewma} {
				if m, _ := s.Metric(name); math.Abs(m.Value-v) > 1e-6 {
					t.Errorf("%s is %g, want %g", name, m.Value, v)
				}
			}
			if m, _ := s.Metric(core.MetricResponseP50); m.Window != window {
				t.Errorf("window %s, want %s", m.Window, window)
			}
		}
		want(run(), 1, 1, 1, 1, time.Second)
		if s := run(); s.OK || len(s.Metrics) > 0 {
			t.Errorf("a failed run: %+v", s)
		}
		// 10 s + 1 s, 10 s, 10 s + 3 s: the first run began at 10 s, this one ended at 34 s.
		want(run(), 3, 1, 3, 1.6, 24*time.Second)
		want(run(), 2, 2, 3, 1.72, 15*time.Second) // the first has left
	})
}

// TestQuantiles: by nearest rank, as they are defined.
func TestQuantiles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		vs := rapid.SliceOfN(rapid.Float32Range(0, 10), 1, 300).Draw(t, "runs")
		percent := rapid.IntRange(1, 100).Draw(t, "percent")
		slices.Sort(vs)
		got := quantile(vs, percent)
		atMost, below := 0, 0
		for _, v := range vs {
			if v <= got {
				atMost++
			}
			if v < got {
				below++
			}
		}
		if atMost*100 < percent*len(vs) || below*100 >= percent*len(vs) {
			t.Errorf("p%d of %d runs is %g: %d are at most that, %d are below", percent, len(vs), got, atMost, below)
		}
	})
}

// TestLatestRuns: the ring holds the latest and nothing else, the smoothed value stays
// between the least and the greatest, and the quantiles are in order.
func TestLatestRuns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := latestRuns{most: rapid.IntRange(1, 20).Draw(t, "most")}
		all := rapid.SliceOfN(rapid.Float64Range(0.001, 5), 1, 60).Draw(t, "runs")
		at := time.Now()
		var ms []core.Metric
		for _, took := range all {
			l.add(at, took)
			at = at.Add(time.Second)
			ms = l.metrics(at, took)
		}
		latest := all[max(0, len(all)-l.most):]
		s := core.Sample{Metrics: ms}
		value := func(name string) float64 { m, _ := s.Metric(name); return m.Value }
		p50, p90, p99 := value(core.MetricResponseP50), value(core.MetricResponseP90), value(core.MetricResponseP99)
		if p50 > p90 || p90 > p99 {
			t.Errorf("p50 %g, p90 %g, p99 %g", p50, p90, p99)
		}
		if most := float64(float32(slices.Max(latest))); len(latest) < 100 && p99 != most {
			t.Errorf("p99 of %d runs is %g, want the greatest, %g", len(latest), p99, most)
		}
		if e := value(core.MetricResponseEWMA); e < slices.Min(all)-1e-9 || e > slices.Max(all)+1e-9 {
			t.Errorf("smoothed %g of %v", e, all)
		}
		if m, _ := s.Metric(core.MetricResponseP50); m.Window != time.Duration(len(latest))*time.Second {
			t.Errorf("window %s of %d runs, one a second", m.Window, len(latest))
		}
		if len(l.runs) > l.most || cap(l.runs) > 2*l.most+8 {
			t.Errorf("%d runs in %d places, most %d", len(l.runs), cap(l.runs), l.most)
		}
	})
}
