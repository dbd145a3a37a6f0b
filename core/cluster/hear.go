// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// hear takes what another node says of itself.
func (s *state) hear(p core.Presence, now time.Time) {
	s.wake(now)
	if p.Node == s.self.Node {
		s.hearTwin(p, now)
		return
	}
	m, known := s.members[p.Node], true
	if m == nil {
		if len(s.members) >= maxMembers && !s.forget(now) {
			return
		}
		m, known = &member{}, false
		s.members[p.Node] = m
	}
	switch {
	case !known:
	case m.outlived(&p, now):
		s.tellTwins(m, p, now)
		return
	case p.Inst == m.said.Inst && p.Seq <= m.said.Seq:
		return // late, or twice
	}
	s.note(m, p, known, now)
}

// forget makes room for a node where one is long gone, and reports whether there is.
func (s *state) forget(now time.Time) bool {
	gone := ""
	for name, m := range s.members {
		if !m.within(probesAfter, now) && (gone == "" || m.heard.Before(s.members[gone].heard)) {
			gone = name
		}
	}
	delete(s.members, gone)
	return gone != ""
}

// note files the latest word of a node, and sees to what is new in it.
func (s *state) note(m *member, p core.Presence, known bool, now time.Time) {
	before, wasUp, alone := m.said, known && m.within(silentAfter, now), s.isolated(now)
	fresh := p.Inst != before.Inst
	if fresh {
		m.former, m.twins = before.Inst, 0
	}
	m.said, m.heard = p, now
	m.clock.add(p.At.Sub(s.wall(now)), now)
	s.see(p.Epoch, p.Node, now)
	switch {
	case p.Leaving:
		if wasUp {
			m.up = false
			s.event(core.Info, "", fmt.Sprintf("%s ends; what it decided and probed moves at once", p.Node))
		}
	case fresh || !wasUp:
		m.up = true
		s.arrived(m, arrival{known: known, fresh: fresh, alone: alone}, now)
	}
	if p.Suspects != before.Suspects && known && !fresh {
		s.tellSuspects(p)
	}
	if fresh || !wasUp || p.Leaving || p.Suspects != before.Suspects || p.Roles != before.Roles {
		s.look(now)
		s.judge(now)
	}
}

// An arrival is how a node came that was not there a moment ago.
type arrival struct {
	known bool // it was heard before
	fresh bool // it has started since
	alone bool // nobody was there
}

// arrived welcomes a node that is new, or was restarted, or is heard again.
func (s *state) arrived(m *member, a arrival, now time.Time) {
	p := &m.said
	s.out.presence = true // so that it knows of us
	back := a.known && !a.fresh
	if back && a.alone {
		// All were silent, so it was us who were cut off, or each of us was.
		s.quiet = now.Add(quietFor)
		s.settled = now.Add(settleAfter)
	}
	m.since, m.settled = now, now.Add(settleAfter+settledSlack)
	if now.Before(s.settled.Add(listenFor - settleAfter)) {
		m.settled = s.settled // it is about as new as we are, or older
	}
	if !a.known && now.Before(s.joined) && p.At.Sub(p.StartedAt) >= settleAfter {
		m.since, m.settled = time.Time{}, now // it was here before us
	}
	switch {
	case back && a.alone:
		s.event(core.Info, "", p.Node+" is heard again; this node was cut off from its group")
	case back:
		s.event(core.Info, "", p.Node+" is heard again")
	case a.known:
		s.event(core.Info, "", fmt.Sprintf("%s was restarted (%s)", p.Node, p.Version))
	default:
		s.event(core.Info, "", fmt.Sprintf("%s is here: %s (%s)", p.Node, p.Roles, p.Version))
	}
	s.greet(p, a.alone, now)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// see takes notice of an epoch.
func (s *state) see(epoch uint64, from string, now time.Time) bool {
	if epoch <= s.seen {
		return true
	}
	if core.EpochTooFar(epoch, s.wall(now)) {
		if n, due := s.told.Due(from, "epoch", now); due {
			s.event(core.Error, "", fmt.Sprintf("the epoch of %s is more than a day ahead of the clock of this node, so its vectors are refused%s; set the clocks of both, then restart %s with an empty state directory",
				from, untold(n), from))
		}
		return false
	}
	s.seen = epoch
	return true
}

func untold(n uint64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" (%d more times since the last report)", n)
}

// hearTwin is called for a presence in our own name that is not ours.
func (s *state) hearTwin(p core.Presence, now time.Time) {
	// An instance before ours may still be in some queue.
	if p.Inst == s.self.Inst || p.Leaving || now.Sub(s.started) < probesAfter {
		return
	}
	s.twin.heard = now
	s.tellTwin(p.Node, s.self.Inst, p.Inst, now)
}

// tellTwins counts the words of an instance that was thought to be over.
func (s *state) tellTwins(m *member, p core.Presence, now time.Time) {
	if m.twins++; m.twins >= twinWords && !p.Leaving {
		m.twin.heard = now
		s.tellTwin(p.Node, m.said.Inst, p.Inst, now)
	}
}

func (s *state) tellTwin(node, one, other string, now time.Time) {
	if _, due := s.told.Due(node, "twin", now); due {
		s.event(core.Error, "", fmt.Sprintf("two nodes have the name %s (instances %s and %s): give each its own name (node), or they undo each other's work", node, one, other))
	}
}

func (s *state) tellGone(name string, m *member) {
	what := "its services move now, its targets 2 s later"
	switch r := m.said.Roles; {
	case !r.Schedule && !r.Probe:
		what = "its kernel goes on with the last shares it has"
	case !r.Schedule:
		what = "its targets move in 2 s"
	}
	s.event(core.Warn, "", fmt.Sprintf("%s is silent; %s", name, what))
}

func (s *state) tellSuspects(p core.Presence) {
	if p.Suspects {
		s.event(core.Warn, "", p.Node+" suspects itself: others probe its targets, and its verdicts do not count")
		return
	}
	s.event(core.Info, "", p.Node+" suspects itself no longer")
}
