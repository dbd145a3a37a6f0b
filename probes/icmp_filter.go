// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// filter has the kernel drop what is not about requests of this socket, so that the
// other pings of a busy machine do not wake us.
func (s *icmpSocket) filter() error {
	p := icmpFilter4(s.id)
	if s.v6 {
		p = icmpFilter6(s.id)
	}
	err := unix.SetsockoptSockFprog(s.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]})
	if err != nil {
		return fmt.Errorf("filter ICMP messages: %w", err)
	}
	return nil
}

// The instructions of classic BPF in use.
const (
	bpfByte     = unix.BPF_LD | unix.BPF_B | unix.BPF_ABS
	bpfHalf     = unix.BPF_LD | unix.BPF_H | unix.BPF_ABS
	bpfByteAt   = unix.BPF_LD | unix.BPF_B | unix.BPF_IND
	bpfHalfAt   = unix.BPF_LD | unix.BPF_H | unix.BPF_IND
	bpfEqual    = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	bpfIPLength = unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH // of the header, into X
	bpfReturn   = unix.BPF_RET | unix.BPF_K
)

// icmpFilter4 lets echo replies to id through, and errors about requests of it. A
// raw IPv4 socket sees the IP header, too.
func icmpFilter4(id uint16) []unix.SockFilter {
	return []unix.SockFilter{
		0:  {Code: bpfIPLength},
		1:  {Code: bpfByteAt, K: 0},
		2:  {Code: bpfEqual, K: icmpEchoReply, Jt: 13},
		3:  {Code: bpfEqual, K: icmpUnreachable, Jt: 2},
		4:  {Code: bpfEqual, K: icmpTimeExceeded, Jt: 1},
		5:  {Code: bpfEqual, K: icmpParameter, Jf: 13},
		6:  {Code: bpfByteAt, K: echoHeader}, // the header of the packet that it is about
		7:  {Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: 15},
		8:  {Code: unix.BPF_ALU | unix.BPF_LSH | unix.BPF_K, K: 2},
		9:  {Code: unix.BPF_ALU | unix.BPF_ADD | unix.BPF_X},
		10: {Code: unix.BPF_ALU | unix.BPF_ADD | unix.BPF_K, K: echoHeader},
		11: {Code: unix.BPF_MISC | unix.BPF_TAX},
		12: {Code: bpfByteAt, K: 0},
		13: {Code: bpfEqual, K: icmpEcho, Jf: 5},
		14: {Code: bpfHalfAt, K: 4},
		15: {Code: bpfEqual, K: uint32(id), Jt: 2, Jf: 3},
		16: {Code: bpfHalfAt, K: 4},
		17: {Code: bpfEqual, K: uint32(id), Jf: 1},
		18: {Code: bpfReturn, K: 0xffffffff},
		19: {Code: bpfReturn},
	}
}

// icmpFilter6 is the same for IPv6, where a raw socket does not see the IP header.
func icmpFilter6(id uint16) []unix.SockFilter {
	return []unix.SockFilter{
		0:  {Code: bpfByte},
		1:  {Code: bpfEqual, K: icmp6EchoReply, Jt: 10},
		2:  {Code: bpfEqual, K: icmp6Unreachable, Jt: 3},
		3:  {Code: bpfEqual, K: icmp6TooBig, Jt: 2},
		4:  {Code: bpfEqual, K: icmp6TimeExceeded, Jt: 1},
		5:  {Code: bpfEqual, K: icmp6Parameter, Jf: 9},
		6:  {Code: bpfByte, K: echoHeader + 6},
		7:  {Code: bpfEqual, K: protocolICMP6, Jf: 7},
		8:  {Code: bpfByte, K: echoHeader + ip6Header},
		9:  {Code: bpfEqual, K: icmp6Echo, Jf: 5},
		10: {Code: bpfHalf, K: echoHeader + ip6Header + 4},
		11: {Code: bpfEqual, K: uint32(id), Jt: 2, Jf: 3},
		12: {Code: bpfHalf, K: 4},
		13: {Code: bpfEqual, K: uint32(id), Jf: 1},
		14: {Code: bpfReturn, K: 0xffffffff},
		15: {Code: bpfReturn},
	}
}
