// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"cmp"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// View is what this node knows of its group. It looks at every service and target, some
// milliseconds for tens of thousands.
func (m *Member) View() core.ClusterView {
	m.mu.Lock()
	now := time.Now()
	v := m.state.view(now)
	st, targets := m.stand.Load(), m.state.targets
	m.mu.Unlock()
	for i := range v.Members {
		o := &v.Members[i]
		index := st.probers.Index(o.Node)
		for _, t := range targets {
			if st.probes(index, t) {
				o.Probes++
			}
		}
		if o.Node == m.cfg.Self.Node {
			v.Leads, v.Probes = o.Leads, o.Probes
		}
	}
	return v
}

// view is that of the state; Probes are not counted.
func (s *state) view(now time.Time) core.ClusterView {
	v := core.ClusterView{
		Group: s.spec.Group, Scheduling: cmp.Or(s.spec.Scheduling, core.ScheduleLeader),
		Probers: max(1, s.spec.Probers), Quorum: max(1, s.spec.Quorum),
		Taken: s.taken, Refused: s.refused, Takeovers: s.takeovers,
		Epoch: s.seen, GapSeconds: s.gap.Seconds(),
	}
	leads := s.ledBy(now)
	self := memberView(&s.self)
	self.State = core.MemberLive
	if s.self.Suspects {
		self.State = core.MemberSuspects
	}
	self.Twin = s.twin.there(now)
	v.Members = append(v.Members, self)
	for _, m := range s.members {
		o := memberView(&m.said)
		o.State, o.Twin = m.state(now), m.twin.there(now)
		o.HeardSeconds, o.ClockSeconds = now.Sub(m.heard).Seconds(), m.clock.ahead().Seconds()
		v.Members = append(v.Members, o)
	}
	for i := range v.Members {
		v.Members[i].Leads = leads[v.Members[i].Node]
	}
	slices.SortFunc(v.Members, func(a, b core.MemberView) int { return cmp.Compare(a.Node, b.Node) })
	return v
}

// ledBy counts the services that each node leads.
func (s *state) ledBy(now time.Time) map[string]int {
	out := map[string]int{}
	for _, sv := range s.services {
		switch top, at := sv.ballot.Top(); {
		case sv.ballot.Leads(), s.spec.Scheduling == core.ScheduleLocal:
			out[s.self.Node]++
		case s.there(top.Node, at, now):
			out[top.Node]++
		}
	}
	return out
}

func memberView(p *core.Presence) core.MemberView {
	return core.MemberView{
		Node: p.Node, Roles: p.Roles.Names(), Version: p.Version,
		ConfigHash: p.ConfigHash, Revision: p.Revision, StartedAt: p.StartedAt,
	}
}
