// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"github.com/steelyard-lb/steelyard/core"
)

// held is what is known of a service in the kernel: the plan that was written,
// or what was read.
type held struct {
	plan *core.ServicePlan
	seat seat
	read *fragment // nil when it is what compile makes of the plan
	// tables are the weights maps where they are costly to make again.
	tables  []weightMap
	unknown bool // the weights in the kernel may differ
	// deals and devices are of services in the second table: see compileLink.
	deals   [2]*deal
	devices devices
}

// newHeld is a plan that was just written as f.
func newHeld(s *core.ServicePlan, f *fragment, dev devices) *held {
	h := &held{plan: clonePlan(s), devices: dev}
	if linked(s) {
		h.deals = f.link.deals
		return h
	}
	h.seat = seatOf(f)
	if s.Distribution != core.Random {
		h.tables = f.maps
	}
	return h
}

// seatOf is the seat that f was made for.
func seatOf(f *fragment) seat {
	for i := range f.maps {
		return f.maps[i].seat
	}
	return seat{}
}

// weights is what a re-weight of the service begins with.
func (h *held) weights() *fragment {
	if linked(h.plan) {
		return &fragment{name: h.plan.Name, link: compileDeals(h.plan, h.deals)}
	}
	if h.tables == nil {
		return compileWeights(h.plan, h.seat)
	}
	c := compiler{h.plan, &fragment{name: h.plan.Name, maps: h.tables}, h.seat}
	for i := range h.tables {
		c.f.sets = append(c.f.sets, h.tables[i].set)
	}
	for _, v6 := range c.clientFamilies() {
		c.pins(v6)
	}
	return c.f
}

func (h *held) fragment() *fragment {
	if h == nil {
		return nil
	}
	if h.read != nil {
		return h.read
	}
	if linked(h.plan) {
		return compileLink(h.plan, h.deals, h.devices)
	}
	f := compileAt(h.plan, h.seat)
	f.keepRings(h.rings())
	return f
}

// rings are the weights maps as they are in the kernel, where that was read or is
// costly to make again.
func (h *held) rings() *fragment {
	if h.read != nil {
		return h.read
	}
	return &fragment{maps: h.tables}
}

// seed lets what to has go on counting where from has come to.
func seed(to, from *fragment) {
	if from == nil {
		return
	}
	for i := range to.objects {
		if o := from.object(to.objects[i].name, to.objects[i].kind); o != nil {
			to.objects[i].from = o.from
		}
	}
	for i := range to.elems {
		if !to.elems[i].set.counter {
			continue
		}
		counts := map[string]counter{}
		for _, e := range from.elemsOf(to.elems[i].set.name) {
			counts[e.id()] = e.counter
		}
		for k := range to.elems[i].list {
			e := &to.elems[i].list[k]
			e.counter = counts[e.id()]
		}
	}
}
