// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables/expr"
	"github.com/steelyard-lb/steelyard/core"
	"golang.org/x/sys/unix"
)

// number is what a new connection is looked up by in the weights map. Random
// numbers fall among intervals; the others into a table with a place for each. The
// families are that of the map, and that of the client.
func (c *compiler) number(v6, client bool) operand {
	if c.s.Distribution == core.Random {
		return numgenAt(c.seat.base)
	}
	places := uint32(c.places(v6))
	switch c.s.Distribution {
	case core.Hash:
		return jhash(c.hashKey(client), places, c.s.Seed)
	case core.SymHash:
		return symhash(places)
	}
	return numgen(unix.NFT_NG_INCREMENTAL, places, false)
}

// hashKey is what a client is told by. The port is asked of the connection, for
// nft prints a hash of the packet's port in a form that it cannot read.
func (c *compiler) hashKey(v6 bool) operand {
	if c.s.HashKey == core.BySourcePort {
		return concat(ctAddr(v6, expr.CtDirOriginal, true), ctPort(expr.CtDirOriginal, true))
	}
	return ipSaddr(v6)
}

// jhash is `jhash ip saddr mod 4093 seed 0x1`.
func jhash(of operand, mod, seed uint32) operand {
	text := fmt.Sprintf("jhash %s mod %d seed 0x%x", of.text, mod, seed)
	return operand{text: text, needs: of.needs, words: 1, load: func(word int) []expr.Any {
		at := (word/4 + 1) * 4 // the next 128-bit register
		return append(of.load(at), &expr.Hash{
			SourceRegister: register(at), DestRegister: register(word), Length: uint32(4 * of.words),
			Modulus: mod, Seed: seed, Type: expr.HashTypeJenkins,
		})
	}}
}

// symhash is `symhash mod 4093`: of both ends of the flow, the same in both
// directions. Its seed is the kernel's own, another after each boot.
func symhash(mod uint32) operand {
	return operand{text: fmt.Sprintf("symhash mod %d", mod), words: 1, load: func(word int) []expr.Any {
		return []expr.Any{&expr.Hash{DestRegister: register(word), Modulus: mod, Type: expr.HashTypeSym}}
	}}
}

// places is how many a family's table has. It hangs on the number of backends
// only, so that no weight changes a rule.
func (c *compiler) places(v6 bool) int {
	n := 0
	for i := range c.s.Backends {
		if c.s.Backends[i].Addr.Addr().Is6() == v6 {
			n++
		}
	}
	if c.s.Distribution == core.RoundRobin {
		return core.RingSize(n)
	}
	return core.HashSize(n)
}

// weights adds the map of a family's weights, and its spare where there is one,
// and returns those that are to be looked up, in order.
func (c *compiler) weights(v6 bool) []*set {
	m := c.weightMap(v6)
	if !m.seat.shared() {
		c.f.sets = append(c.f.sets, m.set)
	}
	c.f.maps = append(c.f.maps, m)
	list := []*set{m.set}
	if m.seat.spare {
		list = append(list, c.addSpare(m, v6))
	}
	return list
}

func (c *compiler) weightMap(v6 bool) weightMap {
	if c.seat.shared() {
		return weightMap{set: groupSet(c.seat.group, c.s), seat: c.seat, service: c.s.Name, intervals: intervals(nil, c.s, v6)}
	}
	data := c.target(v6)
	def := set{
		name: c.weightsName(v6), key: tuple{tInteger}, data: data,
		dataOf: targetSource(v6, data, c.protocols()),
	}
	if c.s.Distribution == core.Random {
		def.flags, def.keyOf = unix.NFT_SET_INTERVAL, numgenSource(unix.NFT_NG_RANDOM, core.Slots)
		return weightMap{set: define(def), seat: c.seat, intervals: intervals(nil, c.s, v6)}
	}
	// nft has no name for the type of a hash, and crashes on a set that says it
	// is one. A number in host byte order is what both are.
	places := c.places(v6)
	def.size, def.keyOf = uint32(places), numgenSource(unix.NFT_NG_INCREMENTAL, uint32(places))
	return c.ring(define(def), v6, places)
}

// ring lays out a family's table.
func (c *compiler) ring(s *set, v6 bool, places int) weightMap {
	m := weightMap{set: s}
	var ids []uint64
	var slots []uint32
	for i := range c.s.Backends {
		b := &c.s.Backends[i]
		if b.Addr.Addr().Is6() != v6 {
			continue
		}
		m.targets = append(m.targets, b.Addr)
		ids = append(ids, core.BackendID{Service: c.s.Name, Backend: b.Name}.Hash())
		slots = append(slots, b.Slots)
	}
	if c.s.Distribution == core.RoundRobin {
		m.ring = core.Ring(slots, places)
	} else {
		m.ring = core.HashTable(ids, slots, places)
	}
	return m
}

// at is who has a place of the table; false if nobody has.
func (m *weightMap) at(place int) (netip.AddrPort, bool) {
	if place >= len(m.ring) {
		return netip.AddrPort{}, false
	}
	return m.targets[m.ring[place]], true
}

// sameRing reports whether all places have the same owners.
func (m *weightMap) sameRing(o *weightMap) bool {
	if len(m.ring) != len(o.ring) {
		return false
	}
	for i := range m.ring {
		if m.targets[m.ring[i]] != o.targets[o.ring[i]] {
			return false
		}
	}
	return true
}

// ringWeights makes a table go from one layout to another: the places that have
// another owner, or all of them where that is most.
func (b *batch) ringWeights(was, m *weightMap, unknown bool) {
	var moved []int
	for i := range max(len(was.ring), len(m.ring)) {
		from, had := was.at(i)
		to, has := m.at(i)
		if had != has || from != to {
			moved = append(moved, i)
		}
	}
	if len(moved) == 0 && !unknown {
		return
	}
	if unknown || 2*len(moved) > m.set.places() {
		b.flushElements(m.set.name)
		b.places(m, nil, b.addElements)
		return
	}
	b.places(was, moved, b.delElements)
	b.places(m, moved, b.addElements)
}

func (s *set) places() int { return int(s.size) }

// places adds or deletes some places of a table; nil for all.
func (b *batch) places(m *weightMap, some []int, begin func(string) elementList) {
	if len(m.ring) == 0 {
		return
	}
	l := begin(m.set.name)
	if some == nil {
		for i := range m.ring {
			l.place(m, i)
		}
	}
	for _, i := range some {
		l.place(m, i)
	}
	l.close()
}

func (l *elementList) place(m *weightMap, i int) {
	to, ok := m.at(i)
	if !ok {
		return
	}
	b := l.b
	at := l.element(hostUint32(uint32(i)))
	if l.adds() {
		var val [20]byte
		b.data(unix.NFTA_SET_ELEM_DATA, appendTarget(val[:0], m.set.data, to))
	}
	b.unnest(at)
	b.changed++
}
