// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"cmp"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A subscriber is one probe of one backend that a watch's answers are for.
type subscriber struct {
	id   core.BackendID
	spec *core.ProbeSpec // Name, Role, Rise and Fall are its own, the rest is as the watch's
	seq  uint64          // of the latest sample

	streak int32 // verdicts in a row that speak against state; while that is unknown, bad ones count down
	state  core.HealthState
	fresh  bool // it has no sample yet
}

// follow takes a verdict, so that the interval fits what the engine makes of the
// samples. It is core.Health but for the start. What a backend is before its first
// sample is the engine's to know, so here it is unknown until Rise good ones in a row
// or Fall bad ones would have settled it in any case.
func (s *subscriber) follow(ok bool) {
	h := core.Health{Rise: max(1, s.spec.Rise), Fall: max(1, s.spec.Fall), State: s.state, Streak: int(s.streak)}
	if h.State == core.Unknown {
		h = settle(h, ok)
	} else {
		h.Add(ok)
	}
	s.state, s.streak = h.State, int32(h.Streak)
}

// settle takes a verdict on an unknown state. Bad ones count down from 0.
func settle(h core.Health, ok bool) core.Health {
	switch {
	case ok:
		h.Streak = max(0, h.Streak) + 1
	default:
		h.Streak = min(0, h.Streak) - 1
	}
	switch {
	case h.Streak >= h.Rise:
		h.State, h.Streak = core.Up, 0
	case h.Streak <= -h.Fall:
		h.State, h.Streak = core.Down, 0
	}
	return h
}

// interval is how long the subscriber wants to wait from the start of one run to that
// of the next.
func (s *subscriber) interval() time.Duration {
	return cmp.Or(s.spec.Every(s.state, s.streak != 0), defaultInterval)
}
