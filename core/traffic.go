// SPDX-License-Identifier: Apache-2.0

package core

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Traffic is what the kernel does with the connections of a service, apart from
// which backend gets how many of them. It is never changed once made: a plan
// shares it with the configuration that it came from.
type Traffic struct {
	Frontends []Frontend `json:"frontends,omitempty"` // what clients connect to; at least one, and none overlaps another

	Distribution Distribution `json:"distribution,omitzero"`
	HashKey      HashKey      `json:"hash,omitzero"` // of the distribution hash, and of forwarding without connection tracking
	Seed         uint32       `json:"seed,omitzero"` // of the distribution hash; the same on nodes that have to agree

	Forwarding Forwarding `json:"forwarding,omitzero"` // of the backends that do not say otherwise
	// Source is the address per family that snat puts in place of the client's,
	// of the backends that do not say otherwise. Invalid where there is none.
	Source4 netip.Addr `json:"source4,omitzero"`
	Source6 netip.Addr `json:"source6,omitzero"`
	// Hairpin masquerades the connections of the service's own backends, and
	// MasqueradeFor those of clients that would be answered past us because they
	// are on the backends' network.
	Hairpin       bool           `json:"hairpin,omitzero"`
	MasqueradeFor []netip.Prefix `json:"masquerade_for,omitempty"`
	// Interfaces are those on which clients' packets arrive; of the forwarding
	// modes dsr and stateless only, and not empty there.
	Interfaces []string `json:"interfaces,omitempty"`
	// FlowTimeout is how long a flow without connection tracking is remembered
	// after its last packet; of dsr and stateless only.
	FlowTimeout time.Duration `json:"flow_timeout_ns,omitzero"`

	OnEmpty OnEmpty `json:"on_empty,omitzero"`

	Persistence Persistence `json:"persistence,omitzero"`
	Pins        []Pin       `json:"pins,omitempty"` // clients that always get the same backend, the longest prefix first

	Allow   []netip.Prefix `json:"allow,omitempty"` // who may connect; an empty Allow admits all. Sorted, none overlaps another
	Deny    []netip.Prefix `json:"deny,omitempty"`  // who may not
	Limits  Limits         `json:"limits,omitzero"`
	Log     LogRule        `json:"log,omitzero"` // of what filters and limits turn away
	QoS     QoS            `json:"qos,omitzero"`
	Helper  string         `json:"helper,omitzero"`      // conntrack helper: ftp, sip or tftp; empty for none
	Offload bool           `json:"offload,omitzero"`     // established connections go through a flowtable, where the kernel has them
	Bytes   bool           `json:"count_bytes,omitzero"` // count packets and bytes, which costs a lookup per packet
}

// First is the first of the frontends, by which the service is known where there
// is room for one.
func (t *Traffic) First() Frontend { return t.Frontends[0] }

// A Distribution says how the kernel picks the backend of a new connection, in
// proportion to the slots.
type Distribution string

// The distributions, spelled as in the configuration.
const (
	Random     Distribution = "random"     // each connection by itself
	RoundRobin Distribution = "roundrobin" // in turn, smoothly interleaved
	Hash       Distribution = "hash"       // by the client: the same on every node with the same seed
	SymHash    Distribution = "symhash"    // by both ends of the flow, the same in both directions
)

// A HashKey says what of a client the distribution hash looks at.
type HashKey string

// The hash keys, spelled as in the configuration.
const (
	BySource     HashKey = "source"      // the client's address
	BySourcePort HashKey = "source_port" // its address and port
)

// Persistence keeps a client on the backend that it got first. A zero Timeout
// means that there is none.
type Persistence struct {
	Timeout time.Duration `json:"timeout_ns,omitzero"` // since the client's latest new connection
	// Prefix4 and Prefix6 are how many bits of an address make a client.
	Prefix4 int `json:"prefix4,omitzero"`
	Prefix6 int `json:"prefix6,omitzero"`
	// Size is how many clients per family are remembered at most. While that
	// many are, a new client is balanced at each connection.
	Size uint32 `json:"size,omitzero"`
}

// A Pin binds clients to a backend for good, as long as it lives.
type Pin struct {
	Client  netip.Prefix `json:"client,omitzero"`
	Backend string       `json:"backend,omitzero"`
}

// Limits turn new connections away; a zero field switches its limit off.
type Limits struct {
	New           Rate   `json:"new,omitzero"`            // new connections of the service
	NewPerClient  Rate   `json:"new_per_client,omitzero"` // of one address
	Open          uint32 `json:"open,omitzero"`           // concurrent connections of the service
	OpenPerClient uint32 `json:"open_per_client,omitzero"`
	// ResetsPerClient limits the TCP resets that one address may send; what is
	// above it is dropped.
	ResetsPerClient Rate `json:"resets_per_client,omitzero"`
	// Strict drops what conntrack finds invalid.
	Strict bool `json:"strict,omitzero"`
	// Clients is how many addresses the limits per client remember at most.
	Clients uint32 `json:"clients,omitzero"`
	// Answer is what a connection above a limit gets.
	Answer OnEmpty `json:"answer,omitzero"`
}

