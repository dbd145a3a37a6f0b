// SPDX-License-Identifier: Apache-2.0

// Command headroom is a scheduling policy in Go: shares follow the CPU that is
// left, cores × idle ratio, smoothed, and never below a floor.
package main

import "github.com/steelyard-lb/steelyard/sdk/go/policy"

// A module's main is never called: policies are registered while it starts.
func init() {
	policy.Register(policy.Policy{
		Name:  "headroom",
		About: "shares in proportion to the cores that are idle",
		Params: []policy.Param{
			{Name: "floor", Default: 0.1, Min: 0.01, Max: 1, About: "least idle ratio that is reckoned with"},
			{Name: "tau", Default: 30, Min: 1, Max: 600, About: "time constant of the smoothing, seconds"},
		},
		Reads:        []string{policy.ReadCPU, policy.ReadCores},
		BackendSlots: 1, // the smoothed headroom, in cores; 0 until there is one
		Schedule:     headroom,
	})
}

func headroom(s *policy.Snapshot) error {
	floor := s.Param("floor")
	// The part of the way that the average goes in this decision.
	gain := s.Seconds() / (s.Seconds() + s.Param("tau"))
	for i := range s.Len() {
		b, smooth := s.Backend(i), s.BackendState(i)
		cpu, ok := b.CPU()
		switch {
		case b.Weight() == 0 || b.Health() == policy.Down:
			s.SetWeight(i, 0)
		case !ok:
			s.Hold(i) // not measured is not idle
		default:
			cores, ok := b.Cores()
			if !ok || cores < 1 {
				cores = 1
			}
			idle := cores * max(1-cpu, floor)
			if smooth[0] == 0 {
				smooth[0] = idle
			}
			smooth[0] += gain * (idle - smooth[0])
			s.SetWeight(i, smooth[0])
		}
	}
	return nil
}

func main() {}
