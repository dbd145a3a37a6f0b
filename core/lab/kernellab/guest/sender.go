// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A sender sends prebuilt packets from the client, by a raw socket: through the
// client's IP layer as any program's, but from whatever address they say.
type sender struct {
	fd      int
	packets [][]byte
	to      []unix.RawSockaddrInet4 // one per packet: what the route is looked up by
}

func (w *world) newSender(packets [][]byte) (*sender, error) {
	s := &sender{packets: packets, to: make([]unix.RawSockaddrInet4, len(packets))}
	for i, p := range packets {
		s.to[i] = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: [4]byte(p[16:20])}
	}
	err := w.in(w.client, func() (err error) {
		s.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open raw socket: %w", err)
	}
	return s, nil
}

// run sends every packet once and returns how many nanoseconds that took. Every
// packet's whole way is inside of that: the links have no queues, and the
// kernel takes a packet as far as it goes before the system call returns.
//
// The system calls are raw, so that Go's scheduler takes no note of them.
func (s *sender) run() (int64, error) {
	var began, ended unix.Timespec
	if _, _, e := unix.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(&began)), 0); e != 0 {
		return 0, e
	}
	for i, p := range s.packets {
		_, _, e := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(s.fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), 0,
			uintptr(unsafe.Pointer(&s.to[i])), unix.SizeofSockaddrInet4)
		if e != 0 {
			return 0, fmt.Errorf("send to %s: %w", netip.AddrFrom4(s.to[i].Addr), e)
		}
	}
	if _, _, e := unix.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(&ended)), 0); e != 0 {
		return 0, e
	}
	return ended.Nano() - began.Nano(), nil
}

// sendOne sends one packet from the client.
func (w *world) sendOne(f flow) error {
	s, err := w.newSender([][]byte{packet(f)})
	if err != nil {
		return err
	}
	defer closeFD(s.fd)
	_, err = s.run()
	return err
}
