// SPDX-License-Identifier: Apache-2.0

package neigh

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core/nlmsg"
)

// An ask has the kernel send a solicitation.
type ask struct {
	addr   netip.Addr
	device int
	// verify probes an entry that has a MAC, by unicast to it. Otherwise the
	// entry is resolved from nothing.
	verify bool
	// fresh makes the entry; there is none that we know of.
	fresh bool
}

// appendDump asks for all neighbours or all links; the header of each is of
// zeros, which is any family.
func appendDump(b []byte, typ uint16, seq uint32) []byte {
	body := ndmsgLen
	if typ == unix.RTM_GETLINK {
		body = ifinfomsgLen
	}
	b, start := nlmsg.Begin(b, typ, unix.NLM_F_DUMP, seq)
	b = append(b, make([]byte, body)...)
	return nlmsg.End(b, start)
}

func appendGetRoute(b []byte, addr netip.Addr, seq uint32) []byte {
	b, start := nlmsg.Begin(b, unix.RTM_GETROUTE, 0, seq)
	header := [rtmsgLen]byte{0: family(addr), 1: byte(addr.BitLen())}
	b = append(b, header[:]...)
	b = nlmsg.AppendAttr(b, unix.RTA_DST, addr.AsSlice())
	return nlmsg.End(b, start)
}

// appendAsk writes RTM_NEWNEIGH. NTF_USE says "a packet wants to go there", and
// NUD_PROBE "check this one now"; neither puts a packet of ours on the wire.
//
// Both would take the permanence of an entry away (since 5.16 NTF_USE does, too).
// So one that we have not seen is made with NLM_F_EXCL, which leaves one that
// exists alone, and one that we have seen is never made.
func appendAsk(b []byte, a ask, seq uint32) []byte {
	flags := uint16(0)
	if a.fresh {
		flags = unix.NLM_F_CREATE | unix.NLM_F_EXCL
	}
	header := [ndmsgLen]byte{0: family(a.addr), 10: unix.NTF_USE}
	state := uint16(unix.NUD_NONE)
	if a.verify {
		header[10], state = 0, unix.NUD_PROBE
	}
	binary.NativeEndian.PutUint32(header[4:], uint32(a.device))
	binary.NativeEndian.PutUint16(header[8:], state)
	b, start := nlmsg.Begin(b, unix.RTM_NEWNEIGH, flags, seq)
	b = append(b, header[:]...)
	b = nlmsg.AppendAttr(b, unix.NDA_DST, a.addr.AsSlice())
	return nlmsg.End(b, start)
}

func family(a netip.Addr) byte {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}
