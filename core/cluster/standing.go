// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"net/netip"
	"sync/atomic"

	"github.com/steelyard-lb/steelyard/core"
)

// A Target is what one probe asks.
type Target struct {
	Addr  netip.AddrPort
	Probe string
}

// A standing is what a node asks about itself for every sample and service. It is never
// changed once made, so it is read without a lock; what leads points to is of the moment,
// since a node that joins takes thousands of services over, one by one.
type standing struct {
	leadsAll bool // each node decides for itself
	leads    map[string]*atomic.Bool
	counts   map[string]bool // other nodes
	probers  core.Rendezvous
	own      int // Index of this node among the probers
	k        int // nodes that probe a target
}

// probes reports whether the node with an index is one of those that probe a target.
func (st *standing) probes(index int, t Target) bool {
	return st.probers.Among(index, core.TargetKey(t.Addr, t.Probe), st.k)
}

// standing is that of now.
func (s *state) standing() *standing {
	return &standing{
		leadsAll: s.spec.Scheduling == core.ScheduleLocal,
		leads:    s.leads,
		counts:   s.counts,
		probers:  s.probers,
		own:      s.probers.Index(s.self.Node),
		k:        max(1, s.spec.Probers),
	}
}
