// SPDX-License-Identifier: Apache-2.0

// Command capacity is weighted least CPU as a policy in Go. The README beside
// has the formula.
package main

import "github.com/steelyard-lb/steelyard/sdk/go/policy"

// Slots of a backend's state.
const (
	estimate = iota // connections per second at full CPU; 0 until known
	seq             // of the CPU sample looked at last
)

func init() {
	policy.Register(policy.Policy{
		Name:  "capacity",
		About: "shares that make the CPUs of all backends equally busy",
		Params: []policy.Param{
			{Name: "alpha", Default: 0.3, Min: 0.01, Max: 1, Unit: "ratio", About: "weight of a fresh sample"},
		},
		Reads:        []string{policy.ReadCPU, policy.ReadClosed},
		BackendSlots: 2,
		Schedule:     schedule,
	})
}

func schedule(s *policy.Snapshot) error {
	var known, weights float64
	for i := range s.Len() {
		b, st := s.Backend(i), s.BackendState(i)
		learn(b, st, s.Param("alpha"))
		if takesPart(b) && st[estimate] > 0 {
			known += st[estimate]
			weights += b.Weight()
		}
	}
	for i := range s.Len() {
		b, est := s.Backend(i), s.BackendState(i)[estimate]
		_, ok := b.CPU()
		switch {
		case !takesPart(b):
			s.SetWeight(i, 0)
		case est > 0:
			s.SetWeight(i, est)
		case !ok:
			s.Hold(i)
		case known > 0:
			s.SetWeight(i, b.Weight()*(known/weights))
		default:
			s.SetWeight(i, b.Weight())
		}
	}
	return nil
}

func takesPart(b *policy.Backend) bool { return b.Weight() > 0 && b.Health() != policy.Down }

// learn takes a fresh CPU sample into the estimate.
func learn(b *policy.Backend, st []float64, alpha float64) {
	cpu, ok := b.CPU()
	closed, counted := b.Closed()
	if b.Health() != policy.Up || !ok || !counted || float64(b.CPUSeq()) == st[seq] {
		return
	}
	st[seq] = float64(b.CPUSeq())
	if cpu < 0.05 || closed*b.CPUWindow() < 5 {
		return
	}
	x := closed / cpu
	if st[estimate] > 0 {
		x = st[estimate] + alpha*(x-st[estimate])
	}
	st[estimate] = x
}

func main() {}
