// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/nlmsg"
)

// An answersOf says which connections' answers are let through to the socket:
// those to the VIPs of backends that are watched passively. It only spares us the
// others.
type answersOf struct {
	all  bool
	vips []uint32 // their last four bytes; sorted
}

// maxVIPs is how many VIPs a filter compares. BPF cannot jump further than 255.
const maxVIPs = 128

func (a *answersOf) add(r *rule) {
	if r.protocol != core.TCP.Number() || a.all {
		return
	}
	word := binary.BigEndian.Uint32(r.vip[12:])
	switch {
	case slices.Contains(a.vips, word):
	case !r.single() || len(a.vips) == maxVIPs:
		a.all, a.vips = true, nil
	default:
		a.vips = append(a.vips, word)
	}
}

func (a answersOf) same(b answersOf) bool { return a.all == b.all && slices.Equal(a.vips, b.vips) }

// program is the part of a filter that compares the original destination of a
// message. Its last two instructions' successors are: let it through, drop it.
func (a answersOf) program() []unix.SockFilter {
	if a.all || len(a.vips) == 0 {
		return nil
	}
	const attrs = nlmsg.HeaderLen + nlmsg.NfgenmsgLen
	stmt := func(code uint16, k uint32) unix.SockFilter { return unix.SockFilter{Code: code, K: k} }
	load := func(k uint32) unix.SockFilter { return stmt(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, k) }
	setX := func(k uint32) unix.SockFilter { return stmt(unix.BPF_LDX|unix.BPF_W|unix.BPF_IMM, k) }
	store := func(code uint16) unix.SockFilter { return stmt(code, 0) }
	n := len(a.vips)
	p := []unix.SockFilter{
		stmt(unix.BPF_LD|unix.BPF_W|unix.BPF_IMM, attrs),
		setX(ctaTupleOrig), load(loadAttr),
		setX(ctaTupleIP), load(loadNested),
		store(unix.BPF_ST),
		setX(ctaIPv4Dst), load(loadNested),
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 0, Jt: 3}, // IPv6
		stmt(unix.BPF_MISC|unix.BPF_TAX, 0),
		stmt(unix.BPF_LD|unix.BPF_W|unix.BPF_IND, nlmsg.AttrLen),
		stmt(unix.BPF_JMP|unix.BPF_JA, 5),
		stmt(unix.BPF_LD|unix.BPF_MEM, 0),
		setX(ctaIPv6Dst), load(loadNested),
		stmt(unix.BPF_MISC|unix.BPF_TAX, 0),
		stmt(unix.BPF_LD|unix.BPF_W|unix.BPF_IND, nlmsg.AttrLen+12),
	}
	for i, vip := range a.vips { // from here, n-i instructions on is accept
		last := unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: vip, Jt: uint8(n - i - 1)}
		if i == n-1 {
			last.Jf = 1
		}
		p = append(p, last)
	}
	return p
}

// letAnswers has the kernel let the answers through that an index is to see. If
// it cannot, that is returned without anything passive: all would look unanswered.
func (l *loop) letAnswers(x *index) *index {
	if x.answers.same(l.table.index.answers) {
		return x
	}
	err := l.table.sift.attach(l.events, x.answers)
	if err == nil {
		return x
	}
	l.log.Warn("unanswered connections cannot be counted", "err", err)
	deaf := *x
	deaf.passive, deaf.answers = nil, answersOf{}
	return &deaf
}
