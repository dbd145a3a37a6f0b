// SPDX-License-Identifier: Apache-2.0

package core

import (
	"slices"
	"time"
)

// A NodeView is the state of a running steelyard: what `status` and `show`
// print and the control API returns. Units are in the keys; a null is a number
// that nobody knows.
type NodeView struct {
	Node      string    `json:"node"`
	Version   string    `json:"version"`
	StartedAt time.Time `json:"started_at"`
	At        time.Time `json:"at"`

	ConfigPath  string    `json:"config_path"`
	ConfigHash  string    `json:"config_hash"`
	ConfigAt    time.Time `json:"config_at"`
	ReloadError string    `json:"reload_error,omitempty"` // of the last reload; empty if it was good

	// SamplesDropped counts samples that came faster than they could be taken.
	SamplesDropped uint64 `json:"samples_dropped_total"`
	// SamplesUnknown counts samples of others about a backend that is not
	// configured here; MetricsRefused metrics with a value or a unit that cannot be,
	// or too old to be used.
	SamplesUnknown uint64 `json:"samples_unknown_total"`
	MetricsRefused uint64 `json:"metrics_refused_total"`
	// Warnings are what an operator should mend although all of this works.
	Warnings []string `json:"warnings,omitempty"`

	// Roles and Cluster are of a node that works with others; Cluster is nil of one
	// that is alone.
	Roles   []string     `json:"roles,omitempty"`
	Cluster *ClusterView `json:"cluster,omitempty"`
	// Revision is that of the pushed configuration in force; 0: from files.
	Revision uint64 `json:"revision,omitempty"`
	// RevisionError is why the newest pushed revision is not in force; empty if it is.
	RevisionError string `json:"revision_error,omitempty"`

	Probing  ProbingView   `json:"probing"`
	Bus      BusView       `json:"bus"`
	Kernel   KernelView    `json:"kernel"`
	Policies []PolicyView  `json:"policies"`
	Services []ServiceView `json:"services"`
	// Webhooks are sorted by name.
	Webhooks []WebhookView `json:"webhooks,omitempty"`
}

// Carries reports whether the kernel of the node carries traffic.
func (v *NodeView) Carries() bool {
	return len(v.Roles) == 0 || slices.Contains(v.Roles, "apply")
}

// A BusView is what became of the messages on the bus since the start.
type BusView struct {
	Connected  bool   `json:"connected"` // to the server, embedded or external
	Reconnects uint64 `json:"reconnects_total"`
	Published  uint64 `json:"published_total"`
	Unsent     uint64 `json:"unsent_total"`   // messages lost because the server was away
	Received   uint64 `json:"received_total"` // samples handed on

	// Samples that were dropped, by the reason.
	Invalid    uint64 `json:"invalid_total"`    // not decodable
	Mismatched uint64 `json:"mismatched_total"` // the body contradicts the subject
	Repeated   uint64 `json:"repeated_total"`
	Late       uint64 `json:"late_total"`
	Crowded    uint64 `json:"crowded_total"`    // too many sources or subjects
	Flooded    uint64 `json:"flooded_total"`    // a monitor sent too many
	Overflowed uint64 `json:"overflowed_total"` // messages lost because a subscriber was slow

	// Denied is what the NATS does not let this node do: "publish steelyard.v1.node.edge.lb1".
	Denied []string `json:"denied,omitempty"`
	// Permissions is the command that prints what the NATS must let it do; empty unless
	// something is denied.
	Permissions string `json:"permissions_command,omitempty"`
}

// A KernelView is the state of the data plane.
type KernelView struct {
	Table      string `json:"table"`
	Owned      bool   `json:"owned"` // no other process can change the table
	Adopted    bool   `json:"adopted"`
	Generation uint32 `json:"generation"`
	Commits    uint64 `json:"commits"`
	LastError  string `json:"last_error,omitempty"`
	// Drifts counts changes of the table by others, which were repaired; it stays
	// 0 where nobody else can change the table.
	Drifts uint64 `json:"drifts_total"`
	// CountersAt is when the counters were last read: connections_total and
	// refused_total hold what the kernel had counted by then. Zero before that.
	CountersAt time.Time `json:"counters_at,omitzero"`
	P50Seconds float64   `json:"commit_p50_seconds"` // of the last 1000 commits
	P99Seconds float64   `json:"commit_p99_seconds"`
	// Features are the parts of the kernel that not every kernel has; empty where
	// it would not say.
	Features []Feature `json:"features,omitempty"`
}

