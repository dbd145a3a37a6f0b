// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"encoding/binary"

	"github.com/steelyard-lb/steelyard/core/nlmsg"
)

// A tuple is one direction of a connection.
type tuple struct {
	src, dst         [16]byte
	srcPort, dstPort uint16
	protocol         uint8
}

// readTuple reports false if an address or a port is missing, as for protocols
// without ports.
func readTuple(b []byte) (t tuple, ok bool) {
	var seen uint8
	for len(b) > 0 {
		typ, data, rest, _ := nlmsg.Attr(b)
		switch typ {
		case ctaTupleIP:
			for len(data) > 0 {
				typ, addr, more, _ := nlmsg.Attr(data)
				seen |= t.setAddr(typ, addr)
				data = more
			}
		case ctaTupleProto:
			for len(data) > 0 {
				typ, v, more, _ := nlmsg.Attr(data)
				seen |= t.setProto(typ, v)
				data = more
			}
		}
		b = rest
	}
	return t, seen == sawAll
}

const (
	sawSrc = 1 << iota
	sawDst
	sawSrcPort
	sawDstPort
	sawProtocol
	sawAll = sawSrc | sawDst | sawSrcPort | sawDstPort | sawProtocol
)

func (t *tuple) setAddr(typ uint16, addr []byte) uint8 {
	to, saw := &t.src, uint8(sawSrc)
	if typ == ctaIPv4Dst || typ == ctaIPv6Dst {
		to, saw = &t.dst, sawDst
	}
	switch {
	case (typ == ctaIPv4Src || typ == ctaIPv4Dst) && len(addr) == 4:
		to[10], to[11] = 0xff, 0xff // IPv4-mapped
		copy(to[12:], addr)
	case (typ == ctaIPv6Src || typ == ctaIPv6Dst) && len(addr) == 16:
		copy(to[:], addr)
	default:
		return 0
	}
	return saw
}

func (t *tuple) setProto(typ uint16, v []byte) uint8 {
	switch {
	case typ == ctaProtoNum && len(v) == 1:
		t.protocol = v[0]
		return sawProtocol
	case typ == ctaSrcPort && len(v) == 2:
		t.srcPort = binary.BigEndian.Uint16(v)
		return sawSrcPort
	case typ == ctaDstPort && len(v) == 2:
		t.dstPort = binary.BigEndian.Uint16(v)
		return sawDstPort
	}
	return 0
}

// flow is the flow that the connection belongs to.
func (m *message) flow() (flowKey, bool) {
	orig, ok1 := readTuple(m.orig)
	reply, ok2 := readTuple(m.reply)
	return flowKey{
		vip: orig.dst, backend: reply.src,
		vipPort: orig.dstPort, backendPort: reply.srcPort,
		protocol: orig.protocol,
	}, ok1 && ok2 && orig.protocol == reply.protocol
}

// A connID names a connection for as long as it is in the table. The kernel's
// id is a hash of 32 bits, so that among a million connections a hundred would
// share theirs; a hash of the original direction goes beside it.
type connID uint64

func (m *message) conn() connID {
	h := uint64(14695981039346656037) // FNV-1a, by words
	for b := m.orig; len(b) >= 4; b = b[4:] {
		h = (h ^ uint64(binary.NativeEndian.Uint32(b))) * 1099511628211
	}
	return connID(m.id)<<32 | connID(h>>32)
}
