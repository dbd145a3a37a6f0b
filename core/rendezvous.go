// SPDX-License-Identifier: Apache-2.0

package core

import (
	"cmp"
	"hash/fnv"
	"net/netip"
	"slices"
)

// A Rendezvous deals keys out to nodes without a word between them: each node weighs
// every key by a hash of both names, and the heaviest has it. All who know the same
// nodes agree, whatever the order they know them in. One that goes leaves its keys to
// those next in line, and one that comes takes its part from all: nothing else moves.
// The zero value knows nobody.
type Rendezvous struct{ seats []seat }

// A seat is one node.
type seat struct {
	node string
	seed uint64
}

// NewRendezvous returns that of nodes.
func NewRendezvous(nodes []string) Rendezvous {
	r := Rendezvous{make([]seat, 0, len(nodes))}
	for _, n := range nodes {
		r.seats = append(r.seats, seat{n, KeyOf(n)})
	}
	slices.SortFunc(r.seats, func(a, b seat) int { return cmp.Compare(a.node, b.node) })
	r.seats = slices.Compact(r.seats)
	return r
}

// KeyOf is the key of what has a name, such as a service.
func KeyOf(name string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	return mix(h.Sum64())
}

// TargetKey is the key of what a probe asks: services that share a backend's address
// share the answer, so they must share the node that asks.
func TargetKey(addr netip.AddrPort, probe string) uint64 {
	const prime = 1099511628211 // of FNV-1a, which is written out here since it is asked 32,000 times in a row
	h := uint64(14695981039346656037)
	ip := addr.Addr().Unmap().As16()
	for _, b := range ip {
		h = (h ^ uint64(b)) * prime
	}
	h = (h ^ uint64(addr.Port()>>8)) * prime
	h = (h ^ uint64(addr.Port()&0xff)) * prime
	for i := range len(probe) {
		h = (h ^ uint64(probe[i])) * prime
	}
	return mix(h)
}

// weight of a key for a seat: the seed is one of 2^64 functions of the key.
func (s seat) weight(key uint64) uint64 { return mix(s.seed ^ key) }

// beats reports whether a seat comes before one of weight w. Of the same weight, which is
// next to impossible, the first by name is first.
func (s seat) beats(key, w uint64, first bool) bool {
	v := s.weight(key)
	return v > w || v == w && first
}

// Index is the number by which Among knows node; -1 if it is not among them.
func (r Rendezvous) Index(node string) int {
	return slices.IndexFunc(r.seats, func(s seat) bool { return s.node == node })
}

// Place is how many nodes come before node for key: 0 is the first choice. It is -1 if
// node is not among them.
func (r Rendezvous) Place(node string, key uint64) int {
	own := r.Index(node)
	if own < 0 {
		return -1
	}
	w, place := r.seats[own].weight(key), 0
	for i, s := range r.seats {
		if s.beats(key, w, i < own) {
			place++
		}
	}
	return place
}

// Among reports whether the node of an Index is one of the first k for key. It is false
// for -1. Most nodes that are not see so at the first few others.
func (r Rendezvous) Among(index int, key uint64, k int) bool {
	if index < 0 || k <= 0 {
		return false
	}
	w := r.seats[index].weight(key)
	for i, s := range r.seats {
		if s.beats(key, w, i < index) {
			if k--; k == 0 {
				return false
			}
		}
	}
	return true
}

// Rank returns the first k nodes for key, the first choice first; fewer if there are
// no more.
func (r Rendezvous) Rank(key uint64, k int) []string {
	order := slices.Clone(r.seats)
	slices.SortStableFunc(order, func(a, b seat) int { return cmp.Compare(b.weight(key), a.weight(key)) })
	out := make([]string, 0, min(k, len(order)))
	for _, s := range order[:min(k, len(order))] {
		out = append(out, s.node)
	}
	return out
}
