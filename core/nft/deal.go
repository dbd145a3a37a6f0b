// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A dealing is the way from a packet to a position: a hash of the client, and how
// many positions there are.
type dealing struct {
	size uint32
	seed uint32
	key  core.HashKey
}

// An owner is a backend that flows are dealt to. The value is what the kernel's
// maps hold of it: the link addresses of its frames, or its own address.
type owner struct{ name, value, addr string }

// nobody is the index of the owner that is none; every list of owners begins with
// it.
const nobody = 0

// A deal says to whom the flows of a service and a family go. A position is in
// one of three states:
//
//	stable   its owner is in stable, and decides alone. Nothing is remembered.
//	moving   next gets the new flows, each of which is remembered; old, whose
//	         flows were not remembered so far, gets and remembers every flow that
//	         is not yet known.
//	settling as moving, but old is nobody: whoever was silent for that long is
//	         forgotten. All others are remembered, so next gets what is unknown.
//
// At any time all flows of a position that are not remembered belong to one
// owner: see holder. That is the invariant by which a flow that is not silent for
// longer than the timeout stays where it is, however often its position moves.
//
// A deal is never changed once made: move and settle return another.
type deal struct {
	by     dealing
	owners []owner
	stable []uint16
	next   []uint16
	// old is by positions of oldBy. That is another dealing than by while the size
	// of the table, or its seed or key, has changed: every position is moving then.
	old   []uint16
	oldBy dealing
	// since is when old was given a position; of the first one alone while oldBy
	// is not by. It is nil while nothing moves.
	since []time.Duration
	// quiet counts how often in a row no flow of another owner than next was found.
	quiet []uint8
	// former are values that live owners had before, and that flows may have been
	// remembered with.
	former []owner
}

// newDeal is a deal in which nothing moves.
func newDeal(by dealing, owners []owner, target []uint16) *deal {
	return &deal{by: by, owners: owners, stable: target, next: make([]uint16, by.size), old: make([]uint16, by.size), oldBy: by}
}

// crossed reports whether old is by another dealing.
func (d *deal) crossed() bool { return d.oldBy != d.by }

// moving reports whether a position is not stable.
func (d *deal) moving() bool { return d.since != nil }

// holder is the owner of the flows of a position that are not remembered.
func (d *deal) holder(p int) uint16 {
	switch {
	case d.stable[p] != nobody:
		return d.stable[p]
	case d.old[p] != nobody:
		return d.old[p]
	}
	return d.next[p]
}

// move deals to other owners, or otherwise to the same. target is by positions of
// by and holds indexes of owners; owners that are not in the list are dead.
func (d *deal) move(by dealing, owners []owner, target []uint16, now time.Duration) *deal {
	n := &deal{by: by, owners: owners, oldBy: d.oldBy, former: d.formerly(owners)}
	heir := d.heirs(owners)
	if by != d.by {
		n.cross(d, heir, target, now)
		return n
	}
	n.stable, n.next, n.old = inherit(d.stable, heir), inherit(d.next, heir), inherit(d.old, heir)
	n.since, n.quiet = slices.Clone(d.since), slices.Clone(d.quiet)
	for p, t := range target {
		n.movePosition(p, t, d.stable[p] != nobody, now)
	}
	return n
}

// movePosition gives a position to t. wasStable says that nothing of it is
// remembered, even if its owner is dead by now.
func (d *deal) movePosition(p int, t uint16, wasStable bool, now time.Duration) {
	switch {
	case d.stable[p] == t && t != nobody, !wasStable && d.next[p] == t && t != nobody:
	case wasStable && d.stable[p] == nobody:
		d.stable[p] = t // a dead owner's flows are lost: no one else has any
	case d.crossed() || d.old[p] != nobody:
		d.watch(p)
		d.next[p] = t
	default:
		d.watch(p)
		d.old[p], d.stable[p], d.next[p] = d.holder(p), nobody, t
		d.since[p] = now
	}
}

// watch begins to look at a position anew.
func (d *deal) watch(p int) {
	if d.since == nil {
		d.since, d.quiet = make([]time.Duration, d.by.size), make([]uint8, d.by.size)
	}
	d.quiet[p] = 0
}

// cross goes over to another dealing: by the old one, everybody keeps what he has.
func (d *deal) cross(was *deal, heir []uint16, target []uint16, now time.Duration) {
	d.stable, d.next = make([]uint16, d.by.size), target
	d.since, d.quiet = make([]time.Duration, d.by.size), make([]uint8, d.by.size)
	if was.crossed() {
		// The old dealing's flows are not all remembered yet; those of the one in
		// between are.
		d.old, d.oldBy, d.since[0] = inherit(was.old, heir), was.oldBy, was.since[0]
		return
	}
	held := make([]uint16, was.by.size)
	for p := range held {
		held[p] = was.holder(p)
	}
	d.old, d.oldBy, d.since[0] = inherit(held, heir), was.by, now
}

