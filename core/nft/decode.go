// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core/nlmsg"
)

// An element is one element of a set as the kernel tells it.
type element struct {
	elem
	end     bool          // ends an interval
	expires time.Duration // from now; 0 for never
}

// parseElements calls each for the elements of a message of a set's dump. Its
// bytes are valid during the call only.
func parseElements(body []byte, each func(element) error) error {
	list := nlmsg.Attrs{Rest: nlmsg.Find(body, unix.NFTA_SET_ELEM_LIST_ELEMENTS)}
	for list.Next() {
		var e element
		a := nlmsg.Attrs{Rest: list.Value}
		for a.Next() {
			switch a.Type {
			case unix.NFTA_SET_ELEM_KEY:
				e.key = nlmsg.Find(a.Value, unix.NFTA_DATA_VALUE)
			case nftaSetElemKeyEnd:
				e.last = nlmsg.Find(a.Value, unix.NFTA_DATA_VALUE)
			case unix.NFTA_SET_ELEM_DATA:
				e.data = nlmsg.Find(a.Value, unix.NFTA_DATA_VALUE)
				if v := nlmsg.Find(a.Value, unix.NFTA_DATA_VERDICT); v != nil {
					e.verdict = parseVerdict(v)
				}
			case unix.NFTA_SET_ELEM_EXPIRATION:
				e.expires = time.Duration(nlmsg.Uint64(a.Value)) * time.Millisecond
			case unix.NFTA_SET_ELEM_FLAGS:
				e.end = nlmsg.Uint32(a.Value)&unix.NFT_SET_ELEM_INTERVAL_END != 0
			case unix.NFTA_SET_ELEM_USERDATA:
				e.comment = commentOf(a.Value)
			case unix.NFTA_SET_ELEM_EXPR:
				e.counter = parseCounter(nlmsg.Find(a.Value, unix.NFTA_EXPR_DATA))
			case nftaSetElemExpressions:
				first := nlmsg.Find(a.Value, unix.NFTA_LIST_ELEM)
				e.counter = parseCounter(nlmsg.Find(first, unix.NFTA_EXPR_DATA))
			}
		}
		if a.Err != nil {
			return fmt.Errorf("read element: %w", a.Err)
		}
		if err := each(e); err != nil {
			return err
		}
	}
	return list.Err
}

func parseCounter(b []byte) counter {
	return counter{
		packets: nlmsg.Uint64(nlmsg.Find(b, unix.NFTA_COUNTER_PACKETS)),
		bytes:   nlmsg.Uint64(nlmsg.Find(b, unix.NFTA_COUNTER_BYTES)),
	}
}

// parseSet reads the definition of a set.
func parseSet(body []byte) (*set, error) {
	s := set{name: nlmsg.Text(nlmsg.Find(body, unix.NFTA_SET_NAME))}
	s.flags = nlmsg.Uint32(nlmsg.Find(body, unix.NFTA_SET_FLAGS))
	s.keyType, s.keyLen = nlmsg.Uint32(nlmsg.Find(body, unix.NFTA_SET_KEY_TYPE)), nlmsg.Uint32(nlmsg.Find(body, unix.NFTA_SET_KEY_LEN))
	s.dataType, s.dataLen = nlmsg.Uint32(nlmsg.Find(body, unix.NFTA_SET_DATA_TYPE)), nlmsg.Uint32(nlmsg.Find(body, unix.NFTA_SET_DATA_LEN))
	if s.dataType == dataVerdict {
		s.dataLen = 0 // the kernel tells the size of its own struct
	}
	s.key, s.data = tupleOf(s.keyType, s.keyLen), tupleOf(s.dataType, s.dataLen)
	s.size = nlmsg.Uint32(nlmsg.Find(nlmsg.Find(body, unix.NFTA_SET_DESC), unix.NFTA_SET_DESC_SIZE))
	s.userdata = string(nlmsg.Find(body, unix.NFTA_SET_USERDATA))
	s.typeof = typeofOf(s.userdata)
	s.timeout = time.Duration(nlmsg.Uint64(nlmsg.Find(body, unix.NFTA_SET_TIMEOUT))) * time.Millisecond
	expr := nlmsg.Find(body, nftaSetExpr)
	if list := nlmsg.Find(body, nftaSetExprs); list != nil {
		expr = nlmsg.Find(list, unix.NFTA_LIST_ELEM)
	}
	s.counter = nlmsg.Text(nlmsg.Find(expr, unix.NFTA_EXPR_NAME)) == "counter"
	s.meter = parseMeter(expr)
	if s.name == "" || s.keyLen == 0 || s.keyLen > 64 {
		return nil, fmt.Errorf("set %q with a key of %d bytes", s.name, s.keyLen)
	}
	return &s, nil
}

// A spanReader puts the elements of a set together, whose intervals may come in
// any order, the starts and the ends apart.
type spanReader struct {
	spans  bool // an interval is two elements
	starts []elem
	ends   [][]byte
}

func (r *spanReader) reset() { r.starts, r.ends = r.starts[:0], r.ends[:0] }

