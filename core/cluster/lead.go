// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

const (
	// relead is within what time a lead that ended and begins again may be one to the
	// engine, which looks now and then: it decides nothing then, and its latest decision
	// holds. decideWithin is how long that takes to be seen.
	relead       = 10 * time.Second
	decideWithin = time.Second
	// deafAfter is for how long a node sends vectors below ours until it is plain that it
	// does not hear ours, which it is sent at each of them.
	deafAfter = 2 * resendEvery
)

// nextEpoch is above all that this node knows.
func (s *state) nextEpoch(now time.Time) uint64 {
	s.seen = core.NextEpoch(s.seen, s.wall(now), s.self.Node)
	return s.seen
}

// lead begins to lead, or goes on under a higher epoch: then the latest vector holds,
// and is sent under the new one.
func (s *state) lead(sv *service, epoch uint64, now time.Time) {
	due := now
	if !sv.ballot.Leads() {
		if now.Sub(sv.ended) > relead {
			sv.own = nil
		}
		due, sv.led = now.Add(decideWithin), now
		s.takeovers++
		s.measure(sv, now)
		s.out.leads = true
	}
	sv.ballot.Lead(epoch, now)
	sv.leads.Store(true)
	if sv.own != nil {
		s.mark(sv, now)
		sv.due = due
	}
}

// yield ends the lead of a service.
func (s *state) yield(sv *service, now time.Time) {
	sv.due, sv.ended = time.Time{}, now
	sv.leads.Store(false)
	s.out.leads = true
}

// mark gives the latest vector its place.
func (s *state) mark(sv *service, now time.Time) {
	m := sv.ballot.Next(now)
	sv.own.Epoch, sv.own.Node, sv.own.Seq = m.Epoch, m.Node, m.Seq
}

// judge begins to lead what this node must lead now.
func (s *state) judge(now time.Time) {
	if s.spec.Scheduling == core.ScheduleLocal || !s.self.Roles.Schedule || !s.begun || now.Sub(s.started) < listenFor {
		return
	}
	var epoch uint64
	n := 0
	var one *service
	for _, sv := range s.services {
		top, at := sv.ballot.Top()
		if !sv.ballot.Judge(sv.place, s.there(top.Node, at, now), now) {
			continue
		}
		if epoch == 0 {
			epoch = s.nextEpoch(now)
		}
		s.lead(sv, epoch, now)
		one = sv
		n++
	}
	switch {
	case n == 1:
		s.event(core.Info, one.name, "this node decides its shares now")
	case n > 1:
		s.event(core.Info, "", fmt.Sprintf("this node decides the shares of %d more services now", n))
	}
}

// resign ends all leads of a node that may not lead any more.
func (s *state) resign(now time.Time) {
	for _, sv := range s.services {
		sv.ballot.Resign()
		s.yield(sv, now)
	}
}

// decided takes a vector that this node has decided, and reports whether it leads.
func (s *state) decided(v core.Vector, now time.Time) bool {
	sv := s.services[v.Service]
	if sv == nil || !sv.ballot.Leads() {
		return false
	}
	v.Group, v.At = s.self.Group, s.wall(now).UTC()
	sv.own = &v
	s.mark(sv, now)
	sv.due = later(s.quiet, now)
	return true
}

// hearVector takes the shares that another node has decided.
func (s *state) hearVector(v core.Vector, now time.Time) {
	s.wake(now)
	if s.spec.Scheduling == core.ScheduleLocal || v.Node == s.self.Node {
		return
	}
	sv := s.services[v.Service]
	if sv == nil {
		s.putBy(v)
		return
	}
	if !s.see(v.Epoch, v.Node, now) || !s.mayLead(v.Node) {
		s.refused++
		return
	}
	top, at := sv.ballot.Top()
	word := s.lastWord(top.Node, at)
	switch sv.ballot.Hear(v.Mark(), s.there(v.Node, now, now), now) {
	case core.VectorOld:
		if v.Mark() != top { // the same one again is the usual thing
			s.refused++
		}
	case core.VectorStale:
		s.refused++
		sv.due = later(s.quiet, now)
		s.rivals(sv, v.Node, now)
	case core.VectorOutbid:
		s.refused++
		s.lead(sv, s.nextEpoch(now), now)
	case core.VectorYield:
		s.yield(sv, now)
		s.take(v)
	case core.VectorTaken:
		s.gap = max(s.gap, s.since(word, now))
		s.take(v)
	}
}

// rivals tells of a node that goes on leading a service below us: it hears our presence,
// or would not be there, and does not hear our vectors.
func (s *state) rivals(sv *service, node string, now time.Time) {
	if now.Sub(sv.rivalTo) > 2*resendEvery {
		sv.rivalFrom = now
	}
	sv.rivalTo = now
	if now.Sub(sv.rivalFrom) < deafAfter || !s.there(node, now, now) {
		return
	}
	if _, due := s.told.Due(node, "deaf", now); due {
		s.event(core.Error, sv.name, fmt.Sprintf("%s decides the shares of %s too and does not follow this node, which goes by its own: see that the NATS lets this node publish %s and %s read it (steelyard bus permissions)",
			node, sv.name, "weights."+s.self.Group+".*."+s.self.Node, node))
	}
}

// putBy keeps the vector of a service that is not configured here: another node may have
// reloaded before us.
func (s *state) putBy(v core.Vector) {
	old, ok := s.unknown[v.Service]
	if ok && old.Before(&v) || !ok && len(s.unknown) < maxUnknown {
		s.unknown[v.Service] = v
	}
}

// take hands a vector on.
func (s *state) take(v core.Vector) {
	s.taken++
	s.follow(v)
}

// mayLead reports whether a node could lead, as far as we know: one that was never heard
// may.
func (s *state) mayLead(node string) bool {
	m := s.members[node]
	return m == nil || m.said.Roles.Schedule
}

// measure notes for how long nobody spoke for a service that this node takes over.
func (s *state) measure(sv *service, now time.Time) {
	if top, at := sv.ballot.Top(); top.Node != "" && top.Node != s.self.Node {
		s.gap = max(s.gap, s.since(s.lastWord(top.Node, at), now))
	}
}

// lastWord is when a leader was last heard, by a vector at the given time or by its
// presence since.
func (s *state) lastWord(node string, vector time.Time) time.Time {
	if m := s.members[node]; m != nil {
		return later(vector, m.heard)
	}
	return vector
}

// since is the time from a word to now; 0 if there was none.
func (s *state) since(word, now time.Time) time.Duration {
	if word.IsZero() {
		return 0
	}
	return now.Sub(word)
}

// due returns the vectors that are to be sent now, and when to send them again. To whom
// should an isolated node send? What waits in some queue until it is heard is old then.
func (s *state) due(now time.Time) []core.Vector {
	if s.isolated(now) || now.Before(s.quiet) {
		return nil
	}
	var out []core.Vector
	for _, sv := range s.services {
		if sv.own == nil || sv.due.IsZero() || now.Before(sv.due) || !sv.ballot.Leads() {
			continue
		}
		out = append(out, *sv.own)
		// Spread, so that a thousand services led since one moment are not sent in one.
		sv.due = now.Add(resendEvery - time.Duration(sv.key>>8%uint64(resendEvery/5)))
	}
	return out
}
