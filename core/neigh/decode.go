// SPDX-License-Identifier: Apache-2.0

package neigh

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core/nlmsg"
)

// A kind says what a message is about.
type kind uint8

const (
	other kind = iota
	aboutNeighbour
	aboutLink
	aboutRoute
	aboutRule // policy routing
	done      // end of a dump
	failed    // the kernel's answer to a request: an error, or 0
)

// A message is one netlink message. Only the part that its kind names is filled.
type message struct {
	kind        kind
	gone        bool // it tells of a removal
	interrupted bool // part of a dump that the table changed under
	seq         uint32
	errno       unix.Errno // of failed

	neighbour neighbour
	link      link
	route     route
}

// A neighbour is an entry of the kernel's neighbour table.
type neighbour struct {
	addr   netip.Addr
	device int // index of the interface
	mac    [6]byte
	state  uint16 // NUD_…; NUD_NONE if its MAC is not one of Ethernet
	// foreign entries are kept up by somebody else.
	foreign bool
	age     time.Duration // since it was confirmed, when the message was made
}

// A link is a network interface.
type link struct {
	index    int
	name     string
	mac      [6]byte
	up       bool // with carrier
	ethernet bool // and resolves addresses
}

// A route is the answer to "how to get there", or the announcement of a change.
type route struct {
	dst     netip.Prefix
	typ     uint8 // RTN_…
	device  int
	gateway netip.Addr // zero if dst is on the link
}

const (
	ndmsgLen     = 12
	ifinfomsgLen = 16
	rtmsgLen     = 12
	cacheinfoLen = 16

	userHz = 100 // of times in messages, on every architecture

	ndaFlagsExt   = 15     // NDA_FLAGS_EXT
	ntfExtManaged = 1 << 0 // NTF_EXT_MANAGED, since 5.16
)

// next reads the first message of buf. rest is nil after the last one. A broken
// header ends the buffer: nothing after it can be trusted.
func next(buf []byte) (m message, rest []byte, ok bool) {
	raw := nlmsg.Messages{Rest: buf}
	if !raw.Next() {
		return message{}, nil, false
	}
	m.interrupted, m.seq = raw.Flags&unix.NLM_F_DUMP_INTR != 0, raw.Seq
	m.read(raw.Type, raw.Body)
	return m, raw.Rest, true
}

func (m *message) read(typ uint16, body []byte) {
	ok := false
	switch typ {
	case unix.NLMSG_DONE:
		m.kind, ok = done, true
	case unix.NLMSG_ERROR:
		m.kind, m.errno, ok = failed, nlmsg.Errno(body), len(body) >= 4
	case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
		m.kind, m.gone = aboutNeighbour, typ == unix.RTM_DELNEIGH
		m.neighbour, ok = readNeighbour(body)
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		m.kind, m.gone = aboutLink, typ == unix.RTM_DELLINK
		m.link, ok = readLink(body)
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		m.kind, m.gone = aboutRoute, typ == unix.RTM_DELROUTE
		m.route, ok = readRoute(body)
	case unix.RTM_NEWRULE, unix.RTM_DELRULE:
		m.kind, ok = aboutRule, true
	}
	if !ok {
		m.kind = other
	}
}

func readNeighbour(body []byte) (n neighbour, ok bool) {
	// The entries of a bridge's forwarding table come as neighbours, too, and so
	// do addresses that this machine answers for.
	if len(body) < ndmsgLen || body[0] != unix.AF_INET && body[0] != unix.AF_INET6 || body[10]&unix.NTF_PROXY != 0 {
		return neighbour{}, false
	}
	n.device = int(int32(binary.NativeEndian.Uint32(body[4:])))
	n.state = binary.NativeEndian.Uint16(body[8:])
	n.foreign = n.state&unix.NUD_PERMANENT != 0 || body[10]&unix.NTF_EXT_LEARNED != 0
	hasMAC := false
	for b := body[ndmsgLen:]; len(b) > 0; {
		typ, data, rest, _ := nlmsg.Attr(b)
		switch typ {
		case unix.NDA_DST:
			n.addr, _ = netip.AddrFromSlice(data)
		case unix.NDA_LLADDR:
			hasMAC = copyMAC(&n.mac, data)
		case unix.NDA_CACHEINFO:
			if len(data) >= cacheinfoLen {
				n.age = time.Duration(binary.NativeEndian.Uint32(data)) * time.Second / userHz
			}
		case ndaFlagsExt:
			n.foreign = n.foreign || len(data) == 4 && binary.NativeEndian.Uint32(data)&ntfExtManaged != 0
		}
		b = rest
	}
	if !hasMAC && n.state&valid != 0 {
		n.state = unix.NUD_NONE // of no use for frames
	}
	return n, n.addr.IsValid() && n.addr.Is4() == (body[0] == unix.AF_INET)
}

func readLink(body []byte) (l link, ok bool) {
	// A bridge announces its ports as links of a family of its own.
	if len(body) < ifinfomsgLen || body[0] != unix.AF_UNSPEC {
		return link{}, false
	}
	l.index = int(int32(binary.NativeEndian.Uint32(body[4:])))
	flags := binary.NativeEndian.Uint32(body[8:])
	l.up = flags&unix.IFF_UP != 0 && flags&unix.IFF_RUNNING != 0
	hasMAC := false
	for b := body[ifinfomsgLen:]; len(b) > 0; {
		typ, data, rest, _ := nlmsg.Attr(b)
		switch typ {
		case unix.IFLA_IFNAME:
			name, _, _ := bytes.Cut(data, []byte{0})
			l.name = string(name)
		case unix.IFLA_ADDRESS:
			hasMAC = copyMAC(&l.mac, data)
		}
		b = rest
	}
	l.ethernet = hasMAC && flags&unix.IFF_NOARP == 0 && binary.NativeEndian.Uint16(body[2:]) == unix.ARPHRD_ETHER
	return l, l.name != "" && l.index > 0 // wireless events have no name
}

func readRoute(body []byte) (r route, ok bool) {
	if len(body) < rtmsgLen || body[0] != unix.AF_INET && body[0] != unix.AF_INET6 {
		return route{}, false
	}
	dst := netip.IPv4Unspecified()
	if body[0] == unix.AF_INET6 {
		dst = netip.IPv6Unspecified()
	}
	r.typ = body[7]
	for b := body[rtmsgLen:]; len(b) > 0; {
		typ, data, rest, _ := nlmsg.Attr(b)
		switch typ {
		case unix.RTA_DST:
			if a, ok := netip.AddrFromSlice(data); ok && a.Is4() == dst.Is4() {
				dst = a
			}
		case unix.RTA_OIF:
			if len(data) == 4 {
				r.device = int(int32(binary.NativeEndian.Uint32(data)))
			}
		case unix.RTA_GATEWAY:
			r.gateway, _ = netip.AddrFromSlice(data)
		case unix.RTA_VIA: // a gateway of the other family, which stands before it
			if len(data) > 2 {
				r.gateway, _ = netip.AddrFromSlice(data[2:])
			}
		}
		b = rest
	}
	var err error
	r.dst, err = dst.Prefix(int(body[1]))
	return r, err == nil
}

func copyMAC(to *[6]byte, data []byte) bool { return len(data) == len(to) && copy(to[:], data) > 0 }
