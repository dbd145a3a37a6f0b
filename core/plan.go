// SPDX-License-Identifier: Apache-2.0

package core

import (
	"encoding/json"
	"fmt"
	"net"
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
	// OffloadDevices are the interfaces on whose packets offload works. One that
	// is not there does no harm.
	OffloadDevices []string `json:"offload_devices,omitempty"`
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
	Addr  netip.AddrPort `json:"address,omitzero"` // port 0 keeps the port that the client asked for
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

// A hopText is a Hop in JSON.
type hopText struct {
	MAC    string `json:"mac"` // as in 02:00:00:00:00:01
	Own    string `json:"own"`
	Device string `json:"device"`
}

// MarshalJSON writes the addresses as people do.
func (h Hop) MarshalJSON() ([]byte, error) {
	return json.Marshal(hopText{net.HardwareAddr(h.MAC[:]).String(), net.HardwareAddr(h.Own[:]).String(), h.Device})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (h *Hop) UnmarshalJSON(data []byte) error {
	var t hopText
	if err := json.Unmarshal(data, &t); err != nil {
		return err
	}
	mac, err := net.ParseMAC(t.MAC)
	own, err2 := net.ParseMAC(t.Own)
	if err != nil || err2 != nil || len(mac) != 6 || len(own) != 6 {
		return fmt.Errorf("link address: %q and %q, want 6 bytes each", t.MAC, t.Own)
	}
	*h = Hop{MAC: [6]byte(mac), Own: [6]byte(own), Device: t.Device}
	return nil
}

// A Commit is one transaction that the kernel took and that was read back.
type Commit struct {
	Generation uint32        `json:"generation"` // of the ruleset, after the transaction
	At         time.Time     `json:"at"`
	Took       time.Duration `json:"-"`
	Changed    int           `json:"changed_elements"` // set elements added and removed
	// Services it was for, and Decisions the Seq of the decision of each that it made
	// real; 0 for one that only was brought in again. Left out of decisions, which know
	// theirs.
	Services  []string `json:"services,omitempty"`
	Decisions []uint64 `json:"decisions,omitempty"`
}

// A CounterKey names a kernel counter: of a service, or of one of its backends
// if Backend is set.
type CounterKey = BackendID

// Counters are the kernel's counts of connections since the table was made.
type Counters struct {
	Connections uint64 // first packets that were sent to the backend
	Refused     uint64 // first packets that found no backend; of services only
	Turned      Turned // of services only

	// Packets and bytes to the backends and back, of IP packets as the kernel
	// handles them: what it has merged into one counts as one. They are 0 unless
	// BytesCounted, which says that the service counts them.
	PacketsIn, BytesIn   uint64
	PacketsOut, BytesOut uint64
	BytesCounted         bool
}

// A FlowCount is what conntrack says about one backend.
type FlowCount struct {
	Open   uint64 // connections open now
	Abroad uint64 // of Open, those on other nodes of the group
	Opened uint64 // since the reader started
	Closed uint64 // since the reader started

	// What clients' TCP connections met, for passive health: those that the backend
	// left unanswered and those that it refused, since the reader started, and in a
	// row, which a connection that is answered ends. All are 0 where nobody asked.
	Unanswered, Refused       uint64
	UnansweredRow, RefusedRow uint32
}
