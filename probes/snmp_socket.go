// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core"
)

// openAgentSocket opens an unconnected socket: an agent with several addresses may
// answer from another one than it was asked at, and a connected socket drops that
// answer. IP_RECVERR makes the kernel tell an unconnected socket, too, that nothing
// listens on the port.
func openAgentSocket(ctx context.Context, w way, to netip.Addr) (*net.UDPConn, error) {
	level, option := syscall.IPPROTO_IP, syscall.IP_RECVERR
	if to.Is6() {
		level, option = syscall.IPPROTO_IPV6, syscall.IPV6_RECVERR
	}
	udp, err := w.listen(ctx, to)
	if err != nil {
		return nil, err
	}
	raw, err := udp.SyscallConn()
	if err == nil {
		var set error
		err = raw.Control(func(fd uintptr) { set = syscall.SetsockoptInt(int(fd), level, option, 1) })
		err = errors.Join(err, set)
	}
	if err != nil {
		_ = udp.Close() // the first error is the one to tell
		return nil, err
	}
	return udp, nil
}

// spareSockets are sockets between two runs, whoever's they are: a socket costs
// more than a question. One is put back only by a run whose single question was
// answered, so that nothing can come late or tell of an error for the next. The
// garbage collector closes those that nobody has used for a while.
//
// There is a pool for each way and family; ways are as many as are configured.
// Sockets in a network namespace that was named are not kept: the name may stand
// for another one tomorrow.
var spareSockets sync.Map // of spareKey to *sync.Pool

type spareKey struct {
	way way
	six bool
}

// An agentCall is one question to an agent over a borrowed socket.
type agentCall struct {
	to      netip.AddrPort
	way     way
	timeout time.Duration // of the whole, which is two tries
}

// An answered is what came of it.
type answered struct {
	from  netip.AddrPort // where the answer came from
	took  time.Duration  // from the latest try
	tries int
}

// ask sends the question and hands each datagram that comes to accept until that
// takes one. accept keeps nothing of it.
func (e agentCall) ask(ctx context.Context, question []byte, accept func([]byte) bool) (answered, error) {
	key := spareKey{e.way, e.to.Addr().Is6()}
	for fresh := false; ; fresh = true {
		udp, spare, err := e.socket(ctx, key, fresh)
		if err != nil {
			return answered{}, &snmpError{code: core.Internal, text: "open a socket for SNMP: " + cause(err).Error()}
		}
		stop := context.AfterFunc(ctx, func() { _ = udp.SetReadDeadline(time.Unix(1, 0)) })
		got, err := e.over(ctx, udp, question, accept)
		if stop() && err == nil && got.tries == 1 && e.way.Netns == "" {
			pool, _ := spareSockets.LoadOrStore(key, new(sync.Pool))
			pool.(*sync.Pool).Put(udp)
			return got, nil
		}
		_ = udp.Close() // nothing is written that could be lost
		if err == nil || !spare || ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded) {
			return got, err
		}
		// A spare socket may have gone bad with its device or its address: once more with
		// a new one.
	}
}

// socket is a spare one if there is any and it need not be fresh.
func (e agentCall) socket(ctx context.Context, key spareKey, fresh bool) (udp *net.UDPConn, spare bool, err error) {
	if pool, ok := spareSockets.Load(key); ok && !fresh {
		if udp, spare = pool.(*sync.Pool).Get().(*net.UDPConn); spare {
			return udp, true, nil
		}
	}
	udp, err = openAgentSocket(ctx, e.way, e.to.Addr())
	return udp, false, err
}

// over tries twice: the second try begins soon enough to end in time.
func (e agentCall) over(ctx context.Context, udp *net.UDPConn, question []byte, accept func([]byte) bool) (got answered, err error) {
	for try := range 2 {
		sent := time.Now()
		got.tries++
		if _, err = udp.WriteToUDPAddrPort(question, e.to); err != nil {
			return got, err
		}
		end := sent.Add(e.timeout * 9 / 20)
		if deadline, ok := ctx.Deadline(); ok && (try > 0 || deadline.Before(end)) {
			end = deadline
		}
		if err = udp.SetReadDeadline(end); err != nil {
			return got, err
		}
		if ctx.Err() != nil { // the deadline that it set may be the one replaced
			return got, os.ErrDeadlineExceeded
		}
		for taken := false; err == nil; {
			if got.from, taken, err = receive(udp, accept); taken {
				got.took = time.Since(sent)
				return got, nil
			}
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return got, err
		}
	}
	return got, err
}

// answers are buffers for one datagram each.
var answers = sync.Pool{New: func() any { return new([maxMessage]byte) }}

// receive waits for a datagram and hands it to accept. It takes a buffer only once there
// is something to read: agents that never answer are to cost a socket each, and no more.
func receive(udp *net.UDPConn, accept func([]byte) bool) (from netip.AddrPort, taken bool, err error) {
	raw, err := udp.SyscallConn()
	if err != nil {
		return from, false, err
	}
	var peeked error
	err = raw.Read(func(fd uintptr) bool {
		_, _, peeked = unix.Recvfrom(int(fd), nil, unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return !errors.Is(peeked, unix.EAGAIN) && !errors.Is(peeked, unix.EINTR)
	})
	if err = cmp.Or(err, peeked); err != nil { // an error of the socket's is told once, so this is it
		return from, false, err
	}
	b := answers.Get().(*[maxMessage]byte)
	defer answers.Put(b)
	n, from, err := udp.ReadFromUDPAddrPort(b[:])
	return from, err == nil && accept(b[:n]), err
}
