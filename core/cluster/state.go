// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

const (
	// tickEvery is how often somebody's silence is looked for, and frozenAfter how late
	// a tick must be for us to have been frozen, or starved.
	tickEvery   = 50 * time.Millisecond
	frozenAfter = 500 * time.Millisecond
	// listenFor is how long a node that starts listens for others before it leads
	// anything: whoever is there is heard within it.
	listenFor = silentAfter
	// resendEvery is how often the vector of a service is sent again.
	resendEvery = 5 * time.Second
	// quietFor is how long a node that was cut off waits for the vectors of those whom
	// it hears again before it sends its own.
	quietFor = 500 * time.Millisecond
	// maxMembers and maxUnknown bound what others can make this node remember.
	maxMembers = 1024
	maxUnknown = 16384
)

// A state is all that a node knows of its group, and decides by it. It has no clock, no
// goroutine and no lock: who calls it brings the time, and takes away what is to be sent.
type state struct {
	spec core.ClusterSpec
	self core.Presence
	// wall is what the clock of the node says at a time; only tests set it wrong.
	wall func(time.Time) time.Time
	// follow gets the vectors that were taken, in order.
	follow func(core.Vector)

	members  map[string]*member // the others
	twin     twin               // of this node
	services map[string]*service
	leads    map[string]*atomic.Bool // those of services, replaced with them
	unknown  map[string]core.Vector  // the latest of services that are not configured here, or not yet
	targets  []Target
	seen     uint64 // the highest epoch

	begun    bool // it listens
	started  time.Time
	joined   time.Time // from when this node takes targets over
	settled  time.Time // from when it takes services over: after it was frozen or cut off, too
	quiet    time.Time // until when it sends no vectors
	lastTick time.Time

	leaders core.Rendezvous // those who may lead, as of the last look
	probers core.Rendezvous // those who share the targets
	counts  map[string]bool // the others whose verdicts count
	near    core.Rendezvous // leaders, and this node even if it is too new to be one
	names   rosters

	out outbox
	counters
	told core.Seldom
}

// rosters are the names of which leaders, near and so on were made.
type rosters struct{ leaders, near, probers, counts []string }

// counters are what View shows.
type counters struct {
	taken, refused, takeovers uint64
	gap                       time.Duration
}

// An outbox is what a step of a state leaves to be done.
type outbox struct {
	presence bool // to be said at once
	services bool // there are others
	leads    bool // an answer of Leads may be another
	roster   bool // an answer of Counts or Probes may be another
	hears    bool // an answer of Hears may be another, at this node or at others
	events   []core.Event
}

// A service is what this node knows of one service.
type service struct {
	name   string
	key    uint64
	ballot core.Ballot
	leads  atomic.Bool  // as the ballot says, for who asks without a lock
	place  int          // of this node among the leaders
	own    *core.Vector // the latest that this node has decided; nil before the first
	due    time.Time    // when own is to be sent; zero: not
	led    time.Time    // when the latest lead of this node began
	ended  time.Time    // when it ended
	near   time.Time    // since when this node is one of the nearest; zero if it is not
	hears  bool         // the connections of other nodes are heard here

	// Since when, and until when, another node that is there sent vectors below ours.
	rivalFrom, rivalTo time.Time
}

func newState(spec core.ClusterSpec, self core.Presence) *state {
	return &state{
		spec: spec, self: self, seen: self.Epoch,
		wall:     func(t time.Time) time.Time { return t },
		follow:   func(core.Vector) {},
		members:  map[string]*member{},
		services: map[string]*service{},
		unknown:  map[string]core.Vector{},
		counts:   map[string]bool{},
	}
}

// begin starts the time in which this node only listens. Before it, it leads nothing.
func (s *state) begin(now time.Time) {
	s.begun = true
	s.started, s.joined, s.settled, s.lastTick = now, now.Add(settleAfter), now.Add(settleAfter), now
}

// tick looks at the time: who is silent, who may lead now.
func (s *state) tick(now time.Time) {
	s.wake(now)
	s.lastTick = now
	s.look(now)
	s.judge(now)
	s.attend(now)
}

// wake finds out whether this node did not run for a while. It comes first in whatever
// looks at the time: after a freeze it may be a message that is seen first.
func (s *state) wake(now time.Time) {
	if late := now.Sub(s.lastTick); s.begun && late > frozenAfter {
		s.lastTick = now
		s.thaw(late, now)
	}
}

// thaw makes up for a time in which this node did not run. What others said in it is
// still in some queue, so nobody was silent, and we do not know how things stand.
func (s *state) thaw(late time.Duration, now time.Time) {
	for _, m := range s.members {
		if later := m.heard.Add(late); later.Before(now) {
			m.heard = later
		} else {
			m.heard = now
		}
	}
	s.settled = now.Add(settleAfter)
	s.event(core.Warn, "", fmt.Sprintf("this node did not run for %.1f s; it takes nothing over for %v", late.Seconds(), settleAfter))
}

