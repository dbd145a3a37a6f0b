// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"slices"
)

// A transaction comes into force in one moment, but a packet that is on its way
// then sees some of both sides. What is new is therefore made before something
// leads to it:
//
//   - A set of intervals is searchable some microseconds after the rules of its
//     transaction are in force.
//   - A packet that began before, and is led to a chain that is new, finds it empty.
//
// See RATIONALE.md, "Why does a change take up to three transactions?".
//
// The other way round, a packet that has begun with the old rules when the new come
// into force still looks up their sets, and finds nothing in one that is gone. So
// sets go in a transaction after that of their rules.

// advance makes the sets of a job that have to come first, and takes them as given
// from there on. If the kernel refuses, nothing is lost: the job itself will find
// out whom it minds.
func (a *Applier) advance(ctx context.Context, j *job, r *result) {
	if j.skeleton || ctx.Err() != nil {
		return
	}
	before, err := a.w.generation()
	if err != nil {
		return
	}
	a.b.reset(a.table, a.w.seq)
	list := make([]*change, len(j.list))
	for i, c := range j.list {
		a.b.owner = c.name
		list[i] = a.b.advance(c)
	}
	if len(a.b.owners) == 1 { // only the beginning
		return
	}
	a.b.finish()
	if complaints, err := a.w.transact(&a.b); err != nil || len(complaints) > 0 {
		return
	}
	a.ours(before)
	j.list = list
	r.changed += a.b.changed
}

// advance writes what of one change has to come first, and returns the change that
// is left.
func (b *batch) advance(c *change) *change {
	if c.to == nil {
		return c
	}
	left := *c
	if c.from == nil && c.name != "" {
		left.from = c.to.unseen()
		d := newDiff(&change{name: c.name, to: left.from})
		b.fill(&d)
		return &left
	}
	from := fragment{name: c.name}
	if c.from != nil {
		from = *c.from
	}
	for _, s := range c.to.sets {
		if s.interval() && from.set(s.name) == nil {
			b.advanceSet(&from, c.to, s)
		}
	}
	if len(from.sets) > 0 || c.from != nil {
		left.from = &from
	}
	return &left
}

func (b *batch) advanceSet(from, to *fragment, s *set) {
	b.newSet(s)
	if m := to.weights(s.name); m != nil {
		b.weights(&weightMap{set: s}, m, false)
		from.maps = append(slices.Clone(from.maps), *m)
	}
	if list := to.elemsOf(s.name); len(list) > 0 {
		_, come := diffElems(nil, list)
		b.writeElems(s, come, b.addElements)
		from.elems = append(slices.Clone(from.elems), setElems{s, list})
	}
	from.sets = append(slices.Clone(from.sets), s)
}

// unseen is the part of a new service that no packet sees yet: all but what stands
// in the sets that all share.
func (f *fragment) unseen() *fragment {
	out := &fragment{name: f.name, objects: f.objects, sets: f.sets, chains: f.chains, maps: f.maps}
	for _, e := range f.elems {
		if f.set(e.set.name) != nil {
			out.elems = append(out.elems, e)
		}
	}
	return out
}

// retire deletes sets that no rule looks up any more. One that stays, because the
// kernel minds, is found by the next who reads the table.
func (a *Applier) retire(names []string) {
	if len(names) == 0 {
		return
	}
	before, err := a.w.generation()
	if err != nil {
		return
	}
	a.b.reset(a.table, a.w.seq)
	for _, name := range names {
		a.b.delSet(name)
	}
	a.b.finish()
	complaints, err := a.w.transact(&a.b)
	if err != nil || len(complaints) > 0 {
		a.log.Warn("sets that nothing looks up any more were left behind", "sets", len(names), "err", err)
		return
	}
	a.ours(before)
}
