// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"bytes"
	"context"
	"net"
	"net/netip"
)

// An agentConn is the socket of one run of SNMP v3, as gosnmp uses it. It hides
// that it is a net.PacketConn, so that gosnmp reads and writes through it.
type agentConn struct {
	net.Conn
	udp     *net.UDPConn
	to      netip.AddrPort
	refusal usmReport      // the last USM report that was read, 0 if there was none
	heard   bool           // whether anything was read
	from    netip.AddrPort // of the latest datagram
}

func openAgentConn(ctx context.Context, w way, to netip.AddrPort) (*agentConn, error) {
	udp, err := openAgentSocket(ctx, w, to.Addr())
	if err != nil {
		return nil, err
	}
	return &agentConn{Conn: udp, udp: udp, to: to}, nil
}

func (c *agentConn) Write(p []byte) (int, error) { return c.udp.WriteToUDPAddrPort(p, c.to) }

func (c *agentConn) Read(p []byte) (int, error) {
	n, from, err := c.udp.ReadFromUDPAddrPort(p)
	if n > 0 {
		c.heard, c.from = true, from
	}
	if r := findReport(p[:n]); r != 0 && r != usmUnknownEngine {
		c.refusal = r
	}
	return n, err
}

// A usmReport is the last arc of a usmStats object, RFC 3414 section 5: what an
// agent reports when it refuses a v3 message.
type usmReport byte

const (
	usmLevel         usmReport = 1 // usmStatsUnsupportedSecLevels
	usmTimeWindow    usmReport = 2 // usmStatsNotInTimeWindows
	usmUser          usmReport = 3 // usmStatsUnknownUserNames
	usmUnknownEngine usmReport = 4 // usmStatsUnknownEngineIDs: how discovery begins
	usmDigest        usmReport = 5 // usmStatsWrongDigests
	usmDecryption    usmReport = 6 // usmStatsDecryptionErrors
)

// usmStats is 1.3.6.1.6.3.15.1.1 in BER; the arc of the object and .0 follow.
var usmStats = []byte{0x06, 0x0a, 0x2b, 6, 1, 6, 3, 15, 1, 1}

// findReport looks for a report in a packet. Reports about a wrong key cannot
// be signed with it, so gosnmp throws them away unread and we would not learn
// why; a forged one can do no more than give a failed run a wrong reason.
func findReport(packet []byte) usmReport {
	_, rest, ok := bytes.Cut(packet, usmStats)
	if !ok || len(rest) < 2 || rest[1] != 0 || rest[0] < byte(usmLevel) || rest[0] > byte(usmDecryption) {
		return 0
	}
	return usmReport(rest[0])
}
