// SPDX-License-Identifier: Apache-2.0

package builtin

import "github.com/steelyard-lb/steelyard/sdk/go/policy"

// A cpuSeed is what is known about the pool for a backend without an estimate.
type cpuSeed struct {
	perCore, perWeight float64 // capacity; 0 if nothing is known
	byCores            bool    // the cores of all that take part are known, and their weights are the same
}

func newCPUSeed(s *policy.Snapshot) cpuSeed {
	seed := cpuSeed{byCores: true}
	var onCores, cores, all, weights, weight float64
	for i := range s.Len() {
		b, est := s.Backend(i), s.BackendState(i)[cpuEstimate]
		if !takesPart(b) {
			continue
		}
		if weight == 0 {
			weight = b.Weight()
		}
		n, ok := b.Cores()
		ok = ok && n >= 1
		seed.byCores = seed.byCores && ok && weight == b.Weight()
		if est <= 0 {
			continue
		}
		all, weights = all+est, weights+b.Weight()
		if ok {
			onCores, cores = onCores+est, cores+n
		}
	}
	if weights > 0 {
		seed.perWeight = all / weights
	}
	if cores > 0 {
		seed.perCore = onCores / cores
	}
	return seed
}

// weight is what a backend without an estimate gets. Weights that differ were
// thought about, and speak of the whole backend.
func (c cpuSeed) weight(b *policy.Backend) float64 {
	n, ok := b.Cores()
	switch {
	case c.perCore > 0 && ok && n >= 1:
		return float64(n * c.perCore)
	case c.perWeight > 0:
		return float64(b.Weight() * c.perWeight)
	case c.byCores:
		return n
	}
	return b.Weight()
}

// The bounds of the lead.
const (
	leadMaxGain = 1
	leadMinGain = 0.02    // less is not worth a logarithm
	leadMost    = 1.09861 // ln 3: a backend gets a third to three times its estimate
	leadPoll    = 5       // seconds by which a CPU sample is late, beside its window
	leadFull    = 0.95    // CPU from which a backend has a queue to work off
	leadRelief  = 0.3     // the part of its connections that it is spared at a full CPU
)

// A cpuLead is the lead compensation of the loop. Where connections live long, what
// is open decides the load, and new connections change it at the pace of their
// life L. So for a while a backend that is less busy than the mean gets more of
// them than it should have in the end:
//
//	lead = (mean cpu ÷ cpu)^g · (1 - 0.3·full)
//	g    = L ÷ (window of cpu + 5 s), at most 1        L = open ÷ closed per second
//	full = 0 at 95 % CPU to 1 at 100 %
//
// A gain of 1 is stable whatever the delay; for short connections g is about 0.
// With g 2 and 3 the simulation settles sooner by 20 s to 30 s, and swings by half
// as much again.
type cpuLead struct {
	mean float64 // CPU; 0 if nobody's is known
	life float64 // of connections, seconds; 0 if unknown
}

// A cpuPool adds up what the lead is about.
type cpuPool struct{ open, closed, busy, n float64 }

func (p *cpuPool) add(b *policy.Backend, st []float64) {
	if b.Health() != policy.Up || !takesPart(b) {
		return
	}
	if u := st[cpuBusy]; u > 0 {
		p.busy, p.n = p.busy+u, p.n+1
	}
	open, ok := b.Connections()
	closed, counted := b.Closed()
	if ok && counted {
		p.open, p.closed = p.open+open, p.closed+closed
	}
}

func (p *cpuPool) lead() (l cpuLead) {
	if p.n > 0 {
		l.mean = p.busy / p.n
	}
	if p.closed > 0 {
		l.life = p.open / p.closed
	}
	return l
}

// of is the factor on the estimate of a backend.
func (l cpuLead) of(b *policy.Backend, st []float64) float64 {
	busy := st[cpuBusy]
	if _, known := b.CPU(); !known || busy <= 0 || l.mean <= 0 {
		return 1
	}
	f := 1.0
	if busy > leadFull {
		f -= float64(leadRelief * atMost(float64((busy-leadFull)*(1/(1-leadFull))), 1))
	}
	if g := atMost(l.life/(b.CPUWindow()+leadPoll), leadMaxGain); g >= leadMinGain {
		f *= exp(clamp(float64(g*ln(l.mean/busy)), leadMost))
	}
	return f
}
