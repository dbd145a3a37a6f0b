// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
)

// A flow is what a packet's headers say.
type flow struct{ src, dst netip.AddrPort }

const (
	ethLen    = 14
	ipLen     = 20
	udpLen    = 8
	packetLen = 46 // the shortest that Ethernet carries
)

// packet is an IPv4 UDP packet with right checksums, so that the kernel has the
// work with them that it has with any packet.
func packet(f flow) []byte {
	ip := make([]byte, packetLen)
	ip[0] = 0x45
	binary.BigEndian.PutUint16(ip[2:], packetLen)
	ip[6] = 0x40 // do not fragment
	ip[8] = 64
	ip[9] = 17
	s, d := f.src.Addr().As4(), f.dst.Addr().As4()
	copy(ip[12:], s[:])
	copy(ip[16:], d[:])
	binary.BigEndian.PutUint16(ip[10:], ^sum(0, ip[:ipLen]))

	udp := ip[ipLen:]
	binary.BigEndian.PutUint16(udp, f.src.Port())
	binary.BigEndian.PutUint16(udp[2:], f.dst.Port())
	binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)))
	pseudo := sum(17+uint32(len(udp)), ip[12:20])
	check := ^sum(uint32(pseudo), udp)
	if check == 0 {
		check = 0xffff // RFC 768: 0 means that there is none
	}
	binary.BigEndian.PutUint16(udp[6:], check)
	return ip
}

// frame is a packet from one link address to another.
func frame(dst, src net.HardwareAddr, f flow) []byte {
	b := append(append([]byte(nil), dst...), src...)
	return append(append(b, 8, 0), packet(f)...)
}

// sum is the ones' complement sum of RFC 1071, on top of start.
func sum(start uint32, b []byte) uint16 {
	for ; len(b) >= 2; b = b[2:] {
		start += uint32(binary.BigEndian.Uint16(b))
	}
	for start > 0xffff {
		start = start>>16 + start&0xffff
	}
	return uint16(start)
}

// parseFrame reads the flow of a UDP packet.
func parseFrame(b []byte) (flow, error) {
	if len(b) < ethLen+ipLen+udpLen || b[12] != 8 || b[13] != 0 || b[ethLen] != 0x45 || b[ethLen+9] != 17 {
		return flow{}, errors.New("no UDP packet")
	}
	ip, udp := b[ethLen:], b[ethLen+ipLen:]
	addr := func(at int) netip.Addr { return netip.AddrFrom4([4]byte(ip[at : at+4])) }
	return flow{
		src: netip.AddrPortFrom(addr(12), binary.BigEndian.Uint16(udp)),
		dst: netip.AddrPortFrom(addr(16), binary.BigEndian.Uint16(udp[2:])),
	}, nil
}

func (f flow) reversed() flow { return flow{f.dst, f.src} }
