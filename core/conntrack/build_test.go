// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"encoding/binary"
	"net/netip"

	"github.com/steelyard-lb/steelyard/core"
)

// A conn is a connection as the kernel would describe it.
type conn struct {
	id       uint32
	protocol core.Protocol
	client   netip.AddrPort
	vip      netip.AddrPort
	backend  netip.AddrPort
}

func (c conn) flow() Flow { return Flow{c.protocol, c.vip, c.backend} }

// The messages, as the kernel writes them.
func (c conn) created() []byte             { return c.message(msgCTNew, nlmFCreate, 0) }
func (c conn) updated(state uint8) []byte  { return c.message(msgCTNew, 0, state) }
func (c conn) destroyed(last uint8) []byte { return c.message(msgCTDelete, 0, last) }
func (c conn) listed(state uint8) []byte   { return c.message(msgCTNew, nlmFMulti, state) }

func (c conn) message(typ, flags uint16, state uint8) []byte {
	b := make([]byte, nlmsghdrLen+nfgenmsgLen)
	b = append(b, nest(ctaTupleOrig, tupleAttrs(c.protocol, c.client, c.vip))...)
	b = append(b, nest(ctaTupleRply, tupleAttrs(c.protocol, c.backend, c.client))...)
	b = appendUint32Attr(b, ctaID, c.id)
	if state != 0 {
		b = append(b, nest(ctaProtoinfo, nest(ctaTCP, leaf(ctaTCPState, []byte{state})))...)
	}
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], subsysCT<<8|typ)
	binary.NativeEndian.PutUint16(b[6:], flags)
	return b
}

func tupleAttrs(p core.Protocol, src, dst netip.AddrPort) []byte {
	srcType, dstType := uint16(ctaIPv4Src), uint16(ctaIPv4Dst)
	if src.Addr().Is6() {
		srcType, dstType = ctaIPv6Src, ctaIPv6Dst
	}
	ip := append(leaf(srcType, src.Addr().AsSlice()), leaf(dstType, dst.Addr().AsSlice())...)
	proto := leaf(ctaProtoNum, []byte{p.Number()})
	proto = append(proto, leaf(ctaSrcPort, binary.BigEndian.AppendUint16(nil, src.Port()))...)
	proto = append(proto, leaf(ctaDstPort, binary.BigEndian.AppendUint16(nil, dst.Port()))...)
	return append(nest(ctaTupleIP, ip), nest(ctaTupleProto, proto)...)
}

func leaf(typ uint16, data []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(nlattrLen+len(data)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = append(b, data...)
	return append(b, make([]byte, align(len(data))-len(data))...)
}

func nest(typ uint16, data []byte) []byte { return leaf(typ|0x8000, data) }
