// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// groups are the multicast groups CONNTRACK_NEW, _UPDATE and _DESTROY.
	groups = 1<<0 | 1<<1 | 1<<2

	eventSize  = 4096 // an event is a few hundred bytes
	eventBatch = 32   // per system call
	dumpSize   = 32 << 10
)

// openEvents opens the socket of the events. Its buffer is as large as asked
// for where we may, else as large as the system allows.
func openEvents(buffer int) (*os.File, error) {
	fd, err := open(groups)
	if err != nil {
		return nil, err
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer) != nil {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, buffer); err != nil {
			_ = unix.Close(fd)
			return nil, fmt.Errorf("set the buffer of the conntrack events: %w", err)
		}
	}
	if err := (sift{}).attach(fd); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "conntrack events"), nil
}

func open(groups uint32) (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return -1, fmt.Errorf("open conntrack socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		_ = unix.Close(fd)
		if errors.Is(err, unix.EPERM) {
			return -1, fmt.Errorf("listen to conntrack events: %w: run as root or give the process CAP_NET_ADMIN", err)
		}
		return -1, fmt.Errorf("listen to conntrack events: %w", err)
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
func (b *batch) receive(fd uintptr) (int, error) {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&b.headers[0])),
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
