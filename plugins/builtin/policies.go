// SPDX-License-Identifier: Apache-2.0

package builtin

import "github.com/steelyard-lb/steelyard/sdk/go/policy"

// Policies are the shipped policies. The order is that of the entries of
// builtin.wasm.
func Policies() []policy.Policy {
	return []policy.Policy{RoundRobin(), Weighted(), LeastConn(), LeastResponse(), LeastCPU(), Maglev(), Failover()}
}

// takesPart reports whether a backend is one to share among: wanted by the
// configuration and not known to be dead.
func takesPart(b *policy.Backend) bool {
	return b.Weight() > 0 && b.Health() != policy.Down
}

// RoundRobin gives every backend the same, whatever its configured weight, as
// long as that is not 0.
func RoundRobin() policy.Policy {
	return policy.Policy{
		Name:  "rr",
		About: "the same share for every backend",
		Reads: []string{},
		Schedule: func(s *policy.Snapshot) error {
			for i := range s.Len() {
				w := 0.0
				if takesPart(s.Backend(i)) {
					w = 1
				}
				s.SetWeight(i, w)
			}
			return nil
		},
	}
}

// Weighted gives every backend its configured weight.
func Weighted() policy.Policy {
	return policy.Policy{
		Name:  "weighted",
		About: "shares in proportion to the configured weights",
		Reads: []string{},
		Schedule: func(s *policy.Snapshot) error {
			for i := range s.Len() {
				w := 0.0
				if b := s.Backend(i); takesPart(b) {
					w = b.Weight()
				}
				s.SetWeight(i, w)
			}
			return nil
		},
	}
}
