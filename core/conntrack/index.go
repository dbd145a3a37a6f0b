// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"cmp"
	"slices"

	"github.com/steelyard-lb/steelyard/core"
)

// An index finds the rule that a connection belongs to. It is not changed once
// made, so that several goroutines may look.
type index struct {
	live     bool                        // some backend's counts must be
	passive  map[core.BackendID]struct{} // those that ask for it
	answers  answersOf
	rules    []rule   // the number of a rule is that of its slot
	backend  []uint32 // of each rule: an index into backends
	backends []core.BackendID
	spans    map[core.BackendID]span

	exact map[flowKey]uint32
	// wide holds what is not exact, the narrowest first. A lookup comes here only
	// after a miss, and asks only for the shapes of key that occur.
	wide   map[wideKey][]uint32
	shapes [4]bool
}

// A span is the rules of one backend: from first to before end.
type span struct{ backend, first, end uint32 }

// A flowKey is what the connections of an exact rule have in common, as plain
// bytes: a map of them hashes without following a pointer.
type flowKey struct {
	vip, backend         [16]byte
	vipPort, backendPort uint16
	protocol             uint8
}

// A wideKey is what a wide rule says of the addresses; zero where it says
// nothing.
type wideKey struct {
	vip, backend [16]byte
	protocol     uint8
}

// The shapes of a wideKey, the most particular first.
const (
	shapeBoth = iota
	shapeBackend
	shapeVIP
	shapeNone
)

func newIndex(watched []Watched) *index {
	x := &index{
		passive: map[core.BackendID]struct{}{},
		spans:   make(map[core.BackendID]span, len(watched)),
		exact:   make(map[flowKey]uint32, len(watched)),
		wide:    map[wideKey][]uint32{},
	}
	for i := range watched {
		w := &watched[i]
		if _, twice := x.spans[w.ID]; twice {
			continue
		}
		x.live = x.live || w.Live || w.Passive
		if w.Passive {
			x.passive[w.ID] = struct{}{}
		}
		s := span{backend: uint32(len(x.backends)), first: uint32(len(x.rules))}
		x.backends = append(x.backends, w.ID)
		for _, r := range w.rules() {
			x.add(r, s.backend)
			if w.Passive {
				x.answers.add(&r)
			}
		}
		s.end = uint32(len(x.rules))
		x.spans[w.ID] = s
	}
	slices.Sort(x.answers.vips)
	for _, list := range x.wide {
		slices.SortStableFunc(list, func(a, b uint32) int { return narrower(&x.rules[a], &x.rules[b]) })
	}
	return x
}

func (x *index) add(r rule, backend uint32) {
	i := uint32(len(x.rules))
	x.rules, x.backend = append(x.rules, r), append(x.backend, backend)
	if r.exact() {
		k := flowKey{vip: r.vip, vipPort: r.first, backend: r.backend, backendPort: r.backendPort(), protocol: r.protocol}
		if _, taken := x.exact[k]; !taken {
			x.exact[k] = i
		}
		return
	}
	shape := shapeBoth
	k := wideKey{vip: r.vip, backend: r.backend, protocol: r.protocol}
	if !r.single() {
		shape, k.vip = shapeBackend, [16]byte{}
	}
	if r.backend == [16]byte{} {
		shape += shapeVIP
	}
	x.shapes[shape] = true
	x.wide[k] = append(x.wide[k], i)
}

// narrower compares how much two rules cover.
func narrower(a, b *rule) int {
	return cmp.Or(cmp.Compare(b.bits, a.bits), cmp.Compare(a.last-a.first, b.last-b.first))
}

// find returns the number of the rule that a message's connection belongs to.
func (x *index) find(m *message) (uint32, bool) {
	k, ok := m.flow()
	if !ok {
		return 0, false
	}
	if i, ok := x.exact[k]; ok {
		return i, true
	}
	// Without the status, a network of VIPs that holds a backend's own address
	// would claim the connections that this node makes to it, as probes do.
	if len(x.wide) == 0 || m.status&statusDstNAT == 0 {
		return 0, false
	}
	return x.findWide(&k)
}

func (x *index) findWide(k *flowKey) (uint32, bool) {
	for shape, occurs := range x.shapes {
		if !occurs {
			continue
		}
		w := wideKey{vip: k.vip, backend: k.backend, protocol: k.protocol}
		if shape == shapeBackend || shape == shapeNone {
			w.vip = [16]byte{}
		}
		if shape >= shapeVIP {
			w.backend = [16]byte{}
		}
		for _, i := range x.wide[w] {
			if x.rules[i].matches(k) {
				return i, true
			}
		}
	}
	return 0, false
}

// same finds the rule of another index that counts the same as rule i of x.
func (x *index) same(i uint32, in *index) (uint32, bool) {
	s, ok := in.spans[x.backends[x.backend[i]]]
	if !ok {
		return 0, false
	}
	for j := s.first; j < s.end; j++ {
		if in.rules[j] == x.rules[i] {
			return j, true
		}
	}
	return 0, false
}
