// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

const (
	// defaultRuns is over how many runs the quantiles are without a word of the spec,
	// and maxRuns what a spec may ask for: 8 bytes a run and target.
	defaultRuns = 60
	maxRuns     = 10_000
	// responseAlpha is the share of a new run in the smoothed response time.
	responseAlpha = 0.3
)

// responseTime measures how long a backend takes to answer: an http request where the
// spec has a path, a tcp connect or dialogue otherwise. Emits response_time, the same
// smoothed, and quantiles of the latest good runs: nothing else, so that it can stand
// beside a health probe of the same kind.
type responseTime struct {
	prober
	runs latestRuns
}

func newResponseTime(t Target) prober {
	var inner prober
	if t.Spec.HTTP.Path != "" {
		inner = newHTTP(t)
	} else {
		inner = newTCP(t)
	}
	if _, no := inner.(impossible); no {
		return inner
	}
	return &responseTime{prober: inner, runs: latestRuns{most: min(cmp.Or(max(t.Spec.Response.Samples, 0), defaultRuns), maxRuns)}}
}

func (p *responseTime) probe(ctx context.Context) result {
	start := time.Now()
	r := p.prober.probe(ctx)
	if !r.ok {
		return r // a fast error is no fast answer
	}
	took, ok := responseOf(r.metrics)
	if !ok {
		return r // the inner probe has none, which is a bug; its own metrics then show it
	}
	p.runs.add(start, took)
	r.metrics = p.runs.metrics(time.Now(), took)
	for _, m := range r.metrics {
		note(ctx, "metric", "%s", metricText(m))
	}
	return r
}

// responseOf is the response time in seconds, which of a mere connect is all that it
// took.
func responseOf(ms []core.Metric) (float64, bool) {
	s := core.Sample{Metrics: ms}
	m, ok := s.Metric(core.MetricResponse)
	if !ok {
		m, ok = s.Metric(core.MetricConnect)
	}
	return m.Value, ok
}

// A timedRun is how long a run took, in seconds, and when it began, in milliseconds
// since the first one. That wraps after 49 days, and only differences count.
type timedRun struct {
	took float32
	at   uint32
}

// latestRuns are the latest good runs of a target. There may be 16,000 of these, so they
// grow with their runs.
type latestRuns struct {
	most   int // how many are kept
	runs   []timedRun
	oldest int       // index into runs, once there are most of them
	first  time.Time // when the first of all began
	smooth float64   // seconds
}

// add notes a good run that began at start.
func (l *latestRuns) add(start time.Time, took float64) {
	if l.first.IsZero() {
		l.first, l.smooth = start, took
	} else {
		l.smooth += responseAlpha * (took - l.smooth)
	}
	run := timedRun{float32(took), uint32(start.Sub(l.first).Milliseconds())}
	if len(l.runs) < l.most {
		l.runs = append(l.runs, run)
		return
	}
	l.runs[l.oldest] = run
	l.oldest = (l.oldest + 1) % len(l.runs)
}

// metrics is what the runs come to; took is that of the last.
func (l *latestRuns) metrics(now time.Time, took float64) []core.Metric {
	sorted := make([]float32, len(l.runs))
	for i, r := range l.runs {
		sorted[i] = r.took
	}
	slices.Sort(sorted)
	ms := []core.Metric{
		{Name: core.MetricResponse, Value: took, Unit: "seconds"},
		{Name: core.MetricResponseEWMA, Value: l.smooth, Unit: "seconds"},
	}
	since := time.Duration(uint32(now.Sub(l.first).Milliseconds())-l.runs[l.oldest].at) * time.Millisecond
	for _, q := range []struct {
		name    string
		percent int
	}{{core.MetricResponseP50, 50}, {core.MetricResponseP90, 90}, {core.MetricResponseP99, 99}} {
		ms = append(ms, core.Metric{Name: q.name, Value: float64(quantile(sorted, q.percent)), Unit: "seconds", Window: since})
	}
	return ms
}

// quantile is the value of nearest rank, which is always one that was measured. sorted
// is not empty; of 0 < percent <= 100.
func quantile(sorted []float32, percent int) float32 {
	rank := (len(sorted)*percent + 99) / 100
	return sorted[min(max(rank, 1), len(sorted))-1]
}
