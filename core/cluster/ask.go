// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"net/netip"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// Leads reports whether this node decides the shares of a service now.
func (m *Member) Leads(service string) bool {
	st := m.stand.Load()
	leads := st.leads[service]
	return st.leadsAll || leads != nil && leads.Load()
}

// Counts reports whether the verdicts of a node's probes count here.
func (m *Member) Counts(node string) bool {
	return node == m.cfg.Self.Node || m.stand.Load().counts[node]
}

// Probes reports whether this node probes a target now.
func (m *Member) Probes(addr netip.AddrPort, probe string) bool {
	st := m.stand.Load()
	return st.probes(st.own, Target{addr, probe})
}

// ProbesAfter is how many nodes come before this one for a target, were they not to probe
// it; -1 if this node probes nothing.
func (m *Member) ProbesAfter(addr netip.AddrPort, probe string) int {
	st := m.stand.Load()
	return st.probers.Place(m.cfg.Self.Node, core.TargetKey(addr, probe))
}

// Changed yields when an answer of Leads or Counts may be another.
func (m *Member) Changed() <-chan struct{} { return m.changed }

// Hears are the services of which this node needs the connections of the others: those that
// it leads, and those that it would lead next; or all. It looks at every service.
func (m *Member) Hears() (services []string, all bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.heard()
}

// Heard yields when an answer of Hears may be another, of this node or of others.
func (m *Member) Heard() <-chan struct{} { return m.hears }

// Moved yields when an answer of Probes may be another.
func (m *Member) Moved() <-chan struct{} { return m.moved }

// Decided sends the shares of a service that this node leads to the others; Epoch, Seq,
// Node, Group and At are filled in. They are dropped if it leads the service no longer.
// v.Backends must not be changed afterwards.
func (m *Member) Decided(v core.Vector) {
	m.step(func(s *state, now time.Time) {
		if s.decided(v, now) {
			poke(m.wake)
		}
	})
}

// Suspects says whether this node suspects itself.
func (m *Member) Suspects(yes bool) {
	m.step(func(s *state, now time.Time) {
		if s.self.Suspects != yes {
			s.self.Suspects, s.out.presence = yes, true
			s.tick(now)
		}
	})
}

// SetServices says which services there are, at the start and after a reload.
func (m *Member) SetServices(names []string) {
	names = slices.Clone(names)
	m.step(func(s *state, now time.Time) { s.setServices(names, now) })
}

// SetTargets says which targets there are. Only what View counts depends on it.
func (m *Member) SetTargets(targets []Target) {
	m.step(func(s *state, _ time.Time) { s.targets = slices.Clone(targets) })
}

// SetSelf changes what this node says of itself, after a reload: its version, the hash
// and the revision of its configuration, its roles.
func (m *Member) SetSelf(change func(*core.Presence)) {
	m.step(func(s *state, now time.Time) {
		node, group, inst := s.self.Node, s.self.Group, s.self.Inst
		change(&s.self)
		s.self.Node, s.self.Group, s.self.Inst = node, group, inst
		s.out.presence = true
		if !s.self.Roles.Schedule {
			s.resign(now)
		}
		s.tick(now)
	})
}

// Live reports whether a node was heard of in the last 3 s and has not left.
func (m *Member) Live(node string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.state.members[node]
	return node == m.cfg.Self.Node || o != nil && o.within(probesAfter, time.Now())
}

// Ahead is how far the clock of a node is ahead of ours, as well as is known.
func (m *Member) Ahead(node string) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if o := m.state.members[node]; o != nil {
		return o.clock.ahead()
	}
	return 0
}
