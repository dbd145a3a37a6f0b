// SPDX-License-Identifier: Apache-2.0

// Command count is the policy count of count.c, in Go.
package main

import "github.com/steelyard-lb/steelyard/sdk/go/policy"

func init() {
	policy.Register(policy.Policy{
		Name: "count", BackendSlots: 1,
		Params: []policy.Param{{Name: "step", Default: 1, Min: 0, Max: 9}},
		Schedule: func(s *policy.Snapshot) error {
			step := s.Param("step")
			for i := range s.Len() {
				seen := s.BackendState(i)
				s.SetWeight(i, 1+seen[0]*step)
				seen[0]++
			}
			return nil
		},
	})
}

func main() {}