// A ServiceView is one service.
type ServiceView struct {
	Name     string   `json:"name"`
	VIP      string   `json:"vip"` // address and port of the first frontend
	Protocol Protocol `json:"protocol"`
	// Frontends are all of them, as in "192.0.2.10:80/tcp".
	Frontends    []string     `json:"frontends"`
	Distribution Distribution `json:"distribution"`
	Forwarding   Forwarding   `json:"forwarding"`
	Policy       string       `json:"policy"`
	// PolicyError is the policy's latest failure while the last good weights
	// are in force; empty when it is well.
	PolicyError string `json:"policy_error,omitempty"`
	// Shadow is what its shadow policy would do; nil if it has none.
	Shadow *ShadowDecision `json:"shadow,omitempty"`
	// Error is why the service is not in force as configured: this node or its
	// kernel refused it. What it had before stays.
	Error string `json:"error,omitempty"`

	Connections *uint64 `json:"connections"` // open now
	// ConnectionsAbroad are those of Connections that other nodes of the group carry: 0
	// unless this node leads the service.
	ConnectionsAbroad uint64       `json:"connections_on_other_nodes,omitempty"`
	ConnectionsTotal  uint64       `json:"connections_total"`
	RefusedTotal      uint64       `json:"refused_total"`
	TurnedAwayTotal   Turned       `json:"turned_away_total"`     // by allow, deny and limits
	TurnedAway        string       `json:"turned_away,omitempty"` // the same in words, with the limits
	QoS               string       `json:"qos,omitempty"`         // as in "dscp 46, class 1:20, mark 0x10/0xf0"
	CountBytes        bool         `json:"count_bytes"`           // as configured
	Offload           bool         `json:"offload,omitempty"`     // as configured, whether or not the kernel can
	Traffic           *TrafficView `json:"traffic"`               // null while packets are not counted
	NewPerSecond      *float64     `json:"new_connections_per_second"`
	DecisionSeq       uint64       `json:"decision_seq"`
	DecidedAt         time.Time    `json:"decided_at"`
	// Leader is the node that decides the shares, where another one does.
	Leader *LeaderView `json:"leader,omitempty"`
	// Settings are those of the configuration in force; nil from a daemon that is older.
	Settings *Settings `json:"settings,omitempty"`
	// Pins are the clients pinned by command; those of the configuration are not here.
	Pins     []PinState    `json:"pins_by_command,omitempty"`
	Backends []BackendView `json:"backends"`
}

// A BackendState says in one word whether a backend is fed, and if not, why. Of
// several reasons it names the one that an operator acts on first.
type BackendState string

// The states of backends.
const (
	StateUp      BackendState = "up"
	StateDown    BackendState = "down"
	StateUnknown BackendState = "unknown" // not probed yet
	StateDrain   BackendState = "drain"   // drained by command, up or not
	StateFull    BackendState = "full"    // up, with as many connections as it may have
	StateReserve BackendState = "reserve" // up, and a group before its own is enough
	StateSorry   BackendState = "sorry"   // serves when nobody else can
	StateMaint   BackendState = "maint"   // in a maintenance window, or its agent says so
	StateEjected BackendState = "ejected" // by passive health
)

