// SPDX-License-Identifier: Apache-2.0

package probestest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

// A Fleet is many SNMP agents behind one socket: it answers as the agent of
// whatever address it was asked at, so that 127.0.0.0/8 is 16 million of them.
// All of them show the same, as Agent does.
//
// It is made to cost little: it composes an answer once per Refresh and kind of
// question, and after that copies it. So it can share a machine with what it is
// there to measure.
type Fleet struct {
	// Conn is an unconnected IPv4 socket. Run closes it.
	Conn      *net.UDPConn
	Community string
	Objects   func() map[string]Value // as Agent's
	Refresh   time.Duration           // an agent's cache; 0 means none

	start   time.Time
	made    time.Time
	answers map[string][]byte // by question, both without the request id
}

// Run answers requests until ctx is done and then returns nil; another error
// means that the socket broke.
func (f *Fleet) Run(ctx context.Context) error {
	f.start = time.Now()
	raw, err := f.Conn.SyscallConn()
	if err == nil {
		var set error
		err = raw.Control(func(fd uintptr) {
			set = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_PKTINFO, 1)
		})
		err = errors.Join(err, set)
	}
	if err != nil {
		_ = f.Conn.Close()
		return fmt.Errorf("ask for the addresses of requests: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = f.Conn.Close() }) // wakes the read below
	defer stop()
	defer f.Conn.Close() //nolint:errcheck // it may be closed already
	question, oob := make([]byte, 64<<10), make([]byte, 256)
	for {
		n, m, _, from, err := f.Conn.ReadMsgUDPAddrPort(question, oob)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("read requests: %w", err)
		}
		if err != nil {
			continue // an ICMP error about an answer that nobody took
		}
		if answer := f.answer(question[:n]); answer != nil {
			_, _, _ = f.Conn.WriteMsgUDPAddrPort(answer, sourceOf(oob[:m]), from)
		}
	}
}

// sourceOf makes, of the control message that says which address was asked, the
// one that lets the answer come from there.
func sourceOf(oob []byte) []byte {
	const header, ifindex, specDst = syscall.SizeofCmsghdr, 4, 4
	if len(oob) < header+syscall.SizeofInet4Pktinfo {
		return nil
	}
	info := oob[header:]
	copy(info[ifindex:ifindex+specDst], info[ifindex+specDst:])
	clear(info[:ifindex])
	return oob[:syscall.CmsgSpace(syscall.SizeofInet4Pktinfo)]
}

// answer makes the answer to one datagram, nil for silence. It is good until the
// next call.
func (f *Fleet) answer(question []byte) []byte {
	now := time.Now()
	if now.Sub(f.made) > f.Refresh {
		f.made, f.answers = now, nil
	}
	at, ok := requestID(question)
	if !ok {
		return nil
	}
	id := binary.BigEndian.Uint32(question[at:])
	clear(question[at : at+4])
	if known := f.answers[string(question)]; known != nil {
		if at, ok := requestID(known); ok {
			binary.BigEndian.PutUint32(known[at:], id)
		}
		return known
	}
	key := string(question)
	binary.BigEndian.PutUint32(question[at:], id)
	a := Agent{Community: f.Community, Objects: f.Objects}
	answer := a.answer(question, now.Sub(f.start))
	if f.answers == nil || len(f.answers) > 64 { // it is the number of different questions
		f.answers = map[string][]byte{}
	}
	f.answers[key] = answer
	return answer
}

// requestID finds the four bytes of a message's request id; ok is false for an
// id of another length.
func requestID(message []byte) (at int, ok bool) {
	in := func(at int) int { // the content of the field at that place
		if at < 0 || at+2 > len(message) {
			return -1
		}
		if n := message[at+1]; n > 0x80 {
			return at + 2 + int(n&0x7f)
		}
		return at + 2
	}
	past := func(at int) int { // what follows a field that is shorter than 128 bytes
		if at < 0 || at+2 > len(message) || message[at+1] >= 0x80 {
			return -1
		}
		return at + 2 + int(message[at+1])
	}
	at = in(past(past(in(0)))) // in the PDU, after version and community
	if at < 0 || at+6 > len(message) || message[at] != 2 || message[at+1] != 4 {
		return 0, false
	}
	return at + 2, true
}
