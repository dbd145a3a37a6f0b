// SPDX-License-Identifier: Apache-2.0

// Command fair is the policy of fair.c, in Go: what a backend has left of its
// processors.
package main

import "github.com/steelyard-lb/steelyard/sdk/go/policy"

func init() {
	policy.Register(policy.Policy{
		Name: "fair", Reads: []string{"cpu", "cores"},
		Schedule: func(s *policy.Snapshot) error {
			for i := range s.Len() {
				b := s.Backend(i)
				cpu, ok := b.CPU()
				cores, _ := b.Cores()
				if !ok {
					s.Hold(i)
					continue
				}
				s.SetWeight(i, (1-cpu)*cores)
			}
			return nil
		},
	})
}

func main() {}
