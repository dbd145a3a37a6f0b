// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// gatherPatience bounds how long a new service without connection tracking waits
// for its backends. The first probe comes within half a second; what takes longer
// does not answer.
const gatherPatience = 3 * time.Second

const gatherNote = "waits for the first word of the other backends, lest all UDP flows begin with those that came first"

// A service without connection tracking deals its positions to the backends that
// there are, and new UDP flows of a position that moves stay with the backend before
// for as long as flows are remembered. So at its very beginning, when nobody has a
// flow yet, it waits until it is known who is there.

// gather has a service that is new wait for its backends.
func (e *Engine) gather(s *service, now time.Time) {
	if s.spec.Forwarding.Tracked() {
		return
	}
	s.gatherUntil = now.Add(gatherPatience)
	if e.gatherDue.IsZero() {
		e.gatherDue = s.gatherUntil
	}
}

// gathers notes whether a service waits still. Once it has begun, it never does
// again. One that follows a leader does as that does.
func (s *service) gathers(now time.Time) {
	s.gathering = now.Before(s.gatherUntil) && !(s.follows && s.lead != nil) && slices.ContainsFunc(s.backends, s.awaits)
	if !s.gathering {
		s.gatherUntil = time.Time{}
	}
}

func (s *service) awaits(b *backend) bool {
	switch {
	case b.spec.Sorry || b.drained() || b.weight() == 0 || b.health == core.Down:
		return false
	case b.health == core.Unknown:
		return true
	}
	return !s.reaches(b, false) && !s.reaches(b, true)
}

// endGathering decides the services that have waited long enough.
func (e *Engine) endGathering(now time.Time) {
	if e.gatherDue.IsZero() || now.Before(e.gatherDue) {
		return
	}
	e.gatherDue = time.Time{}
	for _, s := range e.order {
		switch {
		case !s.gathering:
		case !now.Before(s.gatherUntil):
			e.tip(s, "not all backends were heard of in time", now)
		case e.gatherDue.IsZero() || s.gatherUntil.Before(e.gatherDue):
			e.gatherDue = s.gatherUntil
		}
	}
	e.decideTipped()
}
