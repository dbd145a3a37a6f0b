// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"encoding/binary"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// A dealMap is one of the maps of a deal: whom each position leads to.
type dealMap struct {
	kind  string
	by    dealing
	at    []uint16
	names []owner
}

func (m *dealMap) value(p int) string {
	if m == nil || p >= len(m.at) {
		return ""
	}
	return m.names[m.at[p]].value
}

// maps are those of a deal; of a nil deal, which has none, they are empty.
func (d *deal) maps() [3]*dealMap {
	if d == nil {
		return [3]*dealMap{}
	}
	return [3]*dealMap{{kindPos, d.by, d.stable, d.owners}, {kindNext, d.by, d.next, d.owners}, {kindOld, d.oldBy, d.old, d.owners}}
}

// fillDeals makes the maps of a service's deals what they should be.
func (b *batch) fillDeals(d *diff, from *fragment) {
	for i, now := range d.c.to.deals {
		was := from.deals[i].maps()
		for k, m := range now.maps() {
			if m == nil {
				continue
			}
			s := d.c.to.set(nameOf(m.kind+six(i == 1), d.c.to.name))
			if d.setComes(s) {
				was[k] = nil
			}
			b.dealMap(s, was[k], m, d.c.unknown)
		}
	}
}

// dealMap makes a map go from one state to another: the positions that differ, or
// all of them where that is most.
func (b *batch) dealMap(s *set, was, now *dealMap, unknown bool) {
	var gone, come []int
	kept := 0
	for p := range now.at {
		from, to := was.value(p), now.value(p)
		if from == to && !unknown {
			kept++
			continue
		}
		if from != "" {
			gone = append(gone, p)
		}
		if to != "" {
			come = append(come, p)
		}
	}
	if unknown || len(gone) > 0 && len(come) == 0 && kept == 0 {
		b.flushElements(s.name)
		gone = nil
	}
	b.dealElements(s, was, gone, b.delElements)
	b.dealElements(s, now, come, b.addElements)
}

func (b *batch) dealElements(s *set, m *dealMap, list []int, begin func(string) elementList) {
	if len(list) == 0 {
		return
	}
	l := begin(s.name)
	for _, p := range list {
		at := l.element(hostUint32(uint32(p)))
		if l.adds() {
			b.data(unix.NFTA_SET_ELEM_DATA, []byte(m.value(p)))
		}
		b.unnest(at)
		b.changed++
	}
	l.close()
}

// list is the map as nft lists it.
func (m *dealMap) list(s *set) string {
	var w strings.Builder
	w.WriteString(s.header())
	var texts []string
	for p := range m.at {
		if v := m.value(p); v != "" {
			texts = append(texts, fmt.Sprintf("%d : %s", p, s.data.text([]byte(v), nil)))
		}
	}
	renderElements(&w, texts, 5)
	return w.String()
}

// dealMapOf is the map behind a set of the fragment; nil for other sets.
func (f *fragment) dealMapOf(s *set) *dealMap {
	for i, d := range f.deals {
		for _, m := range d.maps() {
			if m != nil && s.name == nameOf(m.kind+six(i == 1), f.name) {
				return m
			}
		}
	}
	return nil
}

// isDealMap reports whether a set of that name is one of a deal's maps.
func isDealMap(name string) bool {
	kind, _, ok := strings.Cut(name, "-")
	switch strings.TrimSuffix(kind, "6") {
	case kindPos, kindNext, kindOld:
		return ok
	}
	return false
}

// readDealMap reads a map back, by the values that owners have. One that no owner
// has is nobody's, as is a position without an element; stray tells of the former.
func (s *socket) readDealMap(table, set string, size uint32, owners []owner) (at []uint16, stray bool, err error) {
	at = make([]uint16, size)
	index := make(map[string]uint16, len(owners))
	for i := len(owners) - 1; i > nobody; i-- {
		index[owners[i].value] = uint16(i)
	}
	err = s.elements(table, set, func() { clear(at) }, func(e element) error {
		if len(e.key) != 4 || binary.NativeEndian.Uint32(e.key) >= size {
			return fmt.Errorf("position %x of %d", e.key, size)
		}
		i := index[string(e.data)]
		at[binary.NativeEndian.Uint32(e.key)] = i
		stray = stray || i == nobody
		return nil
	})
	return at, stray, err
}
