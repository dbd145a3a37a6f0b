// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/steelyard-lb/steelyard/core/nlmsg"
)

// A dtype is one of nft's data types: what a part of a key or of a value is.
// Every part fills whole 32-bit registers, with zeroes after it.
type dtype struct {
	name string
	id   uint32 // in nft's datatype.h, by which the kernel only tells types apart
	size int    // bytes that count
	text func([]byte) string
}

// typeBits is how many bits each type of a concatenation takes in its id.
const typeBits = 6

var (
	tInteger = &dtype{"integer", 4, 4, decimal}
	tIPv4    = &dtype{"ipv4_addr", 7, 4, addrString}
	tIPv6    = &dtype{"ipv6_addr", 8, 16, addrString}
	tProto   = &dtype{"inet_proto", 12, 1, protoString}
	tPort    = &dtype{"inet_service", 13, 2, func(b []byte) string { return strconv.Itoa(int(binary.BigEndian.Uint16(b))) }}
)

// addressTypes are those of keys with ranges in each part, and of weights.
var addressTypes = []*dtype{tInteger, tIPv4, tIPv6, tProto, tPort}

func tAddr(v6 bool) *dtype {
	if v6 {
		return tIPv6
	}
	return tIPv4
}

func decimal(b []byte) string { return strconv.FormatUint(uint64(binary.BigEndian.Uint32(b)), 10) }

func addrString(b []byte) string {
	a, _ := netip.AddrFromSlice(b)
	return a.String()
}

func protoString(b []byte) string {
	switch b[0] {
	case 6:
		return "tcp"
	case 17:
		return "udp"
	case 132:
		return "sctp"
	}
	return strconv.Itoa(int(b[0]))
}

// padded is the size in registers, in bytes.
func (t *dtype) padded() int { return nlmsg.Align(t.size) }

// A tuple is the types of a key or a value, in order.
type tuple []*dtype

// id is the type of the concatenation, as nft numbers it.
func (t tuple) id() (id uint32) {
	for _, d := range t {
		id = id<<typeBits | d.id
	}
	return id
}

// tupleOf is the tuple with that id; nil if it is of no types of this package.
func tupleOf(id, size uint32) (t tuple) {
	for ; id != 0; id >>= typeBits {
		i := slices.IndexFunc(addressTypes, func(d *dtype) bool { return d.id == id&(1<<typeBits-1) })
		if i < 0 {
			return nil
		}
		t = append(t, addressTypes[i])
	}
	slices.Reverse(t)
	if t.size() != int(size) {
		return nil
	}
	return t
}

// size is the bytes of all parts with their padding; one part alone has none.
func (t tuple) size() (n int) {
	if len(t) == 1 {
		return t[0].size
	}
	for _, d := range t {
		n += d.padded()
	}
	return n
}

func (t tuple) String() string {
	names := make([]string, len(t))
	for i, d := range t {
		names[i] = d.name
	}
	return strings.Join(names, " . ")
}

// text is a key or value as nft lists it. With last, which closes an interval,
// each part whose two ends differ is a range or a prefix.
func (t tuple) text(v, last []byte) string {
	parts := make([]string, len(t))
	at := 0
	for i, d := range t {
		parts[i] = d.text(v[at : at+d.size])
		if last != nil {
			parts[i] = d.span(v[at:at+d.size], last[at:at+d.size])
		}
		at += d.padded()
	}
	return strings.Join(parts, " . ")
}

// span is one part of an interval.
func (d *dtype) span(first, last []byte) string {
	a, b := d.text(first), d.text(last)
	switch {
	case a == b:
		return a
	case d == tIPv4 || d == tIPv6:
		if p, ok := prefixOf(first, last); ok {
			return p.String()
		}
	}
	return a + "-" + b
}

// prefixOf is the prefix that goes from first to last, if there is one.
func prefixOf(first, last []byte) (netip.Prefix, bool) {
	a, _ := netip.AddrFromSlice(first)
	b, _ := netip.AddrFromSlice(last)
	for bits := range a.BitLen() + 1 {
		if p := netip.PrefixFrom(a, bits); p.Masked().Addr() == a && lastAddr(p) == b {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// lastAddr is the last address of a prefix.
func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := range b {
		if from := p.Bits() - 8*i; from <= 0 {
			b[i] = 0xff
		} else if from < 8 {
			b[i] |= 0xff >> from
		}
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// order is v in the order by which nft sorts a listing: it reads the parts,
// without their padding, as one number whose last byte counts most.
func (t tuple) order(v []byte) []byte {
	out := make([]byte, 0, len(v))
	at := 0
	for _, d := range t {
		out = append(out, v[at:at+d.size]...)
		at += d.padded()
	}
	for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return out
}
