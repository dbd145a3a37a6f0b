// SPDX-License-Identifier: Apache-2.0

package conntrack

import "encoding/binary"

// The parts of linux/netfilter/nfnetlink.h and nfnetlink_conntrack.h that the
// Reader meets.
const (
	nlmsghdrLen  = 16
	nfgenmsgLen  = 4
	nlattrLen    = 4
	nlaTypeMask  = 0x3fff // without NLA_F_NESTED and NLA_F_NET_BYTEORDER
	subsysCT     = 1      // NFNL_SUBSYS_CTNETLINK
	msgCTNew     = 0      // IPCTNL_MSG_CT_NEW: also an update, and an entry of a dump
	msgCTGet     = 1      // IPCTNL_MSG_CT_GET
	msgCTDelete  = 2      // IPCTNL_MSG_CT_DELETE
	nlmFMulti    = 0x2
	nlmFCreate   = 0x400
	nlmsgError   = 2
	nlmsgDone    = 3
	ctaTupleOrig = 1
	ctaTupleRply = 2
	ctaStatus    = 3
	ctaProtoinfo = 4
	ctaID        = 12
	ctaStatMask  = 26

	ctaTupleIP    = 1
	ctaTupleProto = 2
	ctaIPv4Src    = 1
	ctaIPv4Dst    = 2
	ctaIPv6Src    = 3
	ctaIPv6Dst    = 4
	ctaProtoNum   = 1
	ctaSrcPort    = 2
	ctaDstPort    = 3
	ctaTCP        = 1 // CTA_PROTOINFO_TCP
	ctaTCPState   = 1

	tcpTimeWait = 7 // TCP_CONNTRACK_TIME_WAIT
	tcpClose    = 8 // TCP_CONNTRACK_CLOSE
)

// A kind says what a message is about.
type kind uint8

const (
	other kind = iota // nothing that we count
	created
	updated
	destroyed
	listed // an entry of a dump
	done   // end of a dump
	failed // the kernel refused a request
)

// A message is one netlink message, cut but not yet read: the slices point into
// the buffer it came in.
type message struct {
	kind  kind
	errno int32 // of failed, negative
	orig  []byte
	reply []byte
	id    uint32
	// family is AF_INET or AF_INET6.
	family uint8
	// state is the TCP state, 0 if the message does not tell.
	state uint8
}

// next cuts the first message off buf. rest is nil after the last one. A broken
// header ends the buffer: nothing after it can be trusted.
func next(buf []byte) (m message, rest []byte, ok bool) {
	if len(buf) < nlmsghdrLen {
		return message{}, nil, false
	}
	n := binary.NativeEndian.Uint32(buf)
	if n < nlmsghdrLen || uint64(n) > uint64(len(buf)) {
		return message{}, nil, false
	}
	if end := align(int(n)); end < len(buf) {
		rest = buf[end:]
	}
	typ := binary.NativeEndian.Uint16(buf[4:])
	flags := binary.NativeEndian.Uint16(buf[6:])
	body := buf[nlmsghdrLen:n]
	switch {
	case typ == nlmsgDone:
		m.kind = done
	case typ == nlmsgError && len(body) >= 4:
		m.kind, m.errno = failed, int32(binary.NativeEndian.Uint32(body))
	case typ == subsysCT<<8|msgCTDelete:
		m.kind = destroyed
	case typ == subsysCT<<8|msgCTNew && flags&nlmFMulti != 0:
		m.kind = listed
	case typ == subsysCT<<8|msgCTNew && flags&nlmFCreate != 0:
		m.kind = created
	case typ == subsysCT<<8|msgCTNew:
		m.kind = updated
	}
	if typ>>8 == subsysCT && len(body) >= nfgenmsgLen {
		m.family = body[0]
		m.cut(body[nfgenmsgLen:])
	}
	return m, rest, true
}

// cut finds the attributes that matter.
func (m *message) cut(attrs []byte) {
	for len(attrs) > 0 {
		typ, data, rest := attr(attrs)
		switch typ {
		case ctaTupleOrig:
			m.orig = data
		case ctaTupleRply:
			m.reply = data
		case ctaProtoinfo:
			m.state = tcpState(data)
		case ctaID:
			if len(data) == 4 {
				m.id = binary.BigEndian.Uint32(data)
			}
		}
		attrs = rest
	}
}

// attr reads the first attribute; rest is empty after the last one, and after
// one that is broken.
func attr(b []byte) (typ uint16, data, rest []byte) {
	if len(b) < nlattrLen {
		return 0, nil, nil
	}
	n := int(binary.NativeEndian.Uint16(b))
	if n < nlattrLen || n > len(b) {
		return 0, nil, nil
	}
	typ, data = binary.NativeEndian.Uint16(b[2:])&nlaTypeMask, b[nlattrLen:n]
	if end := align(n); end < len(b) {
		rest = b[end:]
	}
	return typ, data, rest
}

func align(n int) int { return (n + 3) &^ 3 }

func tcpState(protoinfo []byte) uint8 {
	for b := protoinfo; len(b) > 0; {
		typ, data, rest := attr(b)
		if typ == ctaTCP {
			for t := data; len(t) > 0; {
				typ, state, more := attr(t)
				if typ == ctaTCPState && len(state) == 1 {
					return state[0]
				}
				t = more
			}
		}
		b = rest
	}
	return 0
}

// over reports whether the message says that its TCP connection has ended.
func (m *message) over() bool { return m.state == tcpTimeWait || m.state == tcpClose }

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
		typ, data, rest := attr(b)
		switch typ {
		case ctaTupleIP:
			for len(data) > 0 {
				typ, addr, more := attr(data)
				seen |= t.setAddr(typ, addr)
				data = more
			}
		case ctaTupleProto:
			for len(data) > 0 {
				typ, v, more := attr(data)
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
