// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core/nlmsg"
)

const (
	// maxEvents is how many events a second are read of all connections. An event
	// costs about 1 µs, so this is some 5 % of a core; a TCP connection makes three,
	// or four if its service asks for answers. Above it, one connection in two, four,
	// and so on is read, and counts for as many.
	maxEvents = 50_000
	// maxShift is one in 32,768.
	maxShift = 15
	// rateWindow is how long events are counted to know their rate, so that a burst
	// is none.
	rateWindow = 5 * time.Second
	// calmAfter is how long there must be few events before more are read again.
	calmAfter = 30 * time.Second
)

// A sift says which connections are followed: those whose id, a hash that the
// kernel keeps for as long as the connection lives, ends in so many zero bits.
type sift struct{ shift uint8 }

func (s sift) mask() uint32         { return 1<<s.shift - 1 }
func (s sift) takes(id uint32) bool { return id&s.mask() == 0 }
func (s sift) weight() uint64       { return 1 << s.shift }

// under is the sift under which a rate of events, read under s, would be half of
// maxEvents at most.
func (s sift) under(rate float64) sift {
	all := uint64(rate) << s.shift
	return sift{uint8(min(maxShift, bits.Len64(all/(maxEvents/2))))}
}

// A gauge finds the sift that the rate of events asks for.
type gauge struct {
	sift   sift
	since  time.Time // begin of the window
	events uint64    // at that time
	calm   time.Time // since when there are few; zero if there are not
}

// look takes the time and how many events there have been, and reports whether
// it has changed the sift.
func (g *gauge) look(now time.Time, events uint64) (changed bool) {
	took := now.Sub(g.since)
	if g.since.IsZero() || took < rateWindow {
		if g.since.IsZero() {
			g.since, g.events = now, events
		}
		return false
	}
	rate := float64(events-g.events) / took.Seconds()
	g.since, g.events = now, events
	next := g.sift.under(rate)
	switch {
	case rate > maxEvents:
	case next.shift >= g.sift.shift:
		g.calm = time.Time{}
		return false
	case g.calm.IsZero():
		g.calm = now
		return false
	case now.Sub(g.calm) < calmAfter:
		return false
	}
	g.calm = time.Time{}
	changed = next != g.sift
	g.sift = next
	return changed
}

// The loads of a classic BPF program that find an attribute: from offset A, of
// type X (linux/filter.h).
const (
	loadAttr   = 0xfffff000 + 12 // SKF_AD_OFF + SKF_AD_NLATTR
	loadNested = 0xfffff000 + 16 // SKF_AD_OFF + SKF_AD_NLATTR_NEST
)

// program is a socket filter that lets through the beginning and the end of the
// connections that s takes, and the answer to those of a: of the seven events of a
// TCP connection four are dropped before they reach the socket, or three.
func (s sift) program(a answersOf) []unix.SockFilter {
	compare := a.program()
	accept := 33 + len(compare) // where they stand
	drop := accept + 1
	answer := 33 // to one that is not reopened
	switch {
	case a.all:
		answer = accept
	case len(a.vips) == 0:
		answer = drop
	}
	jump := func(at, to int) uint8 { return uint8(to - at - 1) }
	stmt := func(code uint16, k uint32) unix.SockFilter { return unix.SockFilter{Code: code, K: k} }
	test := func(at int, code uint16, k uint32, yes, no int) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | code | unix.BPF_K, K: k, Jt: jump(at, yes), Jf: jump(at, no)}
	}
	const (
		word, half, octet = unix.BPF_LD | unix.BPF_W, unix.BPF_LD | unix.BPF_H, unix.BPF_LD | unix.BPF_B
		attrs             = nlmsg.HeaderLen + nlmsg.NfgenmsgLen
		equal, has        = unix.BPF_JEQ, unix.BPF_JSET
		immediate         = unix.BPF_IMM
		setX, copyX       = unix.BPF_LDX | unix.BPF_W | unix.BPF_IMM, unix.BPF_MISC | unix.BPF_TAX
	)
	head := []unix.SockFilter{
		0:  stmt(word|immediate, attrs),
		1:  stmt(setX, ctaID),
		2:  stmt(word|unix.BPF_ABS, loadAttr),
		3:  test(3, equal, 0, accept, 4), // cannot be: let the reader see it
		4:  stmt(copyX, 0),
		5:  stmt(word|unix.BPF_IND, nlmsg.AttrLen),
		6:  test(6, has, s.mask(), drop, 7),
		7:  stmt(half|unix.BPF_ABS, 4), // nlmsg_type
		8:  test(8, equal, hostShort(subsysCT<<8|msgCTNew), 9, accept),
		9:  stmt(half|unix.BPF_ABS, 6), // nlmsg_flags
		10: test(10, has, hostShort(unix.NLM_F_CREATE), accept, 11),
		11: stmt(word|immediate, attrs),
		12: stmt(setX, ctaProtoinfo),
		13: stmt(word|unix.BPF_ABS, loadAttr),
		14: test(14, equal, 0, drop, 15), // UDP: only its beginning and end matter
		15: stmt(setX, ctaTCP),
		16: stmt(word|unix.BPF_ABS, loadNested),
		17: test(17, equal, 0, accept, 18), // SCTP
		18: stmt(setX, ctaTCPState),
		19: stmt(word|unix.BPF_ABS, loadNested),
		20: test(20, equal, 0, accept, 21),
		21: stmt(copyX, 0),
		22: stmt(octet|unix.BPF_IND, nlmsg.AttrLen),
		23: test(23, equal, tcpTimeWait, accept, 24),
		24: test(24, equal, tcpClose, accept, 25),
		25: test(25, equal, tcpSynRecv, 26, drop),
		26: stmt(word|immediate, attrs), // reopened?
		27: stmt(setX, ctaStatus),
		28: stmt(word|unix.BPF_ABS, loadAttr),
		29: test(29, equal, 0, accept, 30),
		30: stmt(copyX, 0),
		31: stmt(word|unix.BPF_IND, nlmsg.AttrLen),
		32: test(32, has, statusAssured, accept, answer),
	}
	return slices.Concat(head, compare, []unix.SockFilter{
		stmt(unix.BPF_RET|unix.BPF_K, 0xffffffff),
		stmt(unix.BPF_RET|unix.BPF_K, 0),
	})
}

// hostShort is how BPF, which loads in network order, sees a number of this
// machine's order.
func hostShort(v uint16) uint32 {
	return uint32(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, v)))
}

// attach has the kernel sift what goes to a socket from now on.
func (s sift) attach(fd int, a answersOf) error {
	p := s.program(a)
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]}); err != nil {
		return fmt.Errorf("filter conntrack events: %w", err)
	}
	return nil
}
