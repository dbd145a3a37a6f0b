// SPDX-License-Identifier: Apache-2.0

package config

import "github.com/steelyard-lb/steelyard/core"

// policyDefaults are the rules of shaping that a policy switches off unless
// somebody wrote them down.
func (b *builder) policyDefaults(path string, r *rawService) {
	under := core.Shaping{Floor: r.Shaping.Floor, Step: r.Shaping.Step}.Under(r.Policy)
	if !b.written(join(path, "shaping.floor")) {
		r.Shaping.Floor = under.Floor
	}
	if !b.written(join(path, "shaping.step")) {
		r.Shaping.Step = under.Step
	}
}

// checkPolicyFits compares what a policy is for with what the service does.
func (s *build) checkPolicyFits() {
	switch s.Policy {
	case core.PolicyFailover:
		if s.Shaping.Floor > 0 {
			s.wrong("shaping.floor", "leave shaping.floor out, or set it to 0", "policy failover leaves nothing to the standbys, and a floor does")
		}
	case core.PolicyMaglev:
		if d := s.Distribution; d == core.Random || d == core.RoundRobin {
			s.warn(s.set(s.path, "distribution", "policy"), "use distribution hash, or policy weighted",
				"policy maglev of service %s holds changes of weights back because each one moves clients of a hash table; distribution %s has none", s.Name, d)
		}
		if s.Shaping.Step > 0 {
			s.warn(s.at("shaping.step"), "leave it out, or set it to 0", "shaping.step of service %s makes several changes of one, and under policy maglev each of them moves clients", s.Name)
		}
	}
}

// warn notes what may be, and was probably not meant.
func (b *builder) warn(path, hint, format string, args ...any) {
	b.warned.add(b.at(path), path, hint, format, args...)
}
