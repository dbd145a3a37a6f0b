// SPDX-License-Identifier: Apache-2.0

package conntrack

import "github.com/steelyard-lb/steelyard/core"

// A table holds what the Reader knows. It is a plain state machine: it reads no
// socket and no clock, and one goroutine at a time may use it.
type table struct {
	flows map[flowKey]uint32 // watched flows; the number is an index into slots
	slots []slot
	open  map[connID]entry

	// A resync walks the kernel's table while events go on. epoch tells the
	// entries that it has seen from those it has not; ended holds the connections
	// that ended meanwhile, which the walk may still list.
	epoch   uint8
	syncing bool
	ended   map[connID]struct{}
}

// A slot counts the connections of one watched flow.
type slot struct {
	id    core.BackendID
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

// An entry is an open connection: the index of its slot, and the epoch in which
// it was last seen.
type entry uint32

func newEntry(slot uint32, epoch uint8) entry { return entry(slot<<8 | uint32(epoch)) }
func (e entry) slot() uint32                  { return uint32(e) >> 8 }
func (e entry) epoch() uint8                  { return uint8(e) }

func newTable() *table {
	return &table{
		flows: map[flowKey]uint32{},
		open:  map[connID]entry{},
		ended: map[connID]struct{}{},
	}
}

// watch replaces the watched flows and reports whether there is a new one, so
// that a resync is needed. Flows that stay keep their counts.
func (t *table) watch(flows map[Flow]core.BackendID) (added bool) {
	before, old := t.flows, t.slots
	t.flows = make(map[flowKey]uint32, len(flows))
	t.slots = make([]slot, 0, len(flows))
	moved := make([]uint32, len(old)) // new index + 1
	for f, id := range flows {
		k := f.key()
		s := slot{id: id}
		if i, ok := before[k]; ok && old[i].id == id {
			s = old[i]
			moved[i] = uint32(len(t.slots)) + 1
		} else {
			added = true
		}
		t.flows[k] = uint32(len(t.slots))
		t.slots = append(t.slots, s)
	}
	for id, e := range t.open {
		if to := moved[e.slot()]; to != 0 {
			t.open[id] = newEntry(to-1, e.epoch())
		} else {
			delete(t.open, id)
		}
	}
	return added
}

// add takes one event or one entry of a dump.
func (t *table) add(m *message) {
	switch m.kind {
	case created:
		t.opened(m)
	case updated:
		if m.over() {
			t.closed(m)
		}
	case destroyed:
		t.closed(m)
	case listed:
		if t.syncing && !m.over() {
			t.listed(m)
		}
	}
}

func (t *table) opened(m *message) {
	i, ok := t.slotOf(m)
	if !ok {
		return
	}
	id := m.conn()
	if _, twice := t.open[id]; twice {
		return
	}
	t.open[id] = newEntry(i, t.epoch)
	t.slots[i].count.Opened++
	t.slots[i].count.Open++
}

func (t *table) closed(m *message) {
	id := m.conn()
	if t.syncing {
		t.ended[id] = struct{}{}
	}
	e, ok := t.open[id]
	if !ok {
		return // not ours, or it was over already
	}
	delete(t.open, id)
	t.slots[e.slot()].count.Closed++
	t.slots[e.slot()].count.Open--
}

func (t *table) listed(m *message) {
	i, ok := t.slotOf(m)
	if !ok {
		return
	}
	id := m.conn()
	if _, over := t.ended[id]; over {
		return // it ended after the kernel had written it down
	}
	if _, have := t.open[id]; !have {
		t.slots[i].count.Open++
		if t.slots[i].stage == known {
			t.slots[i].count.Opened++ // its event was lost
		}
	}
	t.open[id] = newEntry(i, t.epoch)
}

func (t *table) slotOf(m *message) (uint32, bool) {
	k, ok := m.flow()
	if !ok {
		return 0, false
	}
	i, ok := t.flows[k]
	return i, ok
}

// beginSync starts a resync, or starts it over.
func (t *table) beginSync() {
	t.epoch++
	t.syncing = true
	for i := range t.slots {
		t.slots[i].stage = max(t.slots[i].stage, syncing)
	}
	clear(t.ended)
}

// endSync takes out what the walk has not seen: its end was lost.
func (t *table) endSync() {
	for id, e := range t.open {
		if e.epoch() == t.epoch {
			continue
		}
		delete(t.open, id)
		t.slots[e.slot()].count.Closed++
		t.slots[e.slot()].count.Open--
	}
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

// counts adds up the flows of each backend. A backend with a flow that was
// never counted is left out: nobody knows.
func (t *table) counts() map[core.BackendID]core.FlowCount {
	sums := make(map[core.BackendID]core.FlowCount, len(t.slots))
	for _, s := range t.slots {
		if s.stage == known {
			c := sums[s.id]
			c.Open += s.count.Open
			c.Opened += s.count.Opened
			c.Closed += s.count.Closed
			sums[s.id] = c
		}
	}
	for _, s := range t.slots {
		if s.stage != known {
			delete(sums, s.id)
		}
	}
	return sums
}