// A BackendView is one backend.
type BackendView struct {
	Name    string      `json:"name"`
	Address string      `json:"address"`
	Alt     string      `json:"alternative_address,omitempty"` // of the other family
	Health  HealthState `json:"health"`
	Since   time.Time   `json:"health_since"`
	// State is the health and what else decides whether it is fed, in one word.
	State BackendState `json:"state"`
	// OutUntil is when a backend whose probes are good gets clients again, if passive
	// health has ejected it or it is held down; zero otherwise.
	OutUntil time.Time `json:"out_until,omitzero"`

	Configured uint32 `json:"configured_weight"`
	// Override is what an operator has changed by command; nil if nothing is.
	Override *Override `json:"override,omitempty"`
	Priority uint8     `json:"priority,omitempty"`
	// MaxConnections takes it out of the weights while that many are open.
	MaxConnections uint32     `json:"max_connections,omitempty"`
	Sorry          bool       `json:"sorry,omitempty"`
	Forwarding     Forwarding `json:"forwarding"`
	// Source is the address that snat gives the clients of this backend, where that
	// is not as of its service.
	Source string `json:"source,omitempty"`
	// QoS is what its packets are marked with where that is not as of its service.
	QoS string `json:"qos,omitempty"`
	// Share and Slots are those in force in the kernel, not those of a decision
	// that still waits for its commit.
	Share float64 `json:"share_ratio"`
	Slots uint32  `json:"slots"` // of 65536
	Why   string  `json:"why"`

	Connections       *uint64 `json:"connections"`
	ConnectionsAbroad uint64  `json:"connections_on_other_nodes,omitempty"` // as of the service
	// ConnectionsAt is when Connections was counted; zero if it never was.
	ConnectionsAt    time.Time    `json:"connections_at,omitzero"`
	ConnectionsTotal uint64       `json:"connections_total"`
	Traffic          *TrafficView `json:"traffic"` // null while packets are not counted
	NewPerSecond     *float64     `json:"new_connections_per_second"`
	CPU              *float64     `json:"cpu_ratio"`
	CPUAge           *float64     `json:"cpu_age_seconds"`
	Response         *float64     `json:"response_time_seconds"`
	Probes           []ProbeView  `json:"probes"`
}

// A TrafficView is the packets and bytes to backends and back, as of
// KernelView.CountersAt. Those that a flowtable forwards are not among them.
type TrafficView struct {
	PacketsIn  uint64 `json:"packets_in_total"`
	PacketsOut uint64 `json:"packets_out_total"`
	BytesIn    uint64 `json:"bytes_in_total"` // of IP packets
	BytesOut   uint64 `json:"bytes_out_total"`
	// Rates are those between the last two readings; null before the second.
	Rates *TrafficRates `json:"rates"`
}

// TrafficRates are packets and bytes per second.
type TrafficRates struct {
	PacketsIn  float64 `json:"packets_in_per_second"`
	PacketsOut float64 `json:"packets_out_per_second"`
	BytesIn    float64 `json:"bytes_in_per_second"`
	BytesOut   float64 `json:"bytes_out_per_second"`
}

// A ProbeView is the latest sample of one probe of one backend.
type ProbeView struct {
	Name   string    `json:"name"`
	Type   string    `json:"type"`
	Role   Role      `json:"role"`
	OK     bool      `json:"ok"`
	Code   Code      `json:"code"`
	Detail string    `json:"detail"`
	At     time.Time `json:"at"`
	Took   float64   `json:"took_seconds"`
	// Node is who took it.
	Node string `json:"node,omitempty"`

	// State is what rise and fall make of the samples of a health probe, Streak how many
	// in a row speak against it, and Need how many it takes.
	State    HealthState `json:"state"`
	Streak   int         `json:"streak,omitempty"`
	Need     int         `json:"need,omitempty"`
	Critical bool        `json:"critical,omitempty"`
	Interval float64     `json:"interval_seconds"`
}

// A ProbingView is how the probes of a node run.
type ProbingView struct {
	// Suspect says why no health goes down for now; empty while nothing is wrong.
	Suspect      string          `json:"suspect,omitempty"`
	SuspectSince time.Time       `json:"suspect_since,omitzero"`
	Types        []ProbeTypeView `json:"types"`
}

// A ProbeTypeView is how the runs of one type of probe go, since the start.
type ProbeTypeView struct {
	Type    string `json:"type"`
	Targets int    `json:"targets"` // that are asked, each counted once however many services share it
	Shared  int    `json:"shared"`  // probes of backends that another's run answers for
	Limit   int    `json:"limit"`   // of runs at one time
	Running int    `json:"running"`
	Waiting int    `json:"waiting"` // for a place
	Runs    uint64 `json:"runs_total"`
	Failed  uint64 `json:"failed_total"`
	Skipped uint64 `json:"skipped_total"` // runs left out because the one before was not over, or had to wait, or that a pause of this process spoiled
}
