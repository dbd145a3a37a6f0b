// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/nlmsg"
	"golang.org/x/sys/unix"
)

// loadLink reads the second table, and joins what it has with what the first one
// has of the same services.
func (a *Applier) loadLink(ctx context.Context, l *loader) error {
	if !a.linkThere {
		return nil
	}
	if a.linkOther {
		l.complain("the table netdev %s has another layout", a.table)
		return nil
	}
	a.w.req.linked = true
	defer func() { a.w.req.linked = false }()
	second := loader{&snapshot{shared: &fragment{netdev: true}, services: map[string]*held{}}, map[string]*set{}}
	for _, step := range []func(context.Context, *loader) error{a.loadSets, a.loadChains, a.loadObjects, a.loadElements} {
		if err := step(ctx, &second); err != nil {
			return err
		}
	}
	l.shared.link = second.shared
	if second.wrong != nil {
		l.complain("%w", second.wrong)
	}
	for name, h := range second.services {
		f := l.service(name)
		f.link = h.read
		f.link.netdev = true
		if err := a.loadDeals(l.services[name], f.link); err != nil {
			l.services[name].unknown = true // the next change writes it whole
		}
		l.services[name].deals = f.link.deals
	}
	return nil
}

// loadDeals reads who gets whose flows. Since when a position moves is nowhere
// written, so that it begins anew.
func (a *Applier) loadDeals(h *held, f *fragment) error {
	dealings := dealingsOf(f)
	for i := range f.deals {
		name := func(kind string) string { return nameOf(kind+six(i == 1), f.name) }
		if f.set(name(kindPos)) == nil {
			continue
		}
		by := cmp.Or(dealings[name(kindPos)], dealings[name(kindNext)])
		if by.seed == 0 { // somebody has taken the rules away that tell by what hash
			h.unknown = true
			continue
		}
		d := &deal{by: by, oldBy: cmp.Or(dealings[name(kindOld)], by), owners: []owner{{}}}
		d.by.size, d.oldBy.size = f.sizeOf(name(kindPos)), f.sizeOf(name(kindOld))
		for _, e := range f.elemsOf(name(kindLive)) {
			d.owners = append(d.owners, parseOwner(&e))
		}
		slices.SortFunc(d.owners[1:], func(x, y owner) int { return strings.Compare(x.name+x.value, y.name+y.value) })
		var err error
		for kind, to := range map[string]*[]uint16{kindPos: &d.stable, kindNext: &d.next, kindOld: &d.old} {
			var stray bool
			if *to, stray, err = a.w.readDealMap(a.table, name(kind), f.sizeOf(name(kind)), d.owners); err != nil {
				return err
			}
			h.unknown = h.unknown || stray // such a position has an element in the way of another
		}
		if len(d.next) != len(d.stable) {
			return fmt.Errorf("maps of %d and %d positions", len(d.next), len(d.stable))
		}
		d.resume(a.now())
		f.deals[i] = d
	}
	return nil
}

func (f *fragment) sizeOf(set string) uint32 {
	if s := f.set(set); s != nil {
		return s.size
	}
	return 0
}

// dealingsOf reads by what hashes the maps of a service are looked up.
func dealingsOf(f *fragment) map[string]dealing {
	all := map[string]dealing{}
	for _, c := range f.chains {
		for _, r := range c.rules {
			var last dealing
			list := nlmsg.Attrs{Rest: r.raw}
			for list.Next() {
				data := nlmsg.Find(list.Value, unix.NFTA_EXPR_DATA)
				switch nlmsg.Text(nlmsg.Find(list.Value, unix.NFTA_EXPR_NAME)) {
				case "hash":
					last = dealing{size: nlmsg.Uint32(nlmsg.Find(data, unix.NFTA_HASH_MODULUS)), seed: nlmsg.Uint32(nlmsg.Find(data, unix.NFTA_HASH_SEED)), key: core.BySource}
					if n := nlmsg.Uint32(nlmsg.Find(data, unix.NFTA_HASH_LEN)); n == 8 || n == 20 {
						last.key = core.BySourcePort
					}
				case "lookup":
					all[nlmsg.Text(nlmsg.Find(data, unix.NFTA_LOOKUP_SET))] = last
				}
			}
		}
	}
	return all
}

