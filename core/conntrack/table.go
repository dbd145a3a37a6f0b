// SPDX-License-Identifier: Apache-2.0

package conntrack

import "github.com/steelyard-lb/steelyard/core"

// A table holds what the Reader knows. It is a plain state machine: it reads no
// socket and no clock, and one goroutine at a time may use it.
type table struct {
	index *index
	slots []slot // one for each rule of index
	open  map[connID]entry

	// A resync walks the kernel's table while events go on. epoch tells the
	// entries that it has seen from those it has not; ended holds the connections
	// that ended meanwhile, which the walk may still list.
	epoch   uint8
	syncing bool
	ended   map[connID]struct{}

	// passives are of each backend of the index that asks for it, else nil; nil if
	// none does. tick is the time: see advance.
	passives []*passive
	tick     uint32

	sift sift
	// finer says that the sift takes more than before: what the next resync finds
	// has been counted as opened already, with the weight of others.
	finer, regaining bool
}

// A slot counts the connections of one rule.
type slot struct {
	count core.FlowCount
	stage stage
}

// A stage says how much of a slot's connections is known. Those that its first
// resync finds were not opened under our eyes.
type stage uint8

const (
	fresh   stage = iota // watched since the last resync began
	syncing              // in its first resync
	known
)

// An entry is an open connection: the index of its slot, the sift that it was
// counted under, and the epoch in which it was last seen. Epochs come round after
// 16, of which two are in use. In the upper half is the tick of its opening while
// that waits for an answer, else 0.
type entry uint64

func newEntry(slot uint32, s sift, epoch uint8) entry {
	return entry(slot<<8 | uint32(s.shift)<<4 | uint32(epoch&15))
}
func (e entry) slot() uint32   { return uint32(e) >> 8 }
func (e entry) weight() uint64 { return 1 << (e >> 4 & 15) }
func (e entry) epoch() uint8   { return uint8(e) & 15 }
func (e entry) born() uint32   { return uint32(e >> 32) }

// to is the entry with another slot, settled one that was answered, and bornAt one
// that waits.
func (e entry) to(slot uint32) entry     { return entry(slot<<8) | e&^0xffffff00 }
func (e entry) settled() entry           { return entry(uint32(e)) }
func (e entry) bornAt(tick uint32) entry { return e.settled() | entry(tick)<<32 }

// none is the number of no rule.
const none = ^uint32(0)

func newTable(x *index) *table {
	t := &table{
		index: x,
		slots: make([]slot, len(x.rules)),
		open:  map[connID]entry{},
		ended: map[connID]struct{}{},
	}
	t.movePassives(x)
	return t
}

// watch replaces the index and reports whether it has a new rule, so that a
// resync is needed. Rules that stay keep their counts.
func (t *table) watch(x *index) (added bool) {
	moved := make([]uint32, len(t.slots)) // new number + 1
	slots := make([]slot, len(x.rules))
	kept := 0
	for i := range t.slots {
		if j, ok := t.index.same(uint32(i), x); ok {
			slots[j], moved[i] = t.slots[i], j+1
			kept++
		}
	}
	for id, e := range t.open {
		if to := moved[e.slot()]; to != 0 {
			t.open[id] = e.to(to - 1)
		} else {
			t.ends(e, nil)
			delete(t.open, id)
		}
	}
	t.movePassives(x)
	t.index, t.slots = x, slots
	return kept < len(slots)
}

// setSift changes which connections are followed. Those that are no longer are
// forgotten, and the others count for them.
func (t *table) setSift(s sift) {
	if s.shift < t.sift.shift {
		t.finer = true
	}
	t.sift = s
	t.restartPassives()
	for id, e := range t.open {
		if e.weight() >= s.weight() {
			continue // until a resync finds the others
		}
		open := &t.slots[e.slot()].count.Open
		*open -= e.weight()
		if !s.takes(uint32(id >> 32)) {
			delete(t.open, id)
			continue
		}
		*open += s.weight()
		t.open[id] = newEntry(e.slot(), s, e.epoch())
	}
}

// add takes one event or one entry of a dump. It returns the rule of a
// connection that begins or is listed, or none.
func (t *table) add(m *message) uint32 {
	switch m.kind {
	case created:
		return t.opened(m)
	case updated:
		switch {
		case m.over():
			t.closed(m)
		case m.reopened():
			return t.opened(m)
		case m.answered():
			t.answered(m)
		}
	case destroyed:
		t.closed(m)
	case listed:
		return t.listed(m)
	}
	return none
}

func (t *table) opened(m *message) uint32 {
	i, ok := t.index.find(m)
	if !ok {
		return none
	}
	if m.over() {
		return i // conntrackd brings in those of another balancer, ended ones too
	}
	id := m.conn()
	if t.syncing {
		delete(t.ended, id) // of the one before, on the same entry
	}
	if _, twice := t.open[id]; twice || !t.sift.takes(m.id) {
		return i
	}
	t.open[id] = newEntry(i, t.sift, t.epoch).bornAt(t.begins(i, m))
	t.slots[i].count.Opened += t.sift.weight()
	t.slots[i].count.Open += t.sift.weight()
	return i
}

