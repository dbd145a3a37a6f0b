// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	eventSize  = 2048 // an event is a few hundred bytes
	eventBatch = 64   // per system call
	dumpSize   = 32 << 10
)

// groups are the multicast groups of the events.
var groups = [...]int{unix.NFNLGRP_CONNTRACK_NEW, unix.NFNLGRP_CONNTRACK_UPDATE, unix.NFNLGRP_CONNTRACK_DESTROY}

// openEvents opens the socket of the events, which come once it has joined. Its
// buffer is as large as asked for where we may, else as large as the system
// allows.
func openEvents(buffer int) (int, error) {
	fd, err := open()
	if err != nil {
		return -1, err
	}
	// To join and leave again tells whether we may at all.
	if err := errors.Join(join(fd), leave(fd)); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer) != nil {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, buffer); err != nil {
			_ = unix.Close(fd)
			return -1, fmt.Errorf("set the buffer of the conntrack events: %w", err)
		}
	}
	if err := (sift{}).attach(fd, answersOf{}); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// join has the kernel send its events to a socket.
func join(fd int) error {
	for _, g := range groups {
		err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, g)
		if errors.Is(err, unix.EPERM) {
			return fmt.Errorf("listen to conntrack events: %w: run as root or give the process CAP_NET_ADMIN", err)
		}
		if err != nil {
			return fmt.Errorf("listen to conntrack events: %w", err)
		}
	}
	return nil
}

// leave ends join. Without a listener the kernel does not even write the events.
func leave(fd int) error {
	for _, g := range groups {
		if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_DROP_MEMBERSHIP, g); err != nil {
			return fmt.Errorf("leave the conntrack events: %w", err)
		}
	}
	return nil
}

// loadModule asks the kernel for anything, for which it loads its module if it has
// to: before that there is no setting of events.
func loadModule(fd int) {
	if send(fd, request(msgCTStats, 0, unix.AF_UNSPEC, nil)) == nil {
		var answer [256]byte
		_, _ = receiveDump(fd, answer[:])
	}
}

func open() (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return -1, fmt.Errorf("open conntrack socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("bind conntrack socket: %w", err)
	}
	return fd, nil
}

// A batch receives many datagrams in one system call, always into the same
// buffers.
type batch struct {
	buf     [eventBatch][eventSize]byte
	iov     [eventBatch]unix.Iovec
	headers [eventBatch]mmsghdr
}

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	unix.Msghdr
	n uint32
}

func newBatch() *batch {
	b := &batch{}
	for i := range b.headers {
		b.iov[i].Base = &b.buf[i][0]
		b.iov[i].SetLen(eventSize)
		b.headers[i].Iov = &b.iov[i]
		b.headers[i].SetIovlen(1)
	}
	return b
}

// receive returns how many datagrams came; EAGAIN means none, ENOBUFS that some
// were lost.
func (b *batch) receive(fd int) (int, error) {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.headers[0])),
			eventBatch, unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// datagram is the i-th of those received; cut is true if it did not fit.
func (b *batch) datagram(i int) (data []byte, cut bool) {
	h := &b.headers[i]
	return b.buf[i][:h.n], h.Flags&unix.MSG_TRUNC != 0
}

// receiveDump reads one part of a dump. The kernel fills it during the call, so
// there is nothing to wait for.
func receiveDump(fd int, buf []byte) (int, error) {
	for {
		n, _, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("read the conntrack table: %w", err)
		}
		return n, nil
	}
}
