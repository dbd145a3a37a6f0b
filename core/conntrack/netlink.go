// SPDX-License-Identifier: Apache-2.0

package conntrack

import "encoding/binary"

// The parts of linux/netfilter/nfnetlink.h, nfnetlink_conntrack.h and
// nf_conntrack_common.h that the Reader meets.
const (
	nlmsghdrLen  = 16
	nfgenmsgLen  = 4
	nlattrLen    = 4
	nlaTypeMask  = 0x3fff // without NLA_F_NESTED and NLA_F_NET_BYTEORDER
	subsysCT     = 1      // NFNL_SUBSYS_CTNETLINK
	msgCTNew     = 0      // IPCTNL_MSG_CT_NEW: also an update, and an entry of a dump
	msgCTGet     = 1      // IPCTNL_MSG_CT_GET
	msgCTDelete  = 2      // IPCTNL_MSG_CT_DELETE
	msgCTStats   = 5      // IPCTNL_MSG_CT_GET_STATS
	nlmFMulti    = 0x2
	nlmFCreate   = 0x400
	nlmsgError   = 2
	nlmsgDone    = 3
	ctaTupleOrig = 1
	ctaTupleRply = 2
	ctaStatus    = 3
	ctaProtoinfo = 4
	ctaTimeout   = 7
	ctaID        = 12
	ctaFilter    = 25
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
	ctaSCTP       = 3 // CTA_PROTOINFO_SCTP

	statusSeenReply = 1 << 1 // IPS_SEEN_REPLY
	statusAssured   = 1 << 2 // IPS_ASSURED
	statusDstNAT    = 1 << 5 // IPS_DST_NAT

	tcpSynRecv     = 2 // TCP_CONNTRACK_SYN_RECV
	tcpEstablished = 3 // TCP_CONNTRACK_ESTABLISHED
	tcpTimeWait    = 7 // TCP_CONNTRACK_TIME_WAIT
	tcpClose       = 8 // TCP_CONNTRACK_CLOSE
	sctpClosed     = 1 // SCTP_CONNTRACK_CLOSED
	sctpShutdown   = 7 // SCTP_CONNTRACK_SHUTDOWN_ACK_SENT
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
	// states says whose states state is of: ctaTCP or ctaSCTP. Both are 0 if the
	// message does not tell.
	states, state uint8
	status        uint32
	timeout       uint32 // seconds
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
			m.states, m.state = state(data)
		case ctaID:
			m.id = number(data)
		case ctaStatus:
			m.status = number(data)
		case ctaTimeout:
			m.timeout = number(data)
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

// number reads a 32-bit attribute; 0 if it is of another size.
func number(data []byte) uint32 {
	if len(data) != 4 {
		return 0
	}
	return binary.BigEndian.Uint32(data)
}

// state reads the state of a TCP or SCTP connection. The attribute has the same
// number in both.
func state(protoinfo []byte) (states, state uint8) {
	for b := protoinfo; len(b) > 0; {
		typ, data, rest := attr(b)
		if typ == ctaTCP || typ == ctaSCTP {
			for t := data; len(t) > 0; {
				inner, state, more := attr(t)
				if inner == ctaTCPState && len(state) == 1 {
					return uint8(typ), state[0]
				}
				t = more
			}
		}
		b = rest
	}
	return 0, 0
}

// over reports whether the message says that its connection has ended. What is
// left in the table is there to catch stragglers.
func (m *message) over() bool {
	switch m.states {
	case ctaTCP:
		return m.state == tcpTimeWait || m.state == tcpClose
	case ctaSCTP:
		return m.state == sctpShutdown || m.state == sctpClosed
	}
	return false
}

// wasReset reports whether the message says that its TCP connection was reset.
func (m *message) wasReset() bool { return m.states == ctaTCP && m.state == tcpClose }

// reopened reports whether the message says that a connection has begun on an
// entry that was over: the server had reset the one before, and its client comes
// back from the same port. The kernel makes no new entry then.
func (m *message) reopened() bool {
	return m.states == ctaTCP && m.state == tcpSynRecv && m.status&statusAssured != 0
}