func (t *table) closed(m *message) {
	id := m.conn()
	if t.syncing {
		t.ended[id] = struct{}{}
	}
	if e, ok := t.open[id]; ok { // else not ours, or it was over already
		t.ends(e, m)
		t.forget(id, e)
	}
}

func (t *table) forget(id connID, e entry) {
	delete(t.open, id)
	t.slots[e.slot()].count.Closed += e.weight()
	t.slots[e.slot()].count.Open -= e.weight()
}

func (t *table) listed(m *message) uint32 {
	i, ok := t.index.find(m)
	if !ok {
		return none
	}
	if !t.syncing || m.over() || !t.sift.takes(m.id) {
		return i
	}
	id := m.conn()
	if _, over := t.ended[id]; over {
		return none // it ended after the kernel had written it down
	}
	e, have := t.open[id]
	if have && e.slot() != i { // events of both were lost
		t.ends(e, nil)
		t.forget(id, e)
		e, have = 0, false
	}
	if have {
		t.slots[i].count.Open -= e.weight()
	} else if t.slots[i].stage == known && !t.regaining {
		t.slots[i].count.Opened += t.sift.weight() // its event was lost
	}
	t.slots[i].count.Open += t.sift.weight()
	t.open[id] = newEntry(i, t.sift, t.epoch).bornAt(e.born())
	return i
}

// beginSync starts a resync, or starts it over.
func (t *table) beginSync() {
	t.epoch = (t.epoch + 1) & 15
	t.syncing = true
	t.regaining, t.finer = t.regaining || t.finer, false
	for i := range t.slots {
		t.slots[i].stage = max(t.slots[i].stage, syncing)
	}
	clear(t.ended)
}

// endSync takes out what the walk has not seen: its end was lost.
func (t *table) endSync() {
	for id, e := range t.open {
		if e.epoch() != t.epoch {
			t.ends(e, nil)
			t.forget(id, e)
		}
	}
	t.regaining = false
	for i := range t.slots {
		if t.slots[i].stage == syncing {
			t.slots[i].stage = known
		}
	}
	t.abortSync()
}

// abortSync gives a resync up. Entries of two epochs are left, and the next one
// opens a third.
func (t *table) abortSync() {
	t.syncing = false
	for i := range t.slots {
		if t.slots[i].stage == syncing {
			t.slots[i].stage = fresh
		}
	}
	clear(t.ended)
}

// A total is what a backend's slots add up to.
type total struct {
	core.FlowCount
	unknown bool // one of them was never counted: nobody knows
}

// totals adds up the slots of each backend of the index.
func (t *table) totals() []total {
	sums := make([]total, len(t.index.backends))
	for i := range t.slots {
		s := &sums[t.index.backend[i]]
		s.unknown = s.unknown || t.slots[i].stage != known
		s.Open += t.slots[i].count.Open
		s.Opened += t.slots[i].count.Opened
		s.Closed += t.slots[i].count.Closed
	}
	for i, p := range t.passives {
		if p != nil {
			p.tell(&sums[i].FlowCount)
		}
	}
	return sums
}

// byID names the totals, without those that nobody knows.
func (x *index) byID(sums []total) map[core.BackendID]core.FlowCount {
	counts := make(map[core.BackendID]core.FlowCount, len(sums))
	for i, s := range sums {
		if !s.unknown {
			counts[x.backends[i]] = s.FlowCount
		}
	}
	return counts
}

// byProtocol is what a backend's slots add up to, protocol by protocol; nil if
// nobody knows.
func (t *table) byProtocol(id core.BackendID) map[core.Protocol]core.FlowCount {
	span, ok := t.index.spans[id]
	if !ok {
		return nil
	}
	sums := map[core.Protocol]core.FlowCount{}
	for i := span.first; i < span.end; i++ {
		if t.slots[i].stage != known {
			return nil
		}
		p := protocolOf(t.index.rules[i].protocol)
		c := sums[p]
		c.Open += t.slots[i].count.Open
		c.Opened += t.slots[i].count.Opened
		c.Closed += t.slots[i].count.Closed
		sums[p] = c
	}
	if c, ok := sums[core.TCP]; ok && t.passives != nil && t.passives[span.backend] != nil {
		t.passives[span.backend].tell(&c)
		sums[core.TCP] = c
	}
	return sums
}

func protocolOf(number uint8) core.Protocol {
	for _, p := range []core.Protocol{core.UDP, core.SCTP} {
		if p.Number() == number {
			return p
		}
	}
	return core.TCP
}
