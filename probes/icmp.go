// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// The types of messages that matter: RFC 792 and RFC 4443.
const (
	icmpEchoReply    = 0
	icmpUnreachable  = 3
	icmpEcho         = 8
	icmpTimeExceeded = 11
	icmpParameter    = 12

	icmp6Unreachable  = 1
	icmp6TooBig       = 2
	icmp6TimeExceeded = 3
	icmp6Parameter    = 4
	icmp6Echo         = 128
	icmp6EchoReply    = 129

	protocolICMP6 = 58
)

const (
	echoHeader = 8 // type, code, checksum, identifier, sequence
	// echoCookie is how many bytes of the payload prove that a reply is one to our
	// request: whoever has not seen that cannot know them.
	echoCookie = 8
	ip6Header  = 40
)

// An echo is what a message says about one of our echo requests: that it was
// answered, or why it could not be delivered.
type echo struct {
	id, seq uint16
	replied bool
	// cookie is that of the request; known says that the message has it. Of a request
	// that could not be delivered often only the first 8 bytes come back.
	cookie uint64
	known  bool
	// to is where the request was to go, of one that could not be delivered.
	to         netip.Addr
	kind, code uint8
}

// newEcho writes an echo request into b, whose payload is as long as there is room,
// and at least echoCookie bytes.
func newEcho(b []byte, v6 bool, id, seq uint16, cookie uint64) {
	b[0], b[1] = icmpEcho, 0
	if v6 {
		b[0] = icmp6Echo
	}
	binary.BigEndian.PutUint16(b[2:], 0)
	binary.BigEndian.PutUint16(b[4:], id)
	binary.BigEndian.PutUint16(b[6:], seq)
	binary.BigEndian.PutUint64(b[echoHeader:], cookie)
	if !v6 { // else the kernel does it, which knows the addresses
		binary.BigEndian.PutUint16(b[2:], checksum(b))
	}
}

// checksum is that of RFC 1071.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	sum = sum&0xffff + sum>>16
	return ^uint16(sum + sum>>16)
}

// readEcho reads an ICMP message. It reports false for everything that is not about
// an echo request.
func readEcho(b []byte, v6 bool) (e echo, ok bool) {
	if len(b) < echoHeader {
		return echo{}, false
	}
	kind, code := b[0], b[1]
	switch {
	case !v6 && kind == icmpEchoReply, v6 && kind == icmp6EchoReply:
		e = readRequest(b)
		e.replied = true
		return e, e.known
	case !v6 && (kind == icmpUnreachable || kind == icmpTimeExceeded || kind == icmpParameter):
		e, ok = readQuoted4(b[echoHeader:])
	case v6 && kind >= icmp6Unreachable && kind <= icmp6Parameter:
		e, ok = readQuoted6(b[echoHeader:])
	}
	e.kind, e.code = kind, code
	return e, ok
}

// readRequest reads what a request and its reply have in common.
func readRequest(b []byte) (e echo) {
	e.id, e.seq = binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint16(b[6:])
	if len(b) >= echoHeader+echoCookie {
		e.cookie, e.known = binary.BigEndian.Uint64(b[echoHeader:]), true
	}
	return e
}

// readQuoted4 reads the IPv4 packet that an error is about.
func readQuoted4(b []byte) (e echo, ok bool) {
	size, ok := ip4HeaderLen(b)
	if !ok || b[9] != 1 || len(b) < size+echoHeader || b[size] != icmpEcho {
		return echo{}, false
	}
	e = readRequest(b[size:])
	e.to = netip.AddrFrom4([4]byte(b[16:20]))
	return e, true
}

// ip4HeaderLen is how long the header of an IPv4 packet is.
func ip4HeaderLen(b []byte) (size int, ok bool) {
	if len(b) < 20 {
		return 0, false
	}
	size = int(b[0]&15) * 4
	return size, b[0]>>4 == 4 && size >= 20 && len(b) >= size
}

// readQuoted6 is the same for IPv6. Our requests have no extension headers.
func readQuoted6(b []byte) (e echo, ok bool) {
	if len(b) < ip6Header+echoHeader || b[0]>>4 != 6 || b[6] != protocolICMP6 || b[ip6Header] != icmp6Echo {
		return echo{}, false
	}
	e = readRequest(b[ip6Header:])
	e.to = netip.AddrFrom16([16]byte(b[24:40]))
	return e, true
}

// The codes of unreachable messages.
var (
	icmpReasons = []string{
		"network unreachable", "host unreachable", "protocol unreachable", "port unreachable", "packet too big",
		"source route failed", "network unknown", "host unknown", "host isolated", "network prohibited", "host prohibited",
		"network unreachable for this type of service", "host unreachable for this type of service", "administratively prohibited",
	}
	icmp6Reasons = []string{
		"no route", "administratively prohibited", "beyond the scope of the source address", "address unreachable",
		"port unreachable", "source address not allowed", "route rejected",
	}
)

// reason is why a request was not delivered, in a few words.
func (e echo) reason(v6 bool) string {
	list, unreachable := icmpReasons, uint8(icmpUnreachable)
	if v6 {
		list, unreachable = icmp6Reasons, icmp6Unreachable
	}
	switch {
	case e.kind == unreachable && int(e.code) < len(list):
		return list[e.code]
	case v6 && e.kind == icmp6TooBig:
		return "packet too big"
	case v6 && e.kind == icmp6TimeExceeded, !v6 && e.kind == icmpTimeExceeded:
		return "its time to live was over, as in a loop of routes"
	}
	return fmt.Sprintf("ICMP type %d, code %d", e.kind, e.code)
}
