// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"net/netip"

	"github.com/steelyard-lb/steelyard/core"
)

// An interval is the slots of one backend: start up to, but not with, end.
type interval struct {
	start, end uint32
	addr       netip.AddrPort
	name       string
}

// intervals appends the layout of a service's slots to dst: from 0 upward in
// the order of the backends. A backend without slots has no interval.
func intervals(dst []interval, s *core.ServicePlan) []interval {
	var at uint32
	for i := range s.Backends {
		b := &s.Backends[i]
		if b.Slots == 0 {
			continue
		}
		dst = append(dst, interval{at, at + b.Slots, b.Addr, b.Name})
		at += b.Slots
	}
	return dst
}

// flushUpTo is the size of a map up to which all of it is written anew at any
// change. That costs about as much as the difference there, and mends whatever
// stood in the map.
const flushUpTo = 16

// weights makes a weights map go from one layout to another. unknown says that
// from may not be what is there.
func (b *batch) weights(table, set string, from, to []interval, unknown bool) {
	dels := diffIntervals(from, to, nil, nil)
	switch {
	case unknown:
		b.flushElements(table, set)
	case dels == 0 && len(from) == len(to):
		return
	case len(from) == 0:
	case len(from) <= flushUpTo || 2*dels > len(from):
		b.flushElements(table, set)
		b.changed += len(from)
	default:
		b.weightsDelta(table, set, from, to)
		return
	}
	if len(to) == 0 {
		return
	}
	l := b.addElements(table, set)
	for _, iv := range to {
		l.interval(iv)
	}
	l.close()
}

// weightsDelta replaces whole intervals. Moving only a boundary does not do:
// the kernel sees the moment in which two intervals overlap, and refuses.
func (b *batch) weightsDelta(table, set string, from, to []interval) {
	var gone, come []interval
	diffIntervals(from, to, &gone, &come)
	if len(gone) > 0 {
		l := b.delElements(table, set)
		for _, iv := range gone {
			l.interval(iv)
		}
		l.close()
	}
	if len(come) > 0 {
		l := b.addElements(table, set)
		for _, iv := range come {
			l.interval(iv)
		}
		l.close()
	}
}

// diffIntervals returns how many intervals of from are not in to. Both are
// sorted by start. The two lists are filled where they are given.
func diffIntervals(from, to []interval, gone, come *[]interval) (dels int) {
	i, j := 0, 0
	for i < len(from) || j < len(to) {
		switch {
		case i < len(from) && j < len(to) && from[i] == to[j]:
			i, j = i+1, j+1
		case j == len(to) || i < len(from) && from[i].start <= to[j].start:
			if gone != nil {
				*gone = append(*gone, from[i])
			}
			dels++
			i++
		default:
			if come != nil {
				*come = append(*come, to[j])
			}
			j++
		}
	}
	return dels
}
