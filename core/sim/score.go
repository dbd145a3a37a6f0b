// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"math"
	"time"
)

// How the score is taken.
const (
	imbalanceWindow = 10 * time.Second
	settleWindow    = 30 * time.Second // of convergence: one of 10 s is noisy
	settleBand      = 1.15             // of the largest CPU over the mean
	lookEvery       = 5 * time.Second
)

// An Outcome is what a run came to. Times are seconds.
type Outcome struct {
	P50  float64 `json:"p50_seconds"`
	P99  float64 `json:"p99_seconds"`
	P999 float64 `json:"p999_seconds"`
	// Failed is the part of all requests that got an error at once.
	Failed float64 `json:"failed_ratio"`
	// Imbalance is the largest CPU over the mean of all, over 10 s, on average.
	Imbalance float64 `json:"imbalance_ratio"`
	// Oscillation is the standard deviation of a share over its mean, on average.
	Oscillation float64 `json:"oscillation_ratio"`
	// Convergence is the time from the last disturbance until the imbalance over
	// 30 s is below 1.15 for good; nil if that is never.
	Convergence *float64 `json:"convergence_seconds"`
	// Moved is the part of all new connections that commits sent elsewhere, and
	// Commits their number, per hour and balancer.
	Moved    float64 `json:"moved_share_per_hour"`
	Commits  float64 `json:"commits_per_hour"`
	Requests uint64  `json:"requests_total"` // of the whole run

	Series *Series `json:"series,omitempty"`
}

// A Series is a run over time, for a plot.
type Series struct {
	Names  []string    `json:"backends"`
	Times  []float64   `json:"times_seconds"`
	Shares [][]float64 `json:"share_ratio"` // by time, then backend; the mean of all balancers
	CPU    [][]float64 `json:"cpu_ratio"`   // over the last 10 s
}

// A score gathers an outcome.
type score struct {
	from, settle float64 // seconds
	latency      histogram
	failed, all  uint64
	requests     uint64
	imbalance    mean
	lastBad      int // tick of the latest look that was out of the band; -1 if none
	shares       []spread
	commits      int
	moved        float64
	series       *Series
}

type mean struct{ sum, n float64 }

func (m *mean) add(v float64) { m.sum, m.n = m.sum+v, m.n+1 }
func (m mean) value() float64 {
	if m.n == 0 {
		return 0
	}
	return m.sum / m.n
}

// A spread is the mean and the variance of a sequence (Welford).
type spread struct{ n, mean, m2 float64 }

func (s *spread) add(v float64) {
	s.n++
	d := v - s.mean
	s.mean += d / s.n
	s.m2 += d * (v - s.mean)
}

func newScore(w *world, record bool) score {
	s := score{from: w.sc.measured().Seconds(), settle: w.sc.Settle.Seconds(), lastBad: -1,
		shares: make([]spread, len(w.machines)*len(w.balancers))}
	if record {
		s.series = &Series{}
		for _, m := range w.machines {
			s.series.Names = append(s.series.Names, m.name)
		}
	}
	return s
}

func (s *score) serve(from, done float64) {
	s.requests++
	if from >= s.from {
		s.latency.add(done - from)
		s.all++
	}
}

func (s *score) fail(t float64) {
	s.requests++
	if t >= s.from {
		s.failed++
		s.all++
	}
}

// look takes note at the end of a tick.
func (s *score) look(w *world) {
	if w.now() <= s.from {
		s.commits, s.moved = 0, 0
		for _, lb := range w.balancers {
			s.commits, s.moved = s.commits+lb.commits, s.moved+lb.moved
		}
	} else {
		for k, lb := range w.balancers {
			for i, f := range lb.flows {
				s.shares[k*len(lb.flows)+i].add(f.share)
			}
		}
	}
	if w.tick%ticks(imbalanceWindow) == 0 && w.tick-ticks(imbalanceWindow) >= ticks(w.sc.measured()) {
		if v, ok := w.imbalance(ticks(imbalanceWindow)); ok {
			s.imbalance.add(v)
		}
	}
	if w.tick%ticks(lookEvery) != 0 {
		return
	}
	if w.tick-ticks(settleWindow) >= ticks(w.sc.Settle) {
		if v, ok := w.imbalance(ticks(settleWindow)); ok && v > settleBand {
			s.lastBad = w.tick
		}
	}
	if s.series != nil {
		s.series.add(w)
	}
}

// imbalance is the largest CPU over the mean, of those that worked all the while.
func (w *world) imbalance(window int) (float64, bool) {
	var top, sum, n float64
	for _, m := range w.machines {
		well := true
		for k := w.tick - window; k < w.tick; k++ {
			well = well && !m.nature[k].dead && !m.nature[k].sink
		}
		if well {
			cpu := m.cpu(w.tick-window, w.tick)
			top, sum, n = max(top, cpu), sum+cpu, n+1
		}
	}
	return top / (sum / n), sum > 0
}

func (s *Series) add(w *world) {
	shares, cpu := make([]float64, len(w.machines)), make([]float64, len(w.machines))
	for i, m := range w.machines {
		for _, lb := range w.balancers {
			shares[i] += lb.flows[i].share / float64(len(w.balancers))
		}
		cpu[i] = m.cpu(w.tick-ticks(imbalanceWindow), w.tick)
	}
	s.Times = append(s.Times, w.now())
	s.Shares, s.CPU = append(s.Shares, shares), append(s.CPU, cpu)
}

func (s *score) outcome(w *world) Outcome {
	o := Outcome{P50: s.latency.quantile(0.5), P99: s.latency.quantile(0.99), P999: s.latency.quantile(0.999),
		Imbalance: s.imbalance.value(), Requests: s.requests, Series: s.series}
	if s.all > 0 {
		o.Failed = float64(s.failed) / float64(s.all)
	}
	var osc mean
	for _, v := range s.shares {
		if v.mean > 0 {
			osc.add(math.Sqrt(v.m2/v.n) / v.mean)
		}
	}
	o.Oscillation = osc.value()
	if end := len(w.rates) - ticks(lookEvery); s.lastBad < end {
		c := max(0, at(s.lastBad).Seconds()-s.settle)
		o.Convergence = &c
	}
	commits, moved := -s.commits, -s.moved
	for _, lb := range w.balancers {
		commits, moved = commits+lb.commits, moved+lb.moved
	}
	if hours := (w.sc.Duration - w.sc.measured()).Hours() * float64(len(w.balancers)); hours > 0 {
		o.Commits, o.Moved = float64(commits)/hours, moved/hours
	}
	return o
}
