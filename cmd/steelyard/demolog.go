// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"slices"
	"sync"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A demoLog is everything that was seen while the demo ran. Table, checks and
// summary are computed from it and from nothing else.
type demoLog struct {
	mu     sync.Mutex
	phases []demoSpan      // guarded by mu; those begun
	views  []demoView      // guarded by mu; one per tick, oldest first
	sent   int             // guarded by mu
	skip   int             // guarded by mu
	done   []demoAnswer    // guarded by mu
	failed []clientFailure // guarded by mu
	killed time.Time       // guarded by mu
	death  *core.Decision  // guarded by mu; took the dead backend out of the kernel
	noted  time.Time       // guarded by mu; when the daemon called it down
}

// A demoSpan is when a phase was; To is zero while it lasts.
type demoSpan struct{ From, To time.Time }

func (s demoSpan) holds(t time.Time) bool {
	return !t.Before(s.From) && (s.To.IsZero() || t.Before(s.To))
}

// last is the end of the span: its last d.
func (s demoSpan) last(d time.Duration) demoSpan { return demoSpan{s.To.Add(-d), s.To} }

// A demoView is the daemon's account of the service at one moment.
type demoView struct {
	at      time.Time
	counted time.Time // when the kernel's counters in it were read
	service core.ServiceView
}

// backend is the index-th backend of the demo as the daemon sees it.
func (v demoView) backend(index int) core.BackendView {
	for _, b := range v.service.Backends {
		if b.Name == demoBackends[index].name {
			return b
		}
	}
	return core.BackendView{}
}

// shares are those in the kernel, per backend of the demo.
func (v demoView) shares() []float64 {
	s := make([]float64, len(demoBackends))
	for i := range s {
		s[i] = v.backend(i).Share
	}
	return s
}

type demoAnswer struct {
	backend int
	clientAnswer
}

func (l *demoLog) begin(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.endLocked(at)
	l.phases = append(l.phases, demoSpan{From: at})
}

func (l *demoLog) end(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.endLocked(at)
}

func (l *demoLog) endLocked(at time.Time) {
	if n := len(l.phases); n > 0 {
		l.phases[n-1].To = at
	}
}

func (l *demoLog) report(r clientReport) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent += r.Sent
	l.skip += r.Skipped
	l.failed = append(l.failed, r.Failures...)
	for name, answers := range r.Answers {
		i := slices.IndexFunc(demoBackends, func(b demoBackend) bool { return b.name == name })
		for _, a := range answers {
			l.done = append(l.done, demoAnswer{i, a})
		}
	}
}

func (l *demoLog) view(v core.NodeView) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range v.Services {
		if s.Name != demoService {
			continue
		}
		l.views = append(l.views, demoView{v.At, v.Kernel.CountersAt, s})
		victim := l.views[len(l.views)-1].backend(demoVictim)
		if l.noted.IsZero() && !l.killed.IsZero() && victim.Health == core.Down {
			l.noted = victim.Since
		}
	}
}

func (l *demoLog) kill(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.killed = at
}

// waitsForDeath reports whether the decision that answers the kill is missing.
func (l *demoLog) waitsForDeath() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.killed.IsZero() && l.death == nil
}

// decisions looks for the first commit after the kill that leaves the victim
// without a slot. A later decision that changed nothing names the same commit, but
// was not what it brought.
func (l *demoLog) decisions(ds []core.Decision) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range ds {
		if l.killed.IsZero() || d.Outcome != core.Applied || d.Commit == nil || d.Commit.At.Before(l.killed) {
			continue
		}
		for _, b := range d.Backends {
			if b.Backend == demoBackends[demoVictim].name && b.Slots == 0 &&
				(l.death == nil || d.Commit.At.Before(l.death.Commit.At)) {
				l.death = &d
			}
		}
	}
}

// requests are the latencies of the answers to requests begun in the span, per
// backend, and the number of requests begun in it that failed.
func (l *demoLog) requests(s demoSpan) (latencies [][]float64, failed int) {
	latencies = make([][]float64, len(demoBackends))
	for _, a := range l.done {
		if a.backend >= 0 && s.holds(a.Started) {
			latencies[a.backend] = append(latencies[a.backend], a.Latency)
		}
	}
	for _, f := range l.failed {
		if s.holds(f.Started) {
			failed++
		}
	}
	return latencies, failed
}

// shares are the parts of n answers that came from each backend, and n.
func shares(latencies [][]float64) (parts []float64, n int) {
	for _, l := range latencies {
		n += len(l)
	}
	parts = make([]float64, len(latencies))
	for i, l := range latencies {
		if n > 0 {
			parts[i] = float64(len(l)) / float64(n)
		}
	}
	return parts, n
}

// quantile of unsorted values, by the nearest rank; NaN of none.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	v := slices.Sorted(slices.Values(values))
	rank := int(math.Ceil(q*float64(len(v)))) - 1
	return v[min(max(rank, 0), len(v)-1)]
}