// heirs are the new indexes of the present owners, by name.
func (d *deal) heirs(owners []owner) []uint16 {
	heir := make([]uint16, len(d.owners))
	for i, o := range d.owners {
		if k := slices.IndexFunc(owners, func(n owner) bool { return n.name == o.name }); i != nobody && k > 0 {
			heir[i] = uint16(k)
		}
	}
	return heir
}

func inherit(list, heir []uint16) []uint16 {
	out := make([]uint16, len(list))
	for p, i := range list {
		out[p] = heir[i]
	}
	return out
}

// formerly are the values under which flows of the new owners may be remembered,
// and that are no owner's now.
func (d *deal) formerly(owners []owner) (list []owner) {
	for _, o := range slices.Concat(d.owners[1:], d.former) {
		named := slices.ContainsFunc(owners, func(n owner) bool { return n.name == o.name })
		used := slices.ContainsFunc(owners, func(n owner) bool { return n.value == o.value })
		if named && !used && !slices.Contains(list, o) {
			list = append(list, o)
		}
	}
	return list
}

// quietReads is how many readings of the remembered flows have to agree before a
// position is stable: one alone may skip a flow, while others come and go.
const quietReads = 2

// settle ends what has moved for long enough. foreign tells of each position
// whether flows are remembered of another owner than its next; full says that
// flows may have gone unremembered, and so starts the clock anew. It returns a
// deal that is alike if nothing changes in the kernel.
func (d *deal) settle(foreign []bool, full bool, timeout, now time.Duration) *deal {
	n := *d
	n.since = slices.Clone(d.since)
	if full {
		for p := range n.since {
			n.since[p] = now
		}
	}
	n.stable, n.next, n.old = slices.Clone(d.stable), slices.Clone(d.next), slices.Clone(d.old)
	n.quiet = slices.Clone(d.quiet)
	if d.crossed() {
		if now-n.since[0] < timeout {
			return &n
		}
		n.old, n.oldBy = make([]uint16, d.by.size), d.by
	}
	rest := false
	for p := range n.next {
		if n.stable[p] == nobody {
			n.settlePosition(p, foreign[p], timeout, now)
			rest = rest || n.stable[p] == nobody && (n.next[p] != nobody || n.old[p] != nobody)
		}
	}
	if !rest {
		n.since, n.quiet = nil, nil
	}
	return &n
}

func (d *deal) settlePosition(p int, foreign bool, timeout, now time.Duration) {
	if d.old[p] != nobody && now-d.since[p] >= timeout {
		d.old[p] = nobody
	}
	if d.old[p] != nobody && d.old[p] != d.next[p] || d.next[p] == nobody {
		return
	}
	if d.quiet[p]++; foreign {
		d.quiet[p] = 0
	}
	if d.quiet[p] >= quietReads {
		d.stable[p], d.next[p], d.old[p] = d.next[p], nobody, nobody
	}
}

// alike reports whether both are the same to the kernel.
func (d *deal) alike(o *deal) bool {
	if d == nil || o == nil {
		return d == o
	}
	return d == o || d.by == o.by && d.oldBy == o.oldBy && slices.Equal(apart(d.owners), apart(o.owners)) &&
		d.same(o, d.stable, o.stable) && d.same(o, d.next, o.next) && d.same(o, d.old, o.old) && slices.Equal(d.former, o.former)
}

// same reports whether positions of d and of o lead to the same values.
func (d *deal) same(o *deal, x, y []uint16) bool {
	return slices.EqualFunc(x, y, func(i, k uint16) bool { return d.owners[i].value == o.owners[k].value })
}

// apart are the owners that the kernel can tell: of two with one value, as of two
// addresses of one machine, it knows the first.
func apart(owners []owner) (list []owner) {
	for _, o := range owners {
		if !slices.ContainsFunc(list, func(x owner) bool { return x.value == o.value }) {
			list = append(list, o)
		}
	}
	return list
}

// resume begins to watch a deal that was read from the kernel, where it does not
// say since when: since now.
func (d *deal) resume(now time.Duration) {
	for p := range d.next {
		if d.stable[p] == nobody {
			d.watch(p)
			d.since[p] = now
		}
	}
	if d.crossed() {
		d.watch(0)
		d.since[0] = now
	}
}
