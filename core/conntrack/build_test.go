// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/nlmsg"
)

// A conn is a connection as the kernel would describe it.
type conn struct {
	id       uint32
	protocol core.Protocol
	client   netip.AddrPort
	vip      netip.AddrPort
	backend  netip.AddrPort
}

// watched is the backend of the connection, which is known under an id.
func (c conn) watched(id core.BackendID) Watched {
	return Watched{ID: id, Frontends: []core.Frontend{core.ExactFrontend(c.vip, c.protocol)}, Addrs: []netip.AddrPort{c.backend}}
}

// The messages, as the kernel writes them.
func (c conn) created() []byte             { return c.message(msgCTNew, unix.NLM_F_CREATE, 0) }
func (c conn) updated(state uint8) []byte  { return c.message(msgCTNew, 0, state) }
func (c conn) destroyed(last uint8) []byte { return c.message(msgCTDelete, 0, last) }
func (c conn) listed(state uint8) []byte   { return c.message(msgCTNew, unix.NLM_F_MULTI, state) }

func (c conn) message(typ, flags uint16, state uint8) []byte {
	b := make([]byte, nlmsg.HeaderLen+nlmsg.NfgenmsgLen)
	b = append(b, nest(ctaTupleOrig, tupleAttrs(c.protocol.Number(), c.client, c.vip))...)
	b = append(b, nest(ctaTupleRply, tupleAttrs(c.protocol.Number(), c.backend, c.client))...)
	b = appendUint32Attr(b, ctaID, c.id)
	b = appendUint32Attr(b, ctaStatus, statusDstNAT)
	if state != 0 {
		b = append(b, nest(ctaProtoinfo, nest(ctaTCP, leaf(ctaTCPState, []byte{state})))...)
	}
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], subsysCT<<8|typ)
	binary.NativeEndian.PutUint16(b[6:], flags)
	return b
}

func counts(t *table) map[core.BackendID]core.FlowCount { return t.index.byID(t.totals()) }

// creation is the request for an entry whose destination is rewritten.
func creation(protocol uint8, client, vip, backend netip.AddrPort, timeout uint32) []byte {
	minIP, maxIP := uint16(ctaNATv4Min), uint16(ctaNATv4Max)
	if backend.Addr().Is6() {
		minIP, maxIP = ctaNATv6Min, ctaNATv6Max
	}
	port := binary.BigEndian.AppendUint16(nil, backend.Port())
	nat := slices.Concat(leaf(minIP, backend.Addr().AsSlice()), leaf(maxIP, backend.Addr().AsSlice()),
		nest(ctaNATProto, slices.Concat(leaf(ctaNATPortMin, port), leaf(ctaNATPortMax, port))))
	family := uint8(unix.AF_INET)
	if vip.Addr().Is6() {
		family = unix.AF_INET6
	}
	attrs := slices.Concat(
		nest(ctaTupleOrig, tupleAttrs(protocol, client, vip)),
		nest(ctaTupleRply, tupleAttrs(protocol, vip, client)), // before the rewriting
		nest(ctaNATDst, nat),
		appendUint32Attr(nil, ctaTimeout, timeout))
	if protocol == 6 {
		attrs = append(attrs, nest(ctaProtoinfo, nest(ctaTCP, leaf(ctaTCPState, []byte{tcpEstablished})))...)
	}
	return request(msgCTNew, unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL, family, attrs)
}

func tupleAttrs(protocol uint8, src, dst netip.AddrPort) []byte {
	srcType, dstType := uint16(ctaIPv4Src), uint16(ctaIPv4Dst)
	if src.Addr().Is6() {
		srcType, dstType = ctaIPv6Src, ctaIPv6Dst
	}
	ip := slices.Concat(leaf(srcType, src.Addr().AsSlice()), leaf(dstType, dst.Addr().AsSlice()))
	proto := slices.Concat(leaf(ctaProtoNum, []byte{protocol}),
		leaf(ctaSrcPort, binary.BigEndian.AppendUint16(nil, src.Port())),
		leaf(ctaDstPort, binary.BigEndian.AppendUint16(nil, dst.Port())))
	return slices.Concat(nest(ctaTupleIP, ip), nest(ctaTupleProto, proto))
}

// The attributes of nfnetlink_conntrack.h that only an entry of our own has.
const (
	ctaNATDst     = 13
	ctaNATv4Min   = 1
	ctaNATv4Max   = 2
	ctaNATProto   = 3
	ctaNATv6Min   = 4
	ctaNATv6Max   = 5
	ctaNATPortMin = 1
	ctaNATPortMax = 2
)
