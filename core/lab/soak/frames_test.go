// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The clients: connection i comes from address i mod clients and from the port
// after those that all of them have used, so none comes twice.
const (
	clients   = 1 << 14
	firstPort = 1024
	maxFlows  = clients * (65536 - firstPort)
)

// firstClient is the first of the clients' addresses; clientNet is all of them.
var (
	firstClient = [4]byte{10, 64, 0, 0}
	clientNet   = net.IPNet{IP: firstClient[:], Mask: net.CIDRMask(18, 32)}
)

// Offsets in a frame: Ethernet, IPv4, UDP, and 4 bytes of nothing.
const (
	atIP      = 14
	atUDP     = atIP + 20
	frameSize = atUDP + 8 + 4
	batchSize = 64 // frames per system call
)

// A sender makes a UDP connection of every frame: it knows no handshake, so one
// frame is all that a new connection takes.
type sender struct {
	fd     int
	frames [batchSize][frameSize]byte
	iovs   [batchSize]unix.Iovec
	msgs   [batchSize]mmsghdr
	next   int // number of the next connection
}

// mmsghdr is struct mmsghdr of the kernel.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
	_   [4]byte
}

// newSender opens the socket in the thread's namespace, on link eth0, towards a
// router with that address.
func newSender(router net.HardwareAddr, to netip.AddrPort) (*sender, error) {
	link, err := net.InterfaceByName("eth0")
	if err != nil {
		return nil, fmt.Errorf("open sender: %w", err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open sender: %w", err)
	}
	s := &sender{fd: fd}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: link.Index}); err != nil {
		return nil, errors.Join(fmt.Errorf("bind sender: %w", err), s.close())
	}
	for i := range s.frames {
		f := s.frames[i][:]
		copy(f[0:], router)
		copy(f[6:], link.HardwareAddr)
		binary.BigEndian.PutUint16(f[12:], unix.ETH_P_IP)
		ip := f[atIP:]
		ip[0], ip[8], ip[9] = 0x45, 64, unix.IPPROTO_UDP
		binary.BigEndian.PutUint16(ip[2:], frameSize-atIP)
		vip := to.Addr().As4()
		copy(ip[16:], vip[:])
		udp := f[atUDP:] // its checksum 0 means that there is none
		binary.BigEndian.PutUint16(udp[2:], to.Port())
		binary.BigEndian.PutUint16(udp[4:], frameSize-atUDP)
		s.iovs[i] = unix.Iovec{Base: &s.frames[i][0], Len: frameSize}
		s.msgs[i].hdr.Iov, s.msgs[i].hdr.Iovlen = &s.iovs[i], 1
	}
	return s, nil
}

func (s *sender) close() error { return unix.Close(s.fd) }

// send makes one batch of new connections, from any namespace.
func (s *sender) send() error {
	if s.next+batchSize > maxFlows {
		return errors.New("send: every client has used all its ports")
	}
	for i := range s.frames {
		s.from(s.frames[i][:], s.next+i)
	}
	for sent := 0; sent < batchSize; {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.msgs[sent])), uintptr(batchSize-sent), 0, 0, 0)
		switch errno {
		case 0:
			sent += int(n)
			s.next += int(n)
		case unix.EINTR, unix.ENOBUFS: // nothing went out; go on from there
		default:
			return fmt.Errorf("send: %w", errno)
		}
	}
	return nil
}

// from makes a frame the first one of a connection.
func (s *sender) from(f []byte, number int) {
	ip := f[atIP:atUDP]
	client := binary.BigEndian.Uint32(firstClient[:]) + uint32(number%clients)
	binary.BigEndian.PutUint32(ip[12:], client)
	binary.BigEndian.PutUint16(f[atUDP:], uint16(firstPort+number/clients))
	binary.BigEndian.PutUint16(ip[10:], 0)
	binary.BigEndian.PutUint16(ip[10:], checksum(ip))
}

// checksum is that of RFC 1071, of an even number of bytes.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum>>16 > 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
