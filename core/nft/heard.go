// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"errors"

	"github.com/mdlayher/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core/nlmsg"
)

// A listener hears who changes the ruleset, where the table has no owner. The
// kernel names the process in the notice of a new generation, and nowhere else.
// To be told costs: the kernel then makes a notice of every element that we change
// ourselves, too. A filter keeps all but the notices of generations away from the
// socket.
type listener struct {
	conn *netlink.Conn
	in   []byte
	last [64]writer // by generation, modulo
}

// A writer is who made a generation.
type writer struct {
	generation uint32
	pid        uint32 // of the thread
	process    string // its name
}

// Constants that golang.org/x/sys/unix does not have, by their kernel names.
const (
	nftaGenProcPID  = 2
	nftaGenProcName = 3
	groupNftables   = 7 // NFNLGRP_NFTABLES
)

func newListener() (*listener, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, err
	}
	l := &listener{conn: conn, in: make([]byte, 4096)}
	// The type of the message stands in host byte order; BPF loads big endian.
	want := uint32(unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWGEN)
	filter, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 4, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: swap16(want), SkipFalse: 1},
		bpf.RetConstant{Val: 0xffff},
		bpf.RetConstant{Val: 0},
	})
	if err == nil {
		err = conn.SetBPF(filter)
	}
	if err == nil {
		err = conn.SetReadBuffer(1 << 20)
	}
	if err == nil {
		err = conn.JoinGroup(groupNftables)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return l, nil
}

// swap16 is what BPF makes of a number in host byte order.
func swap16(v uint32) uint32 {
	b := hostUint32(v)
	if b[0] == 0 { // big endian
		return v
	}
	return v<<8&0xff00 | v>>8
}

// listen takes what has come, without waiting. What did not fit was lost, and
// with it only a name.
func (l *listener) listen() {
	if l == nil {
		return
	}
	raw, err := l.conn.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { // fails only on a closed connection
		for {
			n, _, err := unix.Recvfrom(int(fd), l.in, unix.MSG_DONTWAIT)
			switch {
			case errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENOBUFS):
				continue
			case err != nil:
				return
			}
			l.take(l.in[:n])
		}
	})
}

func (l *listener) take(in []byte) {
	for m := (nlmsg.Messages{Rest: in}); m.Next(); {
		if m.Type != unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWGEN || len(m.Body) < nlmsg.NfgenmsgLen {
			continue
		}
		body := m.Body[nlmsg.NfgenmsgLen:]
		w := writer{nlmsg.Uint32(nlmsg.Find(body, unix.NFTA_GEN_ID)), nlmsg.Uint32(nlmsg.Find(body, nftaGenProcPID)), nlmsg.Text(nlmsg.Find(body, nftaGenProcName))}
		l.last[w.generation%uint32(len(l.last))] = w
	}
}

// of is who made a generation; zero if that was not heard.
func (l *listener) of(generation uint32) writer {
	if l == nil {
		return writer{}
	}
	if w := l.last[generation%uint32(len(l.last))]; w.generation == generation {
		return w
	}
	return writer{}
}

func (l *listener) close() error {
	if l == nil {
		return nil
	}
	return l.conn.Close()
}
