// SPDX-License-Identifier: Apache-2.0

package nft

// writeChanges turns changes of any kind into messages. The removals of all
// changes come before the additions of any, so that a service can take what
// another gives up.
func (b *batch) writeChanges(list []*change) {
	diffs := make([]diff, len(list))
	for i, c := range list {
		diffs[i] = newDiff(c)
	}
	// The shared part, which is the first if it is there, goes last and comes
	// first: the others have elements in its sets.
	for i := len(diffs) - 1; i >= 0; i-- {
		b.owner = list[i].name
		if list[i].from != nil {
			b.clear(&diffs[i])
			b.clearLink(list[i])
		}
	}
	for i := range diffs {
		b.owner = list[i].name
		if list[i].to != nil {
			b.fill(&diffs[i])
			b.fillLink(list[i])
		}
	}
}

// clear removes from a fragment what has no place in its successor, each thing
// before what it refers to.
func (b *batch) clear(d *diff) {
	from := d.c.from
	for i := len(from.elems) - 1; i >= 0; i-- {
		e := &from.elems[i]
		if own := from.set(e.set.name); own != nil && d.setGoes(own) {
			continue // they go with their set
		}
		gone, _ := diffElems(e.list, d.elemsOf(d.c.to, e.set))
		b.writeElems(e.set, gone, b.delElements)
	}
	for i := range from.maps {
		if m := &from.maps[i]; m.seat.shared() && d.seatGoes(m) {
			b.intervals(m, m.intervals, b.delElements)
		}
	}
	for i := range from.chains {
		if d.rulesGo(&from.chains[i]) {
			b.delRules(from.chains[i].name)
		}
	}
	for i := len(from.chains) - 1; i >= 0; i-- {
		if d.chainGoes(&from.chains[i]) {
			b.delChain(from.chains[i].name)
		}
	}
	b.clearFlowtable(from.flow, d.flow())
	for _, s := range from.sets {
		if !d.setGoes(s) {
			continue
		}
		if b.careful && !b.linked && (d.c.to == nil || d.c.to.set(s.name) == nil) {
			b.retired = append(b.retired, s.name)
		} else {
			b.delSet(s.name)
		}
		if m := from.weights(s.name); m != nil {
			b.changed += len(m.intervals)
		}
	}
	for i := range from.objects {
		if d.objectGoes(&from.objects[i]) {
			b.delObject(&from.objects[i])
		}
	}
}

// fill adds what its predecessor has not got, each thing after what it refers to.
func (b *batch) fill(d *diff) {
	from, to := d.c.from, d.c.to
	if from == nil {
		from = &fragment{}
	}
	for i := range to.objects {
		o := &to.objects[i]
		if was := from.object(o.name, o.kind); was == nil || d.objectGoes(was) {
			b.newObject(o)
		}
	}
	for _, s := range to.sets {
		if d.setComes(s) {
			b.newSet(s)
		}
	}
	b.fillFlowtable(from.flow, to.flow)
	for i := range to.chains {
		if was := from.chain(to.chains[i].name); was == nil || d.chainGoes(was) {
			b.newChain(&to.chains[i])
		}
	}
	for i := range to.maps {
		b.fillWeights(d, from, &to.maps[i])
	}
	b.fillDeals(d, from)
	for i := range to.chains {
		ch := &to.chains[i]
		if was := from.chain(ch.name); was != nil && !d.rulesGo(was) {
			continue
		}
		for _, r := range ch.rules {
			b.rule(ch.name, r)
		}
	}
	for i := range to.elems {
		e := &to.elems[i]
		var before []elem
		if own := to.set(e.set.name); own == nil || !d.setComes(own) {
			before = from.elemsOf(e.set.name)
		}
		_, come := diffElems(before, e.list)
		b.writeElems(e.set, come, b.addElements)
	}
}

func (b *batch) fillWeights(d *diff, from *fragment, m *weightMap) {
	if d.later(from, m) {
		return
	}
	if m.seat.shared() {
		was := from.weights(m.set.name)
		if was == nil || was.seat != m.seat {
			was = &weightMap{set: m.set}
		}
		b.weights(was, m, false)
		return
	}
	if was := from.weights(m.set.name); was != nil && !d.setComes(m.set) {
		b.weights(was, m, d.c.unknown)
		return
	}
	b.weights(&weightMap{set: m.set}, m, false)
}

// link is the change of the part in the second table.
func (c *change) link() *change {
	l := &change{name: c.name, unknown: c.unknown}
	if c.from != nil {
		l.from = c.from.link
	}
	if c.to != nil {
		l.to = c.to.link
	}
	return l
}

// clearLink is clear for the second table, which goes with its shared part.
func (b *batch) clearLink(c *change) {
	l := c.link()
	if l.from == nil {
		return
	}
	b.linked = true
	d := newDiff(l)
	b.clear(&d)
	if c.name == "" && l.to == nil {
		b.delTable()
	}
	b.linked = false
}

// fillLink is fill for the second table, which comes with its shared part.
func (b *batch) fillLink(c *change) {
	l := c.link()
	if l.to == nil {
		return
	}
	b.linked = true
	if c.name == "" && l.from == nil {
		b.newTable(b.flags)
	}
	d := newDiff(l)
	b.fill(&d)
	b.linked = false
}
