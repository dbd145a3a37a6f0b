// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core/nlmsg"
)

// A filter says which connections the kernel is to list: those whose destination
// was rewritten and of which all that is not zero holds. The zero filter is all
// of the former. It only spares us the rest: kernels before 5.8 ignore it, all
// ignore the ports of SCTP, and what comes is always compared anew.
type filter struct {
	protocol    uint8 // zero only in the zero filter
	v4          bool
	vip         [16]byte // original destination
	vipPort     uint16
	backend     [16]byte // source of the answers
	backendPort uint16
}

// The bits of CTA_FILTER_ORIG_FLAGS and CTA_FILTER_REPLY_FLAGS
// (net/netfilter/nf_internals.h).
const (
	ctaFilterOrig  = 1
	ctaFilterReply = 2

	filterSrc      = 1 << 0
	filterDst      = 1 << 1
	filterProtocol = 1 << 3
	filterSrcPort  = 1 << 4
	filterDstPort  = 1 << 5
)

// filter is the narrowest one that lets all connections of the rule through. It
// has no IPv6 addresses: kernels up to 6.18 at least compare them the wrong way
// round, and list what is unlike the filter.
func (r *rule) filter() filter {
	f := filter{protocol: r.protocol, v4: r.v4()}
	if f.v4 {
		f.backend = r.backend
		if r.single() {
			f.vip = r.vip
		}
	}
	f.backendPort = r.port
	if r.first == r.last {
		f.vipPort, f.backendPort = r.first, r.backendPort()
	}
	return f
}

// attrs writes the filter as the kernel reads it. A kernel before 5.17 ignores
// the status, one before 5.8 the rest: then more comes than was asked for.
func (f filter) attrs() []byte {
	b := appendUint32Attr(nil, ctaStatus, statusDstNAT)
	b = appendUint32Attr(b, ctaStatMask, statusDstNAT)
	if f.protocol == 0 {
		return b
	}
	orig, origFlags := f.end(f.vip, ctaIPv4Dst, filterDst, f.vipPort, ctaDstPort, filterDstPort)
	reply, replyFlags := f.end(f.backend, ctaIPv4Src, filterSrc, f.backendPort, ctaSrcPort, filterSrcPort)
	// In the byte order of this machine, unlike all other numbers here.
	flags := leaf(ctaFilterOrig, binary.NativeEndian.AppendUint32(nil, origFlags))
	flags = append(flags, leaf(ctaFilterReply, binary.NativeEndian.AppendUint32(nil, replyFlags))...)
	return slices.Concat(b, nest(ctaTupleOrig, orig), nest(ctaTupleRply, reply), nest(ctaFilter, flags))
}

// end writes one end of one direction and says which parts are there.
func (f filter) end(addr [16]byte, addrType uint16, addrFlag uint32, port, portType uint16, portFlag uint32) (attrs []byte, flags uint32) {
	flags = filterProtocol
	if addr != [16]byte{} {
		flags |= addrFlag
		attrs = nest(ctaTupleIP, leaf(addrType, addr[12:]))
	}
	proto := leaf(ctaProtoNum, []byte{f.protocol})
	if port != 0 {
		flags |= portFlag
		proto = append(proto, leaf(portType, binary.BigEndian.AppendUint16(nil, port))...)
	}
	return append(attrs, nest(ctaTupleProto, proto)...), flags
}

func (f filter) family() uint8 {
	switch {
	case f.protocol == 0:
		return unix.AF_UNSPEC
	case f.v4:
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func (f filter) dump() []byte {
	return request(msgCTGet, unix.NLM_F_DUMP, f.family(), f.attrs())
}

// appendDeletion deletes the connection of a message, by the addresses and ports of its
// answers: the backend is one of them, so that it cannot be the next one of a client that
// came back from the same port and was sent elsewhere. The kernel compares the id, too, but
// that is made of the client's addresses and ports and of the entry's place in memory, and
// the next one is likely to get the place of the one before it.
func appendDeletion(b []byte, m *message) []byte {
	b, start := begin(b, msgCTDelete, 0, m.family)
	b = append(b, nest(ctaTupleRply, m.reply)...)
	return nlmsg.End(appendUint32Attr(b, ctaID, m.id), start)
}

func request(typ, flags uint16, family uint8, attrs []byte) []byte {
	b, start := begin(nil, typ, flags, family)
	return nlmsg.End(append(b, attrs...), start)
}

// begin begins a request to conntrack.
func begin(b []byte, typ, flags uint16, family uint8) (buf []byte, start int) {
	b, start = nlmsg.Begin(b, subsysCT<<8|typ, flags, 0)
	return append(b, family, unix.NFNETLINK_V0, 0, 0), start
}

func leaf(typ uint16, data []byte) []byte { return nlmsg.AppendAttr(nil, typ, data) }

func nest(typ uint16, data []byte) []byte { return leaf(typ|unix.NLA_F_NESTED, data) }

func appendUint32Attr(b []byte, typ uint16, v uint32) []byte {
	return nlmsg.AppendAttr(b, typ, binary.BigEndian.AppendUint32(nil, v))
}
