// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"net/netip"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// icmpBatchBuffers receive many messages in one system call.
type icmpBatchBuffers struct {
	data    [icmpBatch][icmpMessage]byte
	control [icmpBatch][icmpControl]byte
	names   [icmpBatch]unix.RawSockaddrInet6
	iov     [icmpBatch]unix.Iovec
	headers [icmpBatch]icmpHeader
}

// icmpHeader is struct mmsghdr of recvmmsg(2).
type icmpHeader struct {
	unix.Msghdr
	n uint32
}

// icmpBatches are the buffers of readers: a lone probe has a new one in each run.
var icmpBatches = sync.Pool{New: func() any { return newICMPBatch() }}

func newICMPBatch() *icmpBatchBuffers {
	b := &icmpBatchBuffers{}
	for i := range b.headers {
		b.iov[i].Base = &b.data[i][0]
		b.iov[i].SetLen(icmpMessage)
		h := &b.headers[i]
		h.Iov, h.Name, h.Control = &b.iov[i], (*byte)(unsafe.Pointer(&b.names[i])), &b.control[i][0]
		h.SetIovlen(1)
	}
	return b
}

// receive returns how many messages came, or EAGAIN.
func (b *icmpBatchBuffers) receive(fd int) (int, syscall.Errno) {
	for i := range b.headers {
		b.headers[i].Namelen = unix.SizeofSockaddrInet6
		b.headers[i].SetControllen(icmpControl)
	}
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.headers[0])),
			icmpBatch, unix.MSG_DONTWAIT, 0, 0)
		if errno != unix.EINTR {
			return int(n), errno
		}
	}
}

// sender is who sent the i-th message.
func (b *icmpBatchBuffers) sender(i int) netip.Addr {
	return rawAddr((*[unix.SizeofSockaddrInet6]byte)(unsafe.Pointer(&b.names[i]))[:b.headers[i].Namelen])
}

// rawAddr reads a struct sockaddr_in or sockaddr_in6; it is not valid for others.
func rawAddr(b []byte) netip.Addr {
	const at4, at6 = 4, 8 // after family and port, and the flow label
	switch {
	case len(b) >= at4+4 && *(*uint16)(unsafe.Pointer(&b[0])) == unix.AF_INET:
		return netip.AddrFrom4([4]byte(b[at4:]))
	case len(b) >= at6+16 && *(*uint16)(unsafe.Pointer(&b[0])) == unix.AF_INET6:
		return netip.AddrFrom16([16]byte(b[at6:]))
	}
	return netip.Addr{}
}
