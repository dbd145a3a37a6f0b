// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core/nlmsg"
)

// The parts of linux/netfilter/nfnetlink_conntrack.h and nf_conntrack_common.h
// that the Reader meets.
const (
	subsysCT     = 1 // NFNL_SUBSYS_CTNETLINK
	msgCTNew     = 0 // IPCTNL_MSG_CT_NEW: also an update, and an entry of a dump
	msgCTGet     = 1 // IPCTNL_MSG_CT_GET
	msgCTDelete  = 2 // IPCTNL_MSG_CT_DELETE
	msgCTStats   = 5 // IPCTNL_MSG_CT_GET_STATS
	ctaTupleOrig = 1
	ctaTupleRply = 2
	ctaStatus    = 3
	ctaProtoinfo = 4
	ctaTimeout   = 7
	ctaCountRply = 10 // CTA_COUNTERS_REPLY
	ctaID        = 12
	ctaFilter    = 25
	ctaStatMask  = 26

	ctaTupleIP    = 1
	ctaTupleProto = 2
	ctaIPv4Src    = 1
	ctaIPv4Dst    = 2
	ctaIPv6Src    = 3
	ctaIPv6Dst    = 4
	ctaPackets    = 1 // CTA_COUNTERS_PACKETS
	ctaProtoNum   = 1
	ctaSrcPort    = 2
	ctaDstPort    = 3
	ctaTCP        = 1 // CTA_PROTOINFO_TCP
	ctaTCPState   = 1
	ctaSCTP       = 3 // CTA_PROTOINFO_SCTP

	statusSeenReply = 1 << 1 // IPS_SEEN_REPLY
	statusAssured   = 1 << 2 // IPS_ASSURED
	statusDstNAT    = 1 << 5 // IPS_DST_NAT

	tcpSynSent     = 1 // TCP_CONNTRACK_SYN_SENT
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
	errno unix.Errno // of failed
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
	// unreplied says that the kernel counts packets and that none came back.
	unreplied bool
}

// next cuts the first message off buf. rest is nil after the last one. A broken
// header ends the buffer: nothing after it can be trusted.
func next(buf []byte) (m message, rest []byte, ok bool) {
	raw := nlmsg.Messages{Rest: buf}
	if !raw.Next() {
		return message{}, nil, false
	}
	switch {
	case raw.Type == unix.NLMSG_DONE:
		m.kind = done
	case raw.Type == unix.NLMSG_ERROR:
		m.kind, m.errno = failed, nlmsg.Errno(raw.Body)
	case raw.Type == subsysCT<<8|msgCTDelete:
		m.kind = destroyed
	case raw.Type == subsysCT<<8|msgCTNew && raw.Flags&unix.NLM_F_MULTI != 0:
		m.kind = listed
	case raw.Type == subsysCT<<8|msgCTNew && raw.Flags&unix.NLM_F_CREATE != 0:
		m.kind = created
	case raw.Type == subsysCT<<8|msgCTNew:
		m.kind = updated
	}
	if raw.Type>>8 == subsysCT && len(raw.Body) >= nlmsg.NfgenmsgLen {
		m.family = raw.Body[0]
		m.cut(raw.Body[nlmsg.NfgenmsgLen:])
	}
	return m, raw.Rest, true
}

// cut finds the attributes that matter.
func (m *message) cut(attrs []byte) {
	for len(attrs) > 0 {
		typ, v, rest, _ := nlmsg.Attr(attrs)
		switch typ {
		case ctaTupleOrig:
			m.orig = v
		case ctaTupleRply:
			m.reply = v
		case ctaProtoinfo:
			m.states, m.state = state(v)
		case ctaID:
			m.id = nlmsg.Uint32(v)
		case ctaStatus:
			m.status = nlmsg.Uint32(v)
		case ctaTimeout:
			m.timeout = nlmsg.Uint32(v)
		case ctaCountRply:
			packets := nlmsg.Find(v, ctaPackets)
			m.unreplied = len(packets) == 8 && [8]byte(packets) == [8]byte{}
		}
		attrs = rest
	}
}

// state reads the state of a TCP or SCTP connection. The attribute has the same
// number in both.
func state(protoinfo []byte) (states, state uint8) {
	for b := protoinfo; len(b) > 0; {
		typ, v, rest, _ := nlmsg.Attr(b)
		if typ == ctaTCP || typ == ctaSCTP {
			if state := nlmsg.Find(v, ctaTCPState); len(state) == 1 {
				return uint8(typ), state[0]
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

// answered reports whether the message says that the first packet of its TCP
// connection was answered.
func (m *message) answered() bool { return m.states == ctaTCP && m.state == tcpSynRecv }

// reopened reports whether the message says that a connection has begun on an
// entry that was over: the server had reset the one before, and its client comes
// back from the same port. The kernel makes no new entry then.
func (m *message) reopened() bool {
	return m.states == ctaTCP && m.state == tcpSynRecv && m.status&statusAssured != 0
}
