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
	Services []ServicePlan // sorted by name
}

// A ServicePlan is one service as the kernel should carry it.
type ServicePlan struct {
	Name       string
	VIP        netip.Addr
	Port       uint16
	Protocol   Protocol
	Forwarding Forwarding
	OnEmpty    OnEmpty
	Backends   []BackendPlan // sorted by name
}

// A BackendPlan is a backend and the slots it holds. The slots of a service's
// backends add up to Slots, or to 0 when no backend is left; they are laid out
// from 0 upward in the order of the backends.
type BackendPlan struct {
	Name  string
	Addr  netip.AddrPort
	Slots uint32
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
}

// A FlowCount is what conntrack says about one backend.
type FlowCount struct {
	Open   uint64 // connections open now
	Opened uint64 // since the reader started
	Closed uint64 // since the reader started
}
