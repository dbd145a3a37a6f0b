// SPDX-License-Identifier: Apache-2.0

package builtin

import "github.com/steelyard-lb/steelyard/sdk/go/policy"

// Slots of a backend's state.
const (
	cpuEstimate = iota // connections per second at full CPU; 0 until known
	cpuSeq             // of the last sample looked at
	cpuFresh           // fresh samples since the backend came up, at most cpuBlackout+1
)

const (
	// cpuBlackout is how many fresh samples after coming up are not believed:
	// their windows reach back into the time when there was no load.
	cpuBlackout = 2
	// cpuMinimum keeps an idle backend from looking infinitely capable.
	cpuMinimum = 0.05
	// cpuMinDone is the least number of completions in a window that says
	// something about capacity.
	cpuMinDone = 5
)

// LeastCPU makes the CPUs of all backends equally busy. It estimates what each
// backend can do and shares in that proportion, so that there is no gain to
// tune and nothing to oscillate:
//
//	x  = connections done per second ÷ max(cpu, 0.05)    same window for both
//	est += alpha·(x - est)                               once per fresh sample
//	w  = est
//
// It is the client-side weighted round robin of gRPC (A58: qps ÷ utilisation)
// with completions for queries, because a saturated backend accepts more than
// it can do, and with matched windows, because a CPU average that is older than
// the rate beside it made an eighteen-fold oscillation in our simulation.
//
// A sample is left out if fewer than 5 connections finished in its window, and
// for the first two samples after a backend came up. A backend without an
// estimate gets cores × the mean capacity per core of those that have one; if
// its cores are unknown, configured weight × their mean capacity per configured
// weight. If there is no estimate at all: cores × configured weight if all
// cores are known, else configured weight. So the configured weight is a first
// guess and an off switch, no more: the loop finds the real capacity. With its
// CPU unknown or stale a backend keeps its estimate, and is held if it has none.
//
// It does not see a backend that fails fast with an idle CPU: that is for a
// health probe which asks the service itself.
func LeastCPU() policy.Policy {
	return policy.Policy{
		Name:  "least-cpu",
		About: "shares that make the CPUs of all backends equally busy",
		Params: []policy.Param{
			{Name: "alpha", Default: 0.3, Min: 0.01, Max: 1, About: "weight of a fresh sample in the estimate, ratio"},
		},
		Reads:        []string{policy.ReadCPU, policy.ReadCores, policy.ReadClosed},
		BackendSlots: 3,
		Schedule:     leastCPU,
	}
}

func leastCPU(s *policy.Snapshot) error {
	alpha := s.Param("alpha")
	for i := range s.Len() {
		learnCPU(s.Backend(i), s.BackendState(i), alpha)
	}
	seed := newCPUSeed(s)
	for i := range s.Len() {
		b, est := s.Backend(i), s.BackendState(i)[cpuEstimate]
		_, known := b.CPU()
		switch {
		case !takesPart(b):
			s.SetWeight(i, 0)
		case est > 0:
			s.SetWeight(i, est)
		case known:
			s.SetWeight(i, seed.weight(b))
		default:
			s.Hold(i)
		}
	}
	return nil
}

// learnCPU takes a fresh sample into the estimate.
func learnCPU(b *policy.Backend, st []float64, alpha float64) {
	if b.Health() != policy.Up {
		st[cpuFresh] = 0 // capacity is remembered, but not believed anew too soon
	}
	cpu, ok := b.CPU()
	seq := float64(b.CPUSeq())
	if !ok || seq == st[cpuSeq] {
		return
	}
	st[cpuSeq] = seq
	if b.Health() != policy.Up {
		return
	}
	if st[cpuFresh] <= cpuBlackout {
		st[cpuFresh]++
	}
	done, ok := b.Closed()
	if !ok || st[cpuFresh] <= cpuBlackout || done*b.CPUWindow() < cpuMinDone {
		return
	}
	x := done / atLeast(cpu, cpuMinimum)
	if st[cpuEstimate] > 0 {
		x = st[cpuEstimate] + float64(alpha*(x-st[cpuEstimate]))
	}
	st[cpuEstimate] = x
}

// A cpuSeed is what is known about the pool for a backend without an estimate.
type cpuSeed struct {
	perCore, perWeight float64 // capacity; 0 if nothing is known
	coresKnown         bool    // of every backend that takes part
}

func newCPUSeed(s *policy.Snapshot) cpuSeed {
	seed := cpuSeed{coresKnown: true}
	var onCores, cores, all, weights float64
	for i := range s.Len() {
		b, est := s.Backend(i), s.BackendState(i)[cpuEstimate]
		if !takesPart(b) {
			continue
		}
		n, ok := b.Cores()
		ok = ok && n > 0
		seed.coresKnown = seed.coresKnown && ok
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

func (c cpuSeed) weight(b *policy.Backend) float64 {
	n, ok := b.Cores()
	switch {
	case c.perCore > 0 && ok && n > 0:
		return float64(n * c.perCore)
	case c.perWeight > 0:
		return float64(b.Weight() * c.perWeight)
	case c.coresKnown:
		return float64(n * b.Weight())
	}
	return b.Weight()
}
