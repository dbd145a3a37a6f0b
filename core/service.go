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
	TCP  Protocol = "tcp"
	UDP  Protocol = "udp"
	SCTP Protocol = "sctp"
)

// Number is the IANA protocol number, as the IP header carries it.
func (p Protocol) Number() uint8 {
	switch p {
	case UDP:
		return 17
	case SCTP:
		return 132
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
	// SNAT also rewrites the source, to an address of the configuration.
	SNAT Forwarding = "snat"
	// Local redirects to a port of this node itself. The backends are its ports.
	Local Forwarding = "local"
	// DSR leaves the packet as it is and sends it to the backend's link address;
	// the backend has the VIP too and answers the client itself. There is no
	// connection tracking.
	DSR Forwarding = "dsr"
	// Stateless rewrites the destination, and the source of the answers, packet
	// by packet, without connection tracking.
	Stateless Forwarding = "stateless"
)

// Tracked reports whether connection tracking carries the connections.
func (f Forwarding) Tracked() bool { return f != DSR && f != Stateless }

// OnEmpty says what a client gets while no backend is left.
type OnEmpty string

// The answers to a client of an empty service.
const (
	Reject OnEmpty = "reject" // TCP reset, ICMP port unreachable for UDP
	Drop   OnEmpty = "drop"   // silence
)

// A Service is what clients connect to and the backends behind it.
type Service struct {
	Name string `json:"name,omitzero"`
	Traffic

	Policy string             `json:"policy,omitzero"`   // name of a shipped policy, or of a PolicySpec
	Shadow string             `json:"shadow,omitzero"`   // a second policy, whose weights are only looked at; empty for none
	Params map[string]float64 `json:"params,omitempty"`  // the policy's parameters; absent means its default
	Every  time.Duration      `json:"every_ns,omitzero"` // time between two decisions

	Probes []string `json:"probes,omitempty"` // names of ProbeSpecs, run against every backend

	Health  HealthRule  `json:"health,omitzero"`
	Passive PassiveRule `json:"passive,omitzero"`

	Shaping  Shaping   `json:"shaping,omitzero"`
	Backends []Backend `json:"backends,omitempty"` // sorted by name; the order is the order of the slots

	OnDown OnDown `json:"on_down,omitzero"`
	// MinUp is how many backends of a priority group must be up for the next
	// group to stay in reserve; at least 1.
	MinUp int `json:"min_up,omitzero"`

	// AllowFile and DenyFile are the paths of the files that Allow and Deny come
	// from, in part or in whole.
	AllowFile string `json:"allow_file,omitzero"`
	DenyFile  string `json:"deny_file,omitzero"`
}

// OnDown says what becomes of the open connections of a backend that went down.
type OnDown string

// The choices, spelled as in the configuration.
const (
	Keep  OnDown = "keep"  // they stay, in case it comes back; UDP goes anyway, for it never ends by itself
	Reset OnDown = "reset" // they are forgotten, so that a live backend answers their next packet with a reset
)

// A Backend is one server behind a service.
type Backend struct {
	Name string `json:"name,omitzero"`
	// Addr is where it is, and what probes ask. Port 0 keeps the port that the
	// client asked for. With forwarding local it is a port of 127.0.0.1,
	// for the probes; the data plane uses the port alone, for both families.
	Addr netip.AddrPort `json:"address,omitzero"`
	// Alt is its address of the other family, of a service with frontends of
	// both; invalid if it has none.
	Alt    netip.AddrPort `json:"alternative_address,omitzero"`
	Weight uint32         `json:"weight"` // configured weight, 0 to MaxWeight; 0 takes no new connections

	// Priority is its group: 0 serves first, 1 when too few of 0 are up, and so on.
	Priority uint8 `json:"priority,omitzero"`
	// MaxConnections takes it out of the weights while that many are open; 0 for
	// no limit.
	MaxConnections uint32 `json:"max_connections,omitzero"`
	// Sorry marks the backend that serves when no other can. It is not probed.
	Sorry bool `json:"sorry,omitzero"`

	Forwarding Forwarding `json:"forwarding,omitzero"` // empty: that of the service
	Source     netip.Addr `json:"source,omitzero"`     // of snat; invalid: that of the service
	QoS        QoS        `json:"qos,omitzero"`        // on top of the service's
}

// MaxWeight is the largest configured weight.
const MaxWeight = 1000

// A PolicySpec is a user's own policy: a WASM module or a Lua script in a file, or
// a Lua script in the configuration itself.
type PolicySpec struct {
	Name   string `json:"name,omitzero"`
	Path   string `json:"path,omitzero"`   // of a file; empty if Lua is set
	Lua    string `json:"lua,omitzero"`    // the script; empty if Path is set
	SHA256 string `json:"sha256,omitzero"` // lower-case hex, of the file or the script; empty means that any content is taken
}

// A BackendID names a backend across services: "web/web1".
type BackendID struct {
	Service string `json:"service"`
	Backend string `json:"backend"`
}

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

// ProbeAddr is the address that the probes of a backend of a service ask: where each
// client brings a port of its own, the first one.
func (b *Backend) ProbeAddr(s *Service) netip.AddrPort {
	if b.Addr.Port() == 0 {
		return netip.AddrPortFrom(b.Addr.Addr(), s.First().Ports.First)
	}
	return b.Addr
}