// add keeps an element.
func (r *spanReader) add(e element) error {
	e.key, e.last, e.data = bytes.Clone(e.key), bytes.Clone(e.last), bytes.Clone(e.data)
	if r.spans && e.end && isZero(e.key) {
		return nil // what nft puts before the first interval
	}
	if r.spans && e.end {
		if isZero(e.key) {
			return nil // nft marks what is before the first interval
		}
		r.ends = append(r.ends, e.key)
		return nil
	}
	r.starts = append(r.starts, e.elem)
	return nil
}

// elems are the elements; each interval has its last key.
func (r *spanReader) elems() ([]elem, error) {
	if !r.spans {
		return r.starts, nil
	}
	slices.SortFunc(r.starts, func(a, b elem) int { return bytes.Compare(a.key, b.key) })
	slices.SortFunc(r.ends, bytes.Compare)
	for i := range r.starts {
		e := &r.starts[i]
		switch {
		case i < len(r.ends):
			if bytes.Compare(r.ends[i], e.key) <= 0 {
				return nil, errors.New("intervals overlap or are empty")
			}
			e.last = before(r.ends[i])
		case i == len(r.starts)-1:
			e.last = bytes.Repeat([]byte{0xff}, len(e.key)) // up to the last key there is
		default:
			return nil, fmt.Errorf("%d intervals begin and %d end", len(r.starts), len(r.ends))
		}
	}
	if len(r.ends) > len(r.starts) {
		return nil, fmt.Errorf("%d intervals begin and %d end", len(r.starts), len(r.ends))
	}
	return r.starts, nil
}

// before is the key before v, which is not the first.
func before(v []byte) []byte {
	out := bytes.Clone(v)
	for i := len(out) - 1; i >= 0; i-- {
		out[i]--
		if out[i] != 0xff {
			break
		}
	}
	return out
}

// loopback is the address of the backends of a local service, which are ports of
// this node.
var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// parseTarget reads what appendTarget wrote, by its length.
func parseTarget(b []byte) (netip.AddrPort, error) {
	switch len(b) {
	case 2:
		return netip.AddrPortFrom(loopback, binary.BigEndian.Uint16(b)), nil
	case 4, 16:
		addr, _ := netip.AddrFromSlice(b)
		return netip.AddrPortFrom(addr, 0), nil
	case 8, 20:
		addr, _ := netip.AddrFromSlice(b[:len(b)-4])
		return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(b[len(b)-4:])), nil
	}
	return netip.AddrPort{}, fmt.Errorf("target of %d bytes", len(b))
}

// A weightsReader puts a weights map together from its elements, which come in any
// order, the starts and the ends of intervals apart.
type weightsReader struct {
	places int // of a table; 0 where the map has intervals
	starts []interval
	ends   []uint32
	// of a table
	owner   []uint16 // index into targets, and 1 more
	targets []netip.AddrPort
}

func (r *weightsReader) reset() {
	r.starts, r.ends, r.targets = r.starts[:0], r.ends[:0], r.targets[:0]
	r.owner = slices.Grow(r.owner[:0], r.places)[:r.places]
	clear(r.owner)
}

func (r *weightsReader) add(e element) error {
	if len(e.key) != 4 {
		return fmt.Errorf("slot of %d bytes: want 4", len(e.key))
	}
	slot := binary.BigEndian.Uint32(e.key)
	if e.end {
		r.ends = append(r.ends, slot)
		return nil
	}
	addr, err := parseTarget(e.data)
	if err != nil {
		return err
	}
	if r.places > 0 {
		return r.place(binary.NativeEndian.Uint32(e.key), addr)
	}
	r.starts = append(r.starts, interval{start: slot, addr: addr, name: e.comment})
	return nil
}

func (r *weightsReader) place(i uint32, a netip.AddrPort) error {
	if i >= uint32(r.places) {
		return fmt.Errorf("place %d of %d", i, r.places)
	}
	k := slices.Index(r.targets, a)
	if k < 0 {
		k = len(r.targets)
		r.targets = append(r.targets, a)
	}
	r.owner[i] = uint16(k + 1)
	return nil
}

// weights is the map that was read. A table is full or empty; an interval has a
// start and an end.
func (r *weightsReader) weights(s *set) (weightMap, error) {
	if r.places == 0 {
		ivs, err := r.intervals()
		return weightMap{set: s, intervals: ivs}, err
	}
	m := weightMap{set: s, targets: r.targets}
	if len(r.targets) == 0 {
		return m, nil
	}
	m.ring = make([]uint16, r.places)
	for i, k := range r.owner {
		if k == 0 {
			return m, fmt.Errorf("weights map: nobody has place %d", i)
		}
		m.ring[i] = k - 1
	}
	return m, nil
}

// intervals returns the map in the order of the slots. A start without an end,
// or an end without a start, is an error.
func (r *weightsReader) intervals() ([]interval, error) {
	if len(r.starts) != len(r.ends) {
		return nil, fmt.Errorf("weights map: %d intervals begin and %d end", len(r.starts), len(r.ends))
	}
	slices.SortFunc(r.starts, func(a, b interval) int { return cmp.Compare(a.start, b.start) })
	slices.Sort(r.ends)
	for i := range r.starts {
		iv := &r.starts[i]
		iv.end = r.ends[i]
		if iv.end <= iv.start || i > 0 && iv.start < r.starts[i-1].end {
			return nil, fmt.Errorf("weights map: slots %d to %d overlap or are empty", iv.start, iv.end)
		}
	}
	return r.starts, nil
}
