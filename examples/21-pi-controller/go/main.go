// SPDX-License-Identifier: Apache-2.0

// Command pi is a PI controller that makes CPUs equal, as a policy in Go. The
// README beside has the formula.
package main

import "github.com/steelyard-lb/steelyard/sdk/go/policy"

// Slots of a backend's state.
const (
	factor = iota // on the configured weight; 0 before the first decision
	err           // error of the decision before
)

func init() {
	policy.Register(policy.Policy{
		Name:  "pi",
		About: "configured weights, corrected by a PI controller until CPUs are equal",
		Params: []policy.Param{
			{Name: "kp", Default: 0.3, Min: 0, Max: 2, Unit: "ratio", About: "answer to a change of the error"},
			{Name: "ki", Default: 0.02, Min: 0, Max: 1, Unit: "per second", About: "answer to a lasting error"},
			{Name: "band", Default: 8, Min: 1, Max: 1000, Unit: "ratio", About: "largest factor on the configured weight"},
		},
		Reads:        []string{policy.ReadCPU},
		BackendSlots: 2,
		Schedule:     schedule,
	})
}

func schedule(s *policy.Snapshot) error {
	var sum, n float64
	for i := range s.Len() {
		if b := s.Backend(i); takesPart(b) {
			if cpu, ok := b.CPU(); ok {
				sum += cpu
				n++
			}
		}
	}
	mean := clip(sum/n, 0.05, 1)
	kp, band := s.Param("kp"), s.Param("band")
	ki := s.Param("ki") * min(s.Seconds(), 10)
	for i := range s.Len() {
		b, st := s.Backend(i), s.BackendState(i)
		cpu, ok := b.CPU()
		switch {
		case !takesPart(b):
			clear(st)
			s.SetWeight(i, 0)
		case !ok:
			s.Hold(i)
		default:
			if st[factor] == 0 {
				st[factor] = 1
			}
			e := clip((mean-cpu)/mean, -0.5, 0.5)
			step := clip(kp*(e-st[err])+ki*e, -0.25, 0.25)
			st[factor], st[err] = clip(st[factor]*(1+step), 1/band, band), e
			s.SetWeight(i, b.Weight()*st[factor])
		}
	}
	return nil
}

func takesPart(b *policy.Backend) bool { return b.Weight() > 0 && b.Health() != policy.Down }

func clip(x, low, high float64) float64 {
	switch {
	case x < low:
		return low
	case x > high:
		return high
	}
	return x
}

func main() {}
