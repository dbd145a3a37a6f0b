// SPDX-License-Identifier: Apache-2.0

package core

import (
	"net/netip"
	"time"
)

// Slots is the resolution of a weights map: `numgen random mod 65536`.
const Slots = 65536

// A Plan is the desired state of the kernel: plain data, no kernel needed.
type Plan struct {
	Services []ServicePlan `json:"services,omitempty"` // sorted by name
	// LocalClients balances the connections that this node itself makes, too.
	LocalClients bool `json:"local_clients,omitzero"`
}

// A ServicePlan is one service as the kernel should carry it.
type ServicePlan struct {
	Name string `json:"name,omitzero"`
	*Traffic
	Backends []BackendPlan `json:"backends,omitempty"` // sorted by name; one of both families stands there twice, IPv4 first
}

// A BackendPlan is one address of a backend and the slots it holds. The slots of
// a service's backends of one family add up to Slots, or to 0 when no backend is
// left; they are laid out from 0 upward in the order of the backends.
type BackendPlan struct {
	Name  string         `json:"name,omitzero"`
	Addr  netip.AddrPort `json:"addr,omitzero"` // port 0 keeps the port that the client asked for
	Slots uint32         `json:"slots,omitzero"`
	// Alive keeps the clients that persistence and pins have bound to it: it is
	// up, or drained. A backend with slots is alive.
	Alive bool `json:"alive,omitzero"`

	Forwarding Forwarding `json:"forwarding,omitzero"`
	Source     netip.Addr `json:"source,omitzero"` // of snat
	QoS        QoS        `json:"qos,omitzero"`
	Hop        Hop        `json:"hop,omitzero"` // of dsr
}

// A Hop is the way to a backend on the link: what dsr writes into a frame. The
// zero Hop is one that is not known.
type Hop struct {
	MAC    [6]byte // of the backend
	Own    [6]byte // of the interface
	Device string  // the interface that the frame leaves by
}

// A Commit is one transaction that the kernel took and that was read back.
type Commit struct {
	Generation uint32        `json:"generation"` // of the ruleset, after the transaction
	At         time.Time     `json:"at"`
	Took       time.Duration `json:"-"`
	Changed    int           `json:"changed_elements"` // set elements added and removed
	// Services it was for; left out of decisions, which know theirs.
	Services []string `json:"services,omitempty"`
}

// A CounterKey names a kernel counter: of a service, or of one of its backends
// if Backend is set.
type CounterKey = BackendID

// Counters are the kernel's counts of connections since the table was made.
type Counters struct {
	Connections uint64 // first packets that were sent to the backend
	Refused     uint64 // first packets that found no backend; of services only
	Turned      Turned // of services only
}

// A FlowCount is what conntrack says about one backend.
type FlowCount struct {
	Open   uint64 // connections open now
	Opened uint64 // since the reader started
	Closed uint64 // since the reader started
}

// A Session is a client that persistence has bound to a backend.
type Session struct {
	Service string        `json:"service"`
	Client  netip.Prefix  `json:"client"`
	Backend string        `json:"backend"` // empty if it is none of the configuration
	Address string        `json:"address"` // of the backend
	Expires time.Duration `json:"-"`       // from now, if the client does not come again
	Pinned  bool          `json:"pinned"`  // by the configuration or a command; never expires
}
