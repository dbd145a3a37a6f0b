// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// dealsOf are the deals of a service, by family, on the way from those before;
// where there were none, nothing has to move.
func dealsOf(s *core.ServicePlan, before [2]*deal, dev devices, now time.Duration) (deals [2]*deal) {
	c := compiler{s: s}
	for _, v6 := range c.families() {
		by := dealing{uint32(core.HashSize(countFamily(s, v6))), s.Seed, s.HashKey}
		owners, target := share(s, v6, dev, int(by.size))
		if was := before[index(v6)]; was != nil {
			deals[index(v6)] = was.move(by, owners, target, now)
		} else {
			deals[index(v6)] = newDeal(by, owners, target)
		}
	}
	return deals
}

func countFamily(s *core.ServicePlan, v6 bool) (n int) {
	for i := range s.Backends {
		if s.Backends[i].Addr.Addr().Is6() == v6 {
			n++
		}
	}
	return n
}

// share lists the backends of a family that live, and deals the positions to those
// of them that have slots. One that cannot be reached is as good as dead.
func share(s *core.ServicePlan, v6 bool, dev devices, size int) ([]owner, []uint16) {
	owners := []owner{{}}
	var ids []uint64
	var slots []uint32
	for i := range s.Backends {
		b := &s.Backends[i]
		value, ok := valueOf(s, b, dev)
		if b.Addr.Addr().Is6() != v6 || !ok || !b.Alive && b.Slots == 0 {
			continue
		}
		owners = append(owners, owner{name: b.Name, value: value, addr: b.Addr.String()})
		ids = append(ids, core.BackendID{Service: s.Name, Backend: b.Name}.Hash())
		slots = append(slots, b.Slots)
	}
	target := make([]uint16, size)
	for p, i := range core.HashTable(ids, slots, size) {
		target[p] = i + 1
	}
	return owners, target
}

// next is a service as it should be after h, for those who only compare: the
// interface that frames leave by is taken to be the one that they leave by now.
func (h *held) next(s *core.ServicePlan) *fragment {
	same := h != nil && h.read != nil && sharesAsRead(h.plan, s)
	if !linked(s) || h == nil || h.deals == [2]*deal{} || h.plan.Forwarding != s.Forwarding {
		f := compileAt(s, h.seatFor(s))
		if h != nil && h.read != nil && slotsAsRead(h.plan, s) {
			f.keepRings(h.read)
		}
		return f
	}
	dev := h.devices
	if h.read != nil && h.read.link != nil {
		dev = h.read.link.devicesOf(s)
	}
	deals := dealsOf(s, h.deals, dev, 0)
	if same {
		keepDeals(&deals, h.deals)
	}
	return compileLink(s, deals, dev)
}

// compile is a service as it should be, with all flows where they are now.
func (a *Applier) compile(s *core.ServicePlan, at seat) *fragment {
	if !linked(s) {
		f := compileAt(s, at)
		if h := a.known[s.Name]; h != nil && slotsAsRead(h.plan, s) {
			f.keepRings(h.rings())
		}
		return f
	}
	var before [2]*deal
	if h := a.known[s.Name]; h != nil && h.plan.Forwarding == s.Forwarding {
		before = h.deals // of another forwarding they hold other values: addresses, or frames
	}
	return compileLink(s, dealsOf(s, before, a.devices, a.now()), a.devices)
}

// reweighed is what a re-weight of a service in force ends with.
func (a *Applier) reweighed(s *core.ServicePlan, h *held) *fragment {
	if !linked(s) {
		return compileWeights(s, h.seat)
	}
	return &fragment{name: s.Name, link: compileDeals(s, dealsOf(s, h.deals, h.devices, a.now()))}
}

// withoutInterface takes the services out of a list whose interfaces are not
// there.
func withoutInterface(list []*core.ServicePlan, dev devices, refused map[string]error) []*core.ServicePlan {
	return slices.DeleteFunc(list, func(s *core.ServicePlan) bool {
		if !linked(s) {
			return false
		}
		err := checkLinkDevices(s, dev)
		if err != nil {
			refused[s.Name] = err
		}
		return err != nil
	})
}

// findDevices looks for the plan's interfaces. Where one is another than before,
// chains that hang on it may be gone: the tables have to be read again.
func (a *Applier) findDevices(plan core.Plan) error {
	found, err := a.lookDevices(plan.Services)
	if err != nil {
		return err
	}
	for name, n := range a.devices {
		if now, ok := found[name]; ok && now != n {
			a.known = nil
		}
	}
	a.devices = found
	return nil
}

// afterMoves is done after a commit: the flows of backends that are no more are
// forgotten, lest they go back to them should they return, and those of backends
// whose link address changed are remembered by the new one.
func (a *Applier) afterMoves(ctx context.Context, r *result) error {
	var list []*change
	for _, c := range r.done {
		if c.name == "" || c.from == nil || c.to == nil || c.from.link == nil || c.to.link == nil {
			continue
		}
		renamed, err := a.sweepMoves(c)
		if err != nil {
			return err
		}
		if renamed {
			list = append(list, a.forgetFormer(c.plan))
		}
	}
	if len(list) == 0 {
		return nil
	}
	return a.apply(ctx, job{list: list}, r)
}

// sweepMoves reports whether flows may have been renamed.
func (a *Applier) sweepMoves(c *change) (renamed bool, err error) {
	for i, now := range c.to.link.deals {
		was := c.from.link.deals[i]
		if was == nil || now == nil {
			continue
		}
		renamed = renamed || len(now.former) > 0
		if leaves(was, now) || len(now.former) > 0 {
			if err := a.sweepFlows(c.plan, i == 1, now); err != nil {
				return renamed, err
			}
		}
	}
	return renamed, nil
}

// leaves reports whether a value of was is none of now's.
func leaves(was, now *deal) bool {
	for _, o := range slices.Concat(was.owners, was.former) {
		if !slices.ContainsFunc(slices.Concat(now.owners, now.former), func(n owner) bool { return n.value == o.value }) {
			return true
		}
	}
	return false
}

// forgetFormer is the change after which nothing is accepted for a backend that it
// was known by before.
func (a *Applier) forgetFormer(s *core.ServicePlan) *change {
	h := a.known[s.Name]
	deals := h.deals
	for i, d := range deals {
		if d != nil {
			n := *d
			n.former = nil
			deals[i] = &n
		}
	}
	return &change{
		name: s.Name, plan: s, from: &fragment{name: s.Name, link: compileDeals(s, h.deals)},
		to: &fragment{name: s.Name, link: compileDeals(s, deals)},
	}
}

// parseOwner reads the comment of an element of the set of live backends.
func parseOwner(e *elem) owner {
	name, addr, _ := strings.Cut(e.comment, " ")
	return owner{name: name, value: string(e.key), addr: addr}
}

// now is the time on the Applier's clock; one that only reads has none.
func (a *Applier) now() time.Duration {
	if a.clock == nil {
		return 0
	}
	return a.clock()
}
