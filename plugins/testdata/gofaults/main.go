// SPDX-License-Identifier: Apache-2.0

// Command gofaults holds policies that fail the way Go programs do.
package main

import (
	"errors"
	"math"

	"github.com/steelyard-lb/steelyard/sdk/go/policy"
)

func init() {
	policy.Register(policy.Policy{Name: "nan", Schedule: func(s *policy.Snapshot) error {
		for i := range s.Len() {
			s.SetWeight(i, math.NaN())
		}
		return nil
	}})
	policy.Register(policy.Policy{Name: "negative", Schedule: func(s *policy.Snapshot) error {
		for i := range s.Len() {
			s.SetWeight(i, -1)
		}
		return nil
	}})
	policy.Register(policy.Policy{Name: "panics", Schedule: func(s *policy.Snapshot) error {
		s.SetWeight(s.Len(), 1)
		return nil
	}})
	policy.Register(policy.Policy{Name: "refuses", Schedule: func(*policy.Snapshot) error {
		return errors.New("not today")
	}})
	policy.Register(policy.Policy{Name: "floods", Schedule: func(*policy.Snapshot) error {
		for i := range 10000 {
			println("all work and no play makes a dull policy", i)
		}
		return errors.New("said too much")
	}})
	policy.Register(policy.Policy{Name: "undeclared", Schedule: func(s *policy.Snapshot) error {
		s.SetWeight(0, s.Param("nope"))
		return nil
	}})
}

func main() {}
