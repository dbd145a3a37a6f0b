// SPDX-License-Identifier: Apache-2.0

package builtin

import "github.com/steelyard-lb/steelyard/sdk/go/policy"

// Slots of a backend's state.
const (
	cpuEstimate = iota // connections per second at full CPU; 0 until known
	cpuSeq             // of the last sample looked at
	cpuFresh           // fresh samples since the backend came up, at most cpuBlackout+1
	cpuBusy            // smoothed CPU; 0 until known
)

const (
	// cpuBlackout is how many fresh samples after coming up are not believed:
	// their windows reach back into the time when there was no load.
	cpuBlackout = 2
	// cpuMinimum is the CPU below which a sample says nothing of capacity: what is
	// measured then is the machine's own life, or work that fails at once.
	cpuMinimum = 0.05
	// cpuDrift is the part of the way that an estimate goes back, at each such
	// sample, to what cores and weights let expect.
	cpuDrift = 0.02
	// cpuMinDone is the least number of completions in a window that says
	// something about capacity, and cpuHalfDone the number at which a sample
	// counts for half of what it would with ever so many.
	cpuMinDone  = 5
	cpuHalfDone = 100
	// cpuMaxJump is how many times its estimate a backend is believed to be able
	// to do: a sample from the moment when work began to fail says ever so much.
	cpuMaxJump = 1.5
)

// LeastCPU makes the CPUs of all backends equally busy. It estimates what each
// backend can do and shares in that proportion, so that there is no gain to
// tune and little to oscillate:
//
//	x  = connections done per second ÷ cpu             same window for both
//	est += alpha·n/(n+100)·(x - est)                   once per fresh sample of n completions
//	w  = est · lead
//
// It is the client-side weighted round robin of gRPC (A58: qps ÷ utilisation)
// with completions for queries, because a saturated backend accepts more than
// it can do, and with matched windows, because a CPU average that is older than
// the rate beside it made an eighteen-fold oscillation in our simulation. Few
// completions are a noisy count, so they move the estimate less.
//
// The lead hurries what new connections alone would change slowly; see cpuLead.
//
// A sample is left out if fewer than 5 connections finished in its window, and
// for the first two samples after a backend came up. With less than 5 % CPU it
// says nothing of capacity, and the estimate slowly goes back to what a backend
// without one gets: cores × the mean capacity per core of those that have one; if
// its cores are unknown, configured weight × their mean capacity per configured
// weight. So a backend that fails all work at once with an idle CPU gets no more
// than its share. If there is no estimate at all, configured weights count; where
// they are all the same and all cores are known, cores. So the configured weight
// is a first guess and an off switch, no more: the loop finds the real capacity.
// A backend whose CPU is unknown or stale is held: it keeps its share for a while, and
// then goes back to its configured weight. Its estimate is kept for when the CPU is
// known again.
func LeastCPU() policy.Policy {
	return policy.Policy{
		Name:  "least-cpu",
		About: "shares that make the CPUs of all backends equally busy",
		Params: []policy.Param{
			{Name: "alpha", Default: 0.3, Min: 0.01, Max: 1, Unit: "ratio", About: "weight of a fresh sample in the estimate"},
		},
		Reads:        []string{policy.ReadCPU, policy.ReadCores, policy.ReadConnections, policy.ReadClosed},
		BackendSlots: 4,
		Schedule:     leastCPU,
	}
}

func leastCPU(s *policy.Snapshot) error {
	alpha := s.Param("alpha")
	var before cpuSeed
	var pool cpuPool
	for i := range s.Len() {
		b, st := s.Backend(i), s.BackendState(i)
		fresh, telling := learnCPU(b, st, alpha)
		pool.add(b, st)
		if !fresh || telling || st[cpuEstimate] <= 0 {
			continue
		}
		if before.perWeight == 0 {
			before = newCPUSeed(s)
		}
		st[cpuEstimate] += float64(cpuDrift * (before.weight(b) - st[cpuEstimate]))
	}
	lead, seed, seeded := pool.lead(), cpuSeed{}, false
	for i := range s.Len() {
		b, st := s.Backend(i), s.BackendState(i)
		_, known := b.CPU()
		switch {
		case !takesPart(b):
			s.SetWeight(i, 0)
		case !known:
			s.Hold(i)
		case st[cpuEstimate] > 0:
			s.SetWeight(i, float64(st[cpuEstimate]*lead.of(b, st)))
		default:
			if !seeded { // nearly always everybody has an estimate
				seed, seeded = newCPUSeed(s), true
			}
			s.SetWeight(i, seed.weight(b))
		}
	}
	return nil
}

// learnCPU takes a fresh sample into the estimate, if it tells of capacity.
func learnCPU(b *policy.Backend, st []float64, alpha float64) (fresh, telling bool) {
	if b.Health() != policy.Up {
		st[cpuFresh], st[cpuBusy] = 0, 0 // capacity is remembered, but not believed anew too soon
	}
	cpu, ok := b.CPU()
	seq := float64(b.CPUSeq())
	if !ok || seq == st[cpuSeq] {
		return false, false
	}
	st[cpuSeq] = seq
	if b.Health() != policy.Up {
		return false, false
	}
	if st[cpuFresh] <= cpuBlackout {
		st[cpuFresh]++
	}
	if st[cpuBusy] == 0 {
		st[cpuBusy] = cpu
	}
	st[cpuBusy] += float64(alpha * (cpu - st[cpuBusy]))
	if cpu < cpuMinimum {
		return true, false
	}
	done, ok := b.Closed()
	n := done * b.CPUWindow()
	if !ok || st[cpuFresh] <= cpuBlackout || n < cpuMinDone {
		return true, true
	}
	x := done / cpu
	if st[cpuEstimate] > 0 {
		x = atMost(x, float64(cpuMaxJump*st[cpuEstimate]))
		x = st[cpuEstimate] + float64(float64(alpha*(n/(n+cpuHalfDone)))*(x-st[cpuEstimate]))
	}
	st[cpuEstimate] = x
	return true, true
}
