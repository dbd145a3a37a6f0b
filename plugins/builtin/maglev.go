// SPDX-License-Identifier: Apache-2.0

package builtin

import "github.com/steelyard-lb/steelyard/sdk/go/policy"

// magInForce is the slot of a backend's state, magWait that of the service's.
const (
	magInForce = 0 // weight that the table was made from; 0 if it is new
	magWait    = 0 // seconds until a change of weights may pass
)

// magMost is above every weight: a state beyond it is none of ours.
const magMost = 1e9

// Maglev is weighted for a service whose distribution is hash or symhash: it
// gives the configured weights, and lets a change of them pass at most every
// hold seconds.
//
//	w  = the weights in force
//	they become the configured ones if hold seconds passed since they last did
//
// The name is that of Google's balancer (Eisenbud et al., NSDI '16, section
// 3.4), where a table of clients is laid out from the weights so that few clients
// move when a backend goes. Laying out the table is not a policy's work: the
// distribution does it from the shares, at every change of them, and each change
// sends some clients elsewhere. So this policy makes changes few. Without it,
// whatever turns weights ten times a minute moves clients ten times a minute.
//
// The first change after a quiet time passes at once, those within the next hold
// seconds together at its end. What passes at once always is a backend that is
// added, and weight 0; a newcomer's weight is scaled by Σ in force / Σ configured
// of the others, so that its share is right while another change waits. Health is
// not in it: a backend that is down is out of the table by the host's gate, and
// has the same place when it is back.
func Maglev() policy.Policy {
	return policy.Policy{
		Name:  "maglev",
		About: "configured weights for distribution hash, whose changes are few because each moves clients",
		Params: []policy.Param{
			{Name: "hold", Default: 60, Min: 0, Max: 86400, Unit: "seconds", About: "least time between two changes of weights"},
		},
		Reads:        []string{},
		BackendSlots: 1,
		ServiceSlots: 1,
		Schedule:     maglev,
	}
}

func maglev(s *policy.Snapshot) error {
	wait := atLeast(s.ServiceState()[magWait]-s.Seconds(), 0)
	inForce, configured, changed := 0.0, 0.0, false
	for i := range s.Len() {
		b, st := s.Backend(i), s.BackendState(i)
		if !(st[magInForce] > 0 && st[magInForce] <= magMost) || b.Weight() == 0 {
			st[magInForce] = 0
			continue
		}
		inForce += st[magInForce]
		configured += b.Weight()
		changed = changed || st[magInForce] != b.Weight()
	}
	pass, scale := wait == 0, 1.0 // scale is of newcomers
	switch {
	case changed && pass:
		wait = s.Param("hold")
	case changed:
		scale = inForce / configured
	}
	for i := range s.Len() {
		b, st := s.Backend(i), s.BackendState(i)
		if pass || st[magInForce] == 0 {
			st[magInForce] = float64(b.Weight() * scale)
		}
		w := st[magInForce]
		if !takesPart(b) {
			w = 0
		}
		s.SetWeight(i, w)
	}
	s.ServiceState()[magWait] = wait
	return nil
}