// A Rate is so many a second, with a burst above it. The zero Rate is no limit.
type Rate struct {
	PerSecond uint32 `json:"per_second"`
	Burst     uint32 `json:"burst"`
}

// A LogRule logs what is turned away, at most so many lines a second; 0 logs
// nothing.
type LogRule struct {
	Prefix    string `json:"prefix,omitzero"`
	PerSecond uint32 `json:"per_second,omitzero"`
}

// QoS marks the packets of a service or a backend for tc and policy routing.
// Nothing of steelyard's own needs it.
type QoS struct {
	DSCP     *uint8  `json:"dscp,omitempty"`     // 0 to 63; nil leaves it
	Priority *uint32 `json:"priority,omitempty"` // a tc class handle, major in the upper half; nil leaves it
	Mark     uint32  `json:"mark,omitzero"`      // packet mark, under Mask
	Mask     uint32  `json:"mask,omitzero"`      // the bits of the packet mark that are ours to set; 0 for none
}

// Active reports whether there is anything to do.
func (q QoS) Active() bool { return q.DSCP != nil || q.Priority != nil || q.Mask != 0 }

// String is such as "dscp 46, class 1:20, mark 0x10/0xf0"; empty if there is
// nothing to do.
func (q QoS) String() string {
	var parts []string
	if q.DSCP != nil {
		parts = append(parts, fmt.Sprintf("dscp %d", *q.DSCP))
	}
	if q.Priority != nil {
		parts = append(parts, fmt.Sprintf("class %x:%x", *q.Priority>>16, *q.Priority&0xffff))
	}
	if q.Mask != 0 {
		parts = append(parts, fmt.Sprintf("mark 0x%x/0x%x", q.Mark, q.Mask))
	}
	return strings.Join(parts, ", ")
}

// A Frontend is one thing that clients connect to: an address or a network, a
// range of ports, and a protocol.
type Frontend struct {
	VIP      netip.Prefix `json:"vip,omitzero"` // masked; of one address in the usual case
	Ports    PortRange    `json:"ports,omitzero"`
	Protocol Protocol     `json:"protocol,omitzero"`
}

// Exact reports whether it is one address and one port.
func (f Frontend) Exact() bool { return f.VIP.IsSingleIP() && f.Ports.First == f.Ports.Last }

// Addr is the address, or the first of the network.
func (f Frontend) Addr() netip.Addr { return f.VIP.Addr() }

// Overlaps reports whether a packet can be for both.
func (f Frontend) Overlaps(o Frontend) bool {
	return f.Protocol == o.Protocol && f.VIP.Overlaps(o.VIP) &&
		f.Ports.First <= o.Ports.Last && o.Ports.First <= f.Ports.Last
}

// Shadows reports whether f, a range, takes what the exact frontend o of another
// service was to have. An exact frontend goes before a range, but what has no
// connection tracking goes before all that is tracked.
func (f Frontend) Shadows(o Frontend, own, other Forwarding) bool {
	return !f.Exact() && !own.Tracked() && o.Exact() && other.Tracked() && f.Overlaps(o)
}

// String is such as "192.0.2.10:80/tcp" or "192.0.2.0/24:8000-8999/udp".
func (f Frontend) String() string { return f.Address() + "/" + string(f.Protocol) }

// Address is String without the protocol.
func (f Frontend) Address() string {
	host := f.VIP.String()
	if f.VIP.IsSingleIP() {
		host = f.VIP.Addr().String()
	}
	if f.VIP.Addr().Is6() {
		host = "[" + host + "]"
	}
	return host + ":" + f.Ports.String()
}

// A PortRange is First to Last, both included. 0 to 65535 is every port.
type PortRange struct {
	First uint16 `json:"first"`
	Last  uint16 `json:"last"`
}

// OnePort is the range of one port.
func OnePort(p uint16) PortRange { return PortRange{p, p} }

// Single reports whether it is one port.
func (r PortRange) Single() bool { return r.First == r.Last }

// String is "80", "8000-8999", or "*" for every port.
func (r PortRange) String() string {
	switch {
	case r.First == r.Last:
		return strconv.Itoa(int(r.First))
	case r.First <= 1 && r.Last == 65535:
		return "*"
	}
	return strconv.Itoa(int(r.First)) + "-" + strconv.Itoa(int(r.Last))
}

// Simple is the traffic of a service with one address and port, with the
// defaults of the configuration.
func Simple(vip netip.AddrPort, protocol Protocol) Traffic {
	return Traffic{
		Frontends:    []Frontend{ExactFrontend(vip, protocol)},
		Distribution: Random, HashKey: BySource, Forwarding: DNAT, OnEmpty: Reject,
	}
}

// ExactFrontend is one address and one port.
func ExactFrontend(vip netip.AddrPort, protocol Protocol) Frontend {
	return Frontend{VIP: netip.PrefixFrom(vip.Addr(), vip.Addr().BitLen()), Ports: OnePort(vip.Port()), Protocol: protocol}
}
