// SPDX-License-Identifier: Apache-2.0

package builtin

import "github.com/steelyard-lb/steelyard/sdk/go/policy"

// Slots of a backend's state.
const (
	foServing = iota // 1 if it was chosen by the decision before
	foBack           // 1 from when it was down until it has been up for preempt_delay
)

// Failover gives everything to the backends of the highest configured weight
// that are up, in equal parts:
//
//	W  = highest weight of an up backend that serves, or has been up for
//	     preempt_delay seconds, or was never down
//	   = highest weight of an up backend      if none that serves is up
//	w  = 1 for the up backends of weight W, else 0
//
// So the best takes over at once when those that serve have failed, a better one
// that comes back waits, and at the start nobody does. It is the scheduler fo of
// LVS (ip_vs_fo.c: the highest weight that is alive) with the preempt_delay of
// VRRP in keepalived; with equal weights fo picks the first, and this shares.
//
// The priorities of backends do the same in the host, under any policy: groups
// that take part in order, within a group the policy's weights, min_up backends
// before the next group may rest, and no delay. Use this policy for the delay.
func Failover() policy.Policy {
	return policy.Policy{
		Name:  "failover",
		About: "all for the up backends of the highest configured weight",
		Params: []policy.Param{
			{Name: "preempt_delay", Default: 60, Min: 0, Max: 86400, Unit: "seconds", About: "time that a better backend which was down must be up before it takes over"},
		},
		Reads:        []string{},
		BackendSlots: 2,
		Schedule:     failover,
	}
}

func failover(s *policy.Snapshot) error {
	delay := s.Param("preempt_delay")
	best, serving, ready := 0.0, 0.0, 0.0 // highest weights
	for i := range s.Len() {
		b, st := s.Backend(i), s.BackendState(i)
		switch up := b.Health() == policy.Up; {
		case b.Health() == policy.Down:
			st[foBack] = 1
		case up && b.HealthSeconds() >= delay:
			st[foBack] = 0
		}
		if b.Health() != policy.Up {
			continue
		}
		w := b.Weight()
		best = atLeast(w, best)
		if st[foServing] == 1 {
			serving = atLeast(w, serving)
		}
		if st[foBack] == 0 {
			ready = atLeast(w, ready)
		}
	}
	chosen := best
	if serving > 0 {
		chosen = atLeast(serving, ready)
	}
	for i := range s.Len() {
		b, w := s.Backend(i), 0.0
		if b.Health() == policy.Up && b.Weight() > 0 && b.Weight() == chosen {
			w = 1
		}
		s.BackendState(i)[foServing] = w
		s.SetWeight(i, w)
	}
	return nil
}
