// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
	"golang.org/x/sys/unix"
)

// An element is one element of a set as the kernel tells it.
type element struct {
	key     []byte
	value   []byte // of a map of data
	goTo    string // of a verdict map: the chain, empty for any verdict but goto
	end     bool   // ends an interval
	comment string
	counter counter
}

// parseElements calls each for the elements of a message of a set's dump.
func parseElements(body []byte, each func(element) error) error {
	list := attrs{rest: find(body, unix.NFTA_SET_ELEM_LIST_ELEMENTS)}
	for list.next() {
		var e element
		a := attrs{rest: list.val}
		for a.next() {
			switch a.typ {
			case unix.NFTA_SET_ELEM_KEY:
				e.key = find(a.val, unix.NFTA_DATA_VALUE)
			case unix.NFTA_SET_ELEM_DATA:
				e.value = find(a.val, unix.NFTA_DATA_VALUE)
				e.goTo = parseGoto(find(a.val, unix.NFTA_DATA_VERDICT))
			case unix.NFTA_SET_ELEM_FLAGS:
				e.end = be32(a.val)&unix.NFT_SET_ELEM_INTERVAL_END != 0
			case unix.NFTA_SET_ELEM_USERDATA:
				e.comment = commentOf(a.val)
			case unix.NFTA_SET_ELEM_EXPR:
				e.counter = parseCounter(find(a.val, unix.NFTA_EXPR_DATA))
			case nftaSetElemExpressions:
				first := find(a.val, unix.NFTA_LIST_ELEM)
				e.counter = parseCounter(find(first, unix.NFTA_EXPR_DATA))
			}
		}
		if a.err != nil {
			return fmt.Errorf("read element: %w", a.err)
		}
		if err := each(e); err != nil {
			return err
		}
	}
	return list.err
}

func parseGoto(verdict []byte) string {
	if be32(find(verdict, unix.NFTA_VERDICT_CODE)) != verdictGoto {
		return ""
	}
	return text(find(verdict, unix.NFTA_VERDICT_CHAIN))
}

func parseCounter(b []byte) counter {
	return counter{
		packets: be64(find(b, unix.NFTA_COUNTER_PACKETS)),
		bytes:   be64(find(b, unix.NFTA_COUNTER_BYTES)),
	}
}

// parseEndpoint reads what appendEndpoint wrote, and returns what is after it.
func parseEndpoint(b []byte, v6 bool) (netip.AddrPort, []byte, error) {
	_, size := addrType(v6)
	if len(b) < int(size)+4 {
		return netip.AddrPort{}, nil, fmt.Errorf("address and port of %d bytes: %w", len(b), errShort)
	}
	addr, _ := netip.AddrFromSlice(b[:size])
	return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(b[size:])), b[size+4:], nil
}

// parseServiceKey reads what appendServiceKey wrote, and returns what is after it.
func parseServiceKey(b []byte, v6 bool) (serviceKey, []byte, error) {
	_, size := addrType(v6)
	if len(b) < int(size)+8 {
		return serviceKey{}, nil, fmt.Errorf("service key of %d bytes: %w", len(b), errShort)
	}
	addr, _ := netip.AddrFromSlice(b[:size])
	k := serviceKey{vip: addr, port: binary.BigEndian.Uint16(b[size+4:])}
	switch b[size] {
	case core.TCP.Number():
		k.protocol = core.TCP
	case core.UDP.Number():
		k.protocol = core.UDP
	default:
		return serviceKey{}, nil, fmt.Errorf("service key: protocol %d: want tcp or udp", b[size])
	}
	return k, b[size+8:], nil
}

// parseServiceComment reads what serviceComment wrote into s.
func parseServiceComment(comment string, s *core.ServicePlan) error {
	f := strings.Split(comment, " ")
	if len(f) != 3 {
		return fmt.Errorf("comment %q: want a service's name, forwarding and answer", comment)
	}
	s.Name, s.Forwarding, s.OnEmpty = f[0], core.Forwarding(f[1]), core.OnEmpty(f[2])
	return nil
}

// An intervalReader puts a weights map together from its elements, which come
// in any order, the starts and the ends of the intervals apart.
type intervalReader struct {
	v6     bool
	starts []interval
	ends   []uint32
}

func (r *intervalReader) reset() { r.starts, r.ends = r.starts[:0], r.ends[:0] }

func (r *intervalReader) add(e element) error {
	if len(e.key) != 4 {
		return fmt.Errorf("slot of %d bytes: want 4", len(e.key))
	}
	slot := binary.BigEndian.Uint32(e.key)
	if e.end {
		r.ends = append(r.ends, slot)
		return nil
	}
	addr, _, err := parseEndpoint(e.value, r.v6)
	if err != nil {
		return err
	}
	r.starts = append(r.starts, interval{start: slot, addr: addr, name: e.comment})
	return nil
}

// intervals returns the map in the order of the slots. A start without an end,
// or an end without a start, is an error.
func (r *intervalReader) intervals() ([]interval, error) {
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
