// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
	"golang.org/x/sys/unix"
)

// A weightMap is the weights of a service for one family, as elements of a map.
type weightMap struct {
	set       *set
	seat      seat       // of a service that shares the map
	service   string     // that it is of, where it is shared
	intervals []interval // of the distribution random; they begin at 0 whatever the seat
	// ring has the owner of each place, as an index into targets, of the others;
	// nil if nobody has any.
	ring    []uint16
	targets []netip.AddrPort
}

// An interval is the slots of one backend: start up to, but not with, end.
type interval struct {
	start, end uint32
	addr       netip.AddrPort
	name       string
}

func (m *weightMap) same(o *weightMap) bool {
	return m.seat == o.seat && slices.Equal(m.intervals, o.intervals) && m.sameRing(o)
}

// intervals appends the layout of a family's slots to dst: from 0 upward in the
// order of the backends. A backend without slots has no interval.
func intervals(dst []interval, s *core.ServicePlan, v6 bool) []interval {
	var at uint32
	for i := range s.Backends {
		b := &s.Backends[i]
		if b.Slots == 0 || b.Addr.Addr().Is6() != v6 {
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
func (b *batch) weights(was, m *weightMap, unknown bool) {
	if !m.set.interval() {
		b.ringWeights(was, m, unknown)
		return
	}
	from, to := was.intervals, m.intervals
	if m.seat.shared() {
		b.weightsDelta(m, from, to)
		return
	}
	dels := diffIntervals(from, to, nil, nil)
	switch {
	case unknown:
		b.flushElements(m.set.name)
	case dels == 0 && len(from) == len(to):
		return
	case len(from) == 0:
	case len(from) <= flushUpTo || 2*dels > len(from):
		b.flushElements(m.set.name)
		b.changed += len(from)
	default:
		b.weightsDelta(m, from, to)
		return
	}
	if len(to) == 0 {
		return
	}
	b.intervals(m, to, b.addElements)
}

func (b *batch) intervals(m *weightMap, list []interval, begin func(string) elementList) {
	if len(list) == 0 {
		return
	}
	l := begin(m.set.name)
	for _, iv := range list {
		l.interval(m, iv)
	}
	l.close()
}

// weightsDelta replaces whole intervals. Moving only a boundary does not do:
// the kernel sees the moment in which two intervals overlap, and refuses.
func (b *batch) weightsDelta(m *weightMap, from, to []interval) {
	var gone, come []interval
	diffIntervals(from, to, &gone, &come)
	b.intervals(m, gone, b.delElements)
	b.intervals(m, come, b.addElements)
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

// interval adds or deletes the two elements that an interval is made of. Both
// have to go together: a start alone would leave its end behind. It is elem for
// the path that has to be fast.
func (l *elementList) interval(m *weightMap, iv interval) {
	b := l.b
	var key [4]byte
	binary.BigEndian.PutUint32(key[:], m.seat.base+iv.start)
	at := l.element(key[:])
	if l.adds() {
		var val [20]byte
		b.data(unix.NFTA_SET_ELEM_DATA, appendTarget(val[:0], m.set.data, iv.addr))
		b.commentAttr(unix.NFTA_SET_ELEM_USERDATA, m.comment(iv))
	}
	b.unnest(at)

	binary.BigEndian.PutUint32(key[:], m.seat.base+iv.end)
	at = l.element(key[:])
	b.u32(unix.NFTA_SET_ELEM_FLAGS, unix.NFT_SET_ELEM_INTERVAL_END)
	b.unnest(at)
	b.changed++
}

// comment names the backend of an interval, and the service where others share the
// map.
func (m *weightMap) comment(iv interval) string {
	if m.service == "" {
		return iv.name
	}
	return m.service + "/" + iv.name
}

// part is what one service has in a shared map that was read whole.
func (m *weightMap) part(at seat, service string) weightMap {
	out := weightMap{set: m.set, seat: at, service: service}
	for _, iv := range m.intervals {
		if iv.start < at.base || iv.start >= at.base+core.Slots {
			continue
		}
		_, name, _ := strings.Cut(iv.name, "/")
		out.intervals = append(out.intervals, interval{iv.start - at.base, iv.end - at.base, iv.addr, name})
	}
	return out
}

// appendTarget is the value of a weights map: an address and a port, or one of
// them alone.
func appendTarget(b []byte, data tuple, a netip.AddrPort) []byte {
	switch {
	case len(data) == 2:
		return appendEndpoint(b, a)
	case data[0] == tPort:
		return binary.BigEndian.AppendUint16(b, a.Port())
	}
	return appendAddr(b, a.Addr())
}
