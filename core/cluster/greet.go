// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A newcomer has all vectors sent again, and whatever is sent is delivered to all nodes. In a
// small group that takes spreadLeast, in a large one as long as it takes to deliver no more
// than spreadRate a second, but spreadMost at most: after resendEvery all come anyway.
const (
	spreadLeast = 100 * time.Millisecond
	spreadMost  = 4 * time.Second
	spreadRate  = 50_000
)

// spread is the time over which the vectors of so many services are sent to so many nodes.
func spread(services, nodes int) time.Duration {
	takes := time.Duration(services) * time.Duration(nodes) * time.Second / spreadRate
	return min(max(takes, spreadLeast), spreadMost)
}

// greet sends the vectors of all services that this node leads to a node that came, to an
// empty group if alone: first those of services that it will lead, since it begins with
// the shares in force. One that was cut off may have led them too, with an epoch up to its
// own: then ours must be above, or it would not follow.
func (s *state) greet(p *core.Presence, alone bool, now time.Time) {
	over, from, own := spread(len(s.services), s.others(now)+1), later(s.quiet, now), core.KeyOf(s.self.Node)
	var order core.Rendezvous
	if p.Roles.Schedule {
		order = core.NewRendezvous(append([]string{p.Node}, s.names.leaders...))
	}
	its := order.Index(p.Node)
	var epoch uint64
	for _, sv := range s.services {
		if !sv.ballot.Leads() {
			continue
		}
		due := sv.due
		// A node that was cut off itself waits for what the others have.
		if top, _ := sv.ballot.Top(); top.Epoch < p.Epoch && !core.EpochTooFar(p.Epoch, s.wall(now)) && !now.Before(s.quiet) {
			if epoch == 0 {
				epoch = s.nextEpoch(now)
			}
			s.lead(sv, epoch, now)
		}
		within := over
		if order.Among(its, sv.key, 1) {
			within = spreadLeast
		}
		// After all were cut off each leads all. If they spoke of a service at one time, all
		// would; so most hear of a higher epoch before it is their turn.
		sv.due = from.Add(time.Duration((sv.key ^ own) % uint64(within)))
		// Who comes while others are greeted makes nobody wait longer. What was due while
		// there was nobody to send it to is in no haste.
		if !alone && !now.Before(s.quiet) && due.Before(sv.due) && !due.IsZero() {
			sv.due = due
		}
	}
}

// others is how many other nodes are there.
func (s *state) others(now time.Time) (n int) {
	for _, m := range s.members {
		if m.within(probesAfter, now) {
			n++
		}
	}
	return n
}