// look finds out who is there, and who of them may lead and probe.
func (s *state) look(now time.Time) {
	for name, m := range s.members {
		if up := m.within(silentAfter, now); m.up && !up {
			m.up = false
			s.tellGone(name, m)
		}
		if now.Sub(m.heard) > forgetAfter {
			delete(s.members, name)
		}
	}
	n := rosters{
		leaders: s.roster(now, func(p *core.Presence) bool { return p.Roles.Schedule }, silentAfter, s.settled),
		probers: s.probing(now),
		counts:  s.counted(now),
	}
	n.near = s.candidates(n.leaders)
	if !slices.Equal(n.leaders, s.names.leaders) {
		s.leaders = core.NewRendezvous(n.leaders)
		for _, sv := range s.services {
			sv.place = s.leaders.Place(s.self.Node, sv.key)
		}
		s.out.leads, s.out.hears = true, true
	}
	if !slices.Equal(n.near, s.names.near) {
		s.near = core.NewRendezvous(n.near)
		own := s.near.Index(s.self.Node)
		for _, sv := range s.services {
			sv.approach(s.near.Among(own, sv.key, nearest), now)
		}
	}
	if !slices.Equal(n.probers, s.names.probers) {
		s.probers = core.NewRendezvous(n.probers)
		s.out.roster = true
	}
	if !slices.Equal(n.counts, s.names.counts) {
		s.counts = make(map[string]bool, len(n.counts))
		for _, name := range n.counts {
			s.counts[name] = true
		}
		s.out.roster = true
	}
	s.names = n
}

// roster returns the nodes of a role that were heard of within limit, and this one, which
// settles at a time of its own: those that are settled, or, if none is, all.
func (s *state) roster(now time.Time, has func(*core.Presence) bool, limit time.Duration, ours time.Time) []string {
	var settled, all []string
	add := func(p *core.Presence, at time.Time) {
		if !has(p) {
			return
		}
		all = append(all, p.Node)
		if !now.Before(at) {
			settled = append(settled, p.Node)
		}
	}
	add(&s.self, ours)
	for _, m := range s.members {
		if m.within(limit, now) {
			add(&m.said, m.settled)
		}
	}
	if len(settled) == 0 {
		settled = all
	}
	slices.Sort(settled)
	return settled
}

// probing returns the nodes that share the targets. One that suspects itself does not
// count for others; if all do, suspicion tells nothing about anybody.
func (s *state) probing(now time.Time) []string {
	trusted := s.roster(now, func(p *core.Presence) bool {
		return p.Roles.Probe && (!p.Suspects || p.Node == s.self.Node)
	}, probesAfter, s.joined)
	if s.self.Suspects && len(trusted) <= 1 {
		return s.roster(now, func(p *core.Presence) bool { return p.Roles.Probe }, probesAfter, s.joined)
	}
	return trusted
}

// counted returns the others whose verdicts count, sorted.
func (s *state) counted(now time.Time) []string {
	var out []string
	for name, m := range s.members {
		if m.within(probesAfter, now) && m.said.Roles.Probe && !m.said.Suspects {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// isolated reports whether no other node is heard.
func (s *state) isolated(now time.Time) bool {
	for _, m := range s.members {
		if m.within(silentAfter, now) {
			return false
		}
	}
	return true
}

// there reports whether a node is here, and has been since.
func (s *state) there(node string, since, now time.Time) bool {
	m := s.members[node]
	return m != nil && m.within(silentAfter, now) && !m.since.After(since)
}

// event leaves an event to be told.
func (s *state) event(severity core.Severity, svc, message string) {
	s.out.events = append(s.out.events, core.Event{Node: s.self.Node, Severity: severity, Topic: "cluster", Service: svc, Message: message})
}

// setServices replaces the services that there are.
func (s *state) setServices(names []string, now time.Time) {
	have := make(map[string]bool, len(names))
	for _, name := range names {
		have[name] = true
		if s.services[name] == nil {
			sv := &service{name: name, key: core.KeyOf(name), ballot: core.NewBallot(s.self.Node)}
			sv.place = s.leaders.Place(s.self.Node, sv.key)
			sv.approach(s.near.Among(s.near.Index(s.self.Node), sv.key, nearest), now)
			s.services[name] = sv
		}
	}
	maps.DeleteFunc(s.services, func(name string, _ *service) bool { return !have[name] })
	s.leads = make(map[string]*atomic.Bool, len(s.services))
	for name, sv := range s.services {
		s.leads[name] = &sv.leads
	}
	s.out.services, s.out.leads, s.out.hears = true, true, true
	s.look(now)
	for name := range have {
		if v, ok := s.unknown[name]; ok {
			delete(s.unknown, name)
			s.hearVector(v, now)
		}
	}
	s.tick(now)
}
