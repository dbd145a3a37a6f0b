// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A Connection is an open connection of a watched backend.
type Connection struct {
	Backend  core.BackendID
	Protocol core.Protocol
	Client   netip.AddrPort
	VIP      netip.AddrPort // what the client connected to
	Server   netip.AddrPort // what answers
	// State is that of TCP or SCTP as conntrack(8) spells it; of UDP it is UNREPLIED,
	// REPLIED, or ASSURED after several packets both ways.
	State string
	// Timeout is when the kernel forgets the connection if no packet comes.
	Timeout time.Duration
}

// List reads the open connections of a backend from the kernel, in no order and
// at most limit of them; an ID without a Backend stands for a whole service. It
// reads up to the limit, so that its memory is bounded however many there are.
func (r *Reader) List(ctx context.Context, id core.BackendID, limit int) ([]Connection, error) {
	x := r.latestIndex()
	wanted := map[uint32]struct{}{} // rules
	for backend, span := range x.spans {
		if backend == id || id.Backend == "" && backend.Service == id.Service {
			for i := span.first; i < span.end; i++ {
				wanted[i] = struct{}{}
			}
		}
	}
	if len(wanted) == 0 {
		return nil, fmt.Errorf("list connections of %s: it has none that connection tracking carries", id)
	}
	var found []Connection
	for f := range filtersOf(x, wanted) {
		if len(found) >= limit {
			break
		}
		err := r.ns.list(ctx, f, func(m *message) bool {
			i, ok := x.find(m)
			_, ours := wanted[i]
			// Filters overlap: of each, what is of its own rules.
			if ok && ours && (f == filter{} || f == x.rules[i].filter()) && !m.over() {
				found = append(found, m.connection(x.backends[x.backend[i]]))
			}
			return len(found) < limit
		})
		if err != nil {
			return nil, fmt.Errorf("list connections of %s: %w", id, err)
		}
	}
	return found, nil
}

// connection is a message in full.
func (m *message) connection(backend core.BackendID) Connection {
	orig, _ := readTuple(m.orig)
	reply, _ := readTuple(m.reply)
	return Connection{
		Backend: backend, Protocol: protocolOf(orig.protocol),
		Client: addrPort(orig.src, orig.srcPort), VIP: addrPort(orig.dst, orig.dstPort),
		Server: addrPort(reply.src, reply.srcPort),
		State:  m.stateName(), Timeout: time.Duration(m.timeout) * time.Second,
	}
}

func addrPort(addr [16]byte, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(addr).Unmap(), port)
}

// The states by number: enum tcp_conntrack and enum sctp_conntrack.
var (
	tcpStates = [...]string{"NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT",
		"LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2"}
	sctpStates = [...]string{"NONE", "CLOSED", "COOKIE_WAIT", "COOKIE_ECHOED", "ESTABLISHED",
		"SHUTDOWN_SENT", "SHUTDOWN_RECD", "SHUTDOWN_ACK_SENT", "HEARTBEAT_SENT"}
)

func (m *message) stateName() string {
	switch {
	case m.states == ctaTCP && int(m.state) < len(tcpStates):
		return tcpStates[m.state]
	case m.states == ctaSCTP && int(m.state) < len(sctpStates):
		return sctpStates[m.state]
	case m.status&statusAssured != 0:
		return "ASSURED"
	case m.status&statusSeenReply != 0:
		return "REPLIED"
	}
	return "UNREPLIED"
}
