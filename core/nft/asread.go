// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"maps"
	"net"
	"net/netip"
	"slices"

	"github.com/steelyard-lb/steelyard/core"
)

// A table does not tell the slots of a service that is looked up by hashes or in
// turn, but who has how many places. A plan that has the slots read off those leaves
// each place where it is: rounding moves no client at a restart.

// sharesAsRead reports whether a plan has the backends of one that was read, with
// their slots. Those that were not read have none.
func sharesAsRead(read, s *core.ServicePlan) bool {
	n := 0
	for i := range s.Backends {
		b := &s.Backends[i]
		k := slices.IndexFunc(read.Backends, func(r core.BackendPlan) bool { return r.Name == b.Name && r.Addr == b.Addr })
		switch {
		case k < 0 && (b.Slots > 0 || b.Alive):
			return false
		case k < 0:
		case read.Backends[k].Slots != b.Slots || read.Backends[k].Alive != b.Alive:
			return false
		default:
			n++
		}
	}
	return n == len(read.Backends)
}

// slotsAsRead reports whether the backends with slots are those of a plan that was
// read, with as many. Of the others a ring knows nothing.
func slotsAsRead(read, s *core.ServicePlan) bool {
	type seen struct {
		name string
		addr netip.AddrPort
	}
	slots := func(p *core.ServicePlan) map[seen]uint32 {
		out := map[seen]uint32{}
		for _, b := range p.Backends {
			if b.Slots > 0 {
				out[seen{b.Name, b.Addr}] = b.Slots
			}
		}
		return out
	}
	return maps.Equal(slots(read), slots(s))
}

// keepRings leaves each place to whom it was read to have it.
func (f *fragment) keepRings(read *fragment) {
	for i := range f.maps {
		m := &f.maps[i]
		if was := read.weights(m.set.name); was != nil && len(was.ring) == len(m.ring) {
			m.ring, m.targets = was.ring, was.targets
		}
	}
}

// keepDeals leaves each position to whom it was read to have it, unless the way to
// a position has changed.
func keepDeals(deals *[2]*deal, read [2]*deal) {
	for i, d := range deals {
		if d != nil && read[i] != nil && d.by == read[i].by {
			deals[i] = read[i]
		}
	}
}

// devicesOf are the interfaces of a service in a table that was read: all that its
// frames may leave by is the one that they leave by now.
func (f *fragment) devicesOf(s *core.ServicePlan) devices {
	dev := devices{}
	for i := range s.Backends {
		if name := s.Backends[i].Hop.Device; name != "" {
			dev[name] = f.leavesBy()
		}
	}
	if len(dev) == 0 && len(s.Interfaces) > 0 {
		dev[s.Interfaces[0]] = f.leavesBy()
	}
	return dev
}

// findHops gives the backends of a plan that was read the way that their frames go.
func (h *held) findHops() {
	if h.read == nil || h.read.link == nil || h.plan.Forwarding != core.DSR {
		return
	}
	i, err := net.InterfaceByIndex(int(h.read.link.leavesBy()))
	if err != nil {
		return // it is gone, and the way with it
	}
	for _, d := range h.deals {
		if d == nil {
			continue
		}
		for _, o := range d.owners[1:] {
			k := slices.IndexFunc(h.plan.Backends, func(b core.BackendPlan) bool { return b.Name == o.name && b.Addr.String() == o.addr })
			if k >= 0 && len(o.value) == frameAddrsLen {
				h.plan.Backends[k].Hop = core.Hop{MAC: [6]byte([]byte(o.value[:6])), Own: [6]byte([]byte(o.value[6:])), Device: i.Name}
			}
		}
	}
}