// dealtTo adds the backends that the second table knows to a plan: each with as
// many slots as it is dealt positions.
func (p *planReader) dealtTo(f *fragment) {
	for _, d := range f.deals {
		if d == nil {
			continue
		}
		count := make([]uint32, len(d.owners))
		var all uint32
		for i := range d.stable {
			to := max(d.stable[i], d.next[i]) // one of both is nobody
			if count[to]++; to != nobody {
				all++
			}
		}
		given := uint32(0)
		var last *core.BackendPlan
		for i, o := range d.owners[1:] {
			addr, err := netip.ParseAddrPort(o.addr)
			if err != nil {
				continue
			}
			b := p.backend(o.name, addr)
			if n := count[i+1]; n > 0 {
				b.Slots += uint32(uint64(n) * core.Slots / uint64(all))
				given += uint32(uint64(n) * core.Slots / uint64(all))
				last = b
			}
			b.Alive = true
		}
		if last != nil {
			last.Slots += core.Slots - given
		}
	}
}

// findLink looks for the second table.
func (a *Applier) findLink() (tableState, error) {
	a.w.req.linked = true
	t, err := a.w.table(a.table)
	a.w.req.linked = false
	a.linkThere, a.linkOther = t.exists, t.exists && t.comment != layout
	return t, err
}

// ownLink takes the second table over, if it is there and has no owner.
func (a *Applier) ownLink(gen uint32) (uint32, error) {
	t, err := a.findLink()
	if err != nil || !t.exists || t.owner != 0 || a.flags == 0 || t.flags&nftTableFPersist == 0 {
		return gen, err
	}
	a.b.reset(a.table, a.w.seq)
	a.b.linked = true
	a.b.newTable(a.flags)
	a.b.linked = false
	a.b.finish()
	list, err := a.w.transact(&a.b)
	if err == nil && len(list) > 0 {
		err = explain(list[0].errno, list[0].text)
	}
	if err != nil {
		return gen, fmt.Errorf("take over table netdev %s: %w", a.table, err)
	}
	return a.w.generation()
}

// forwardingOf tells by what a service's maps hold how it forwards.
func forwardingOf(f *fragment) core.Forwarding {
	for _, kind := range []string{kindPos, kindPos + "6"} {
		if s := f.set(nameOf(kind, f.name)); s != nil && s.dataLen == frameAddrsLen {
			return core.DSR
		}
	}
	return core.Stateless
}

// interfaces are those that the table looks at packets of.
func (f *fragment) interfaces() (list []string) {
	for i := range f.chains {
		if h := f.chains[i].hook; h != nil && h.num != nfNetdevEgress {
			_, device := h.split()
			list = append(list, device)
		}
	}
	return list
}

// flushLink removes the second table; there being none is no error.
func (a *Applier) flushLink() error {
	a.b.reset(a.table, a.w.seq)
	a.b.linked = true
	a.b.delTable()
	a.b.linked = false
	a.b.finish()
	list, err := a.w.transact(&a.b)
	if err == nil && len(list) > 0 && list[0].errno != unix.ENOENT {
		err = explain(list[0].errno, list[0].text)
	}
	a.linkThere = a.linkThere && err != nil
	return err
}

// verifyDeals reads the maps of changed deals back. A difference refuses the
// service, and makes the next change write them whole.
func (a *Applier) verifyDeals(ctx context.Context, r *result) error {
	a.w.req.linked = true
	defer func() { a.w.req.linked = false }()
	for _, c := range r.done {
		if c.to == nil || c.to.link == nil {
			continue
		}
		for i, d := range c.to.link.deals {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := a.verifyDeal(c.name, six(i == 1), d); err != nil {
				a.known[c.name].unknown = true
				r.refuse(c.name, fmt.Errorf("read service %s back: %w", c.name, err))
			}
		}
	}
	return nil
}

func (a *Applier) verifyDeal(service, family string, d *deal) error {
	for _, want := range d.maps() {
		if want == nil {
			continue
		}
		got, _, err := a.w.readDealMap(a.table, nameOf(want.kind+family, service), want.by.size, d.owners)
		if err != nil {
			return err
		}
		now := &dealMap{at: got, names: d.owners}
		for p := range want.at {
			if now.value(p) != want.value(p) {
				return fmt.Errorf("the kernel leads position %d of %s elsewhere than was written", p, want.kind)
			}
		}
	}
	return nil
}

// leavesBy is the number of the interface by which a service's frames leave; 0 if
// they do not leave at once.
func (f *fragment) leavesBy() uint32 {
	for _, c := range f.chains {
		for _, r := range c.rules {
			var last []byte
			for list := (nlmsg.Attrs{Rest: r.raw}); list.Next(); {
				data := nlmsg.Find(list.Value, unix.NFTA_EXPR_DATA)
				switch nlmsg.Text(nlmsg.Find(list.Value, unix.NFTA_EXPR_NAME)) {
				case "immediate":
					last = nlmsg.Find(nlmsg.Find(data, unix.NFTA_IMMEDIATE_DATA), unix.NFTA_DATA_VALUE)
				case "fwd":
					if len(last) == 4 {
						return binary.NativeEndian.Uint32(last)
					}
				}
			}
		}
	}
	return 0
}
