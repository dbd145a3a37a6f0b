// SPDX-License-Identifier: Apache-2.0

package core

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"strings"
	"time"
)

// A Protocol is the transport that a service balances.
type Protocol string

// The protocols, spelled as in the configuration.
const (
	TCP Protocol = "tcp"
	UDP Protocol = "udp"
)

// Number is the IANA protocol number, as the IP header carries it.
func (p Protocol) Number() uint8 {
	if p == UDP {
		return 17
	}
	return 6
}

// Forwarding says how a packet reaches the backend.
type Forwarding string

// The forwarding modes, spelled as in the configuration.
const (
	// DNAT rewrites the destination only. The backend sees the client's address
	// and must route its answer back through this node.
	DNAT Forwarding = "dnat"
	// Masquerade also rewrites the source to this node's address, so that the
	// answer comes back whatever the backend's routes are.
	Masquerade Forwarding = "masquerade"
)

// OnEmpty says what a client gets while no backend is left.
type OnEmpty string

// The answers to a client of an empty service.
const (
	Reject OnEmpty = "reject" // TCP reset, ICMP port unreachable for UDP
	Drop   OnEmpty = "drop"   // silence
)

// A Service is one VIP, port and protocol and the backends behind it.
type Service struct {
	Name       string
	VIP        netip.Addr
	Port       uint16
	Protocol   Protocol
	Forwarding Forwarding
	OnEmpty    OnEmpty

	Policy string             // name of a shipped policy, or of a PolicySpec
	Params map[string]float64 // the policy's parameters; absent means its default
	Every  time.Duration      // time between two decisions

	Probes   []string // names of ProbeSpecs, run against every backend
	Shaping  Shaping
	Backends []Backend // sorted by name; the order is the order of the slots
}

// A Backend is one server behind a service.
type Backend struct {
	Name   string
	Addr   netip.AddrPort
	Weight uint32 // configured weight, 0 to MaxWeight; 0 takes no new connections
}

// MaxWeight is the largest configured weight.
const MaxWeight = 1000

// A PolicySpec is a user's own policy: a WASM module in a file.
type PolicySpec struct {
	Name   string
	Path   string
	SHA256 string // lower-case hex; empty means that any content is taken
}

// A BackendID names a backend across services: "web/web1".
type BackendID struct{ Service, Backend string }

func (id BackendID) String() string { return id.Service + "/" + id.Backend }

// ParseBackendID reads "service/backend".
func ParseBackendID(s string) (BackendID, error) {
	svc, be, ok := strings.Cut(s, "/")
	if !ok || svc == "" || be == "" || strings.Contains(be, "/") {
		return BackendID{}, fmt.Errorf("backend %q: want SERVICE/BACKEND", s)
	}
	return BackendID{svc, be}, nil
}

// Hash is the 64-bit FNV-1a hash by which a policy knows the backend: the same
// on every node and after every restart.
func (id BackendID) Hash() uint64 {
	h := fnv.New64a()
	h.Write([]byte(id.String()))
	return h.Sum64()
}
