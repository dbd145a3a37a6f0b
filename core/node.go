// SPDX-License-Identifier: Apache-2.0

package core

import (
	"strings"
	"time"
)

// Roles say what a node does of the work that several nodes share.
type Roles struct {
	Probe    bool // it asks the backends
	Schedule bool // it may decide the shares of services
	Apply    bool // its kernel carries traffic
}

// AllRoles are those of a node that is alone, and the default.
var AllRoles = Roles{Probe: true, Schedule: true, Apply: true}

// Names are the roles as the configuration spells them, in the order of the work.
func (r Roles) Names() []string {
	var out []string
	for _, one := range []struct {
		has  bool
		name string
	}{{r.Probe, "probe"}, {r.Schedule, "schedule"}, {r.Apply, "apply"}} {
		if one.has {
			out = append(out, one.name)
		}
	}
	return out
}

// String is Names with commas between.
func (r Roles) String() string { return strings.Join(r.Names(), ",") }

// Scheduling says who decides the shares where several nodes serve the same services.
type Scheduling string

const (
	// ScheduleLeader has one node decide for each service, and the others follow it.
	ScheduleLeader Scheduling = "leader"
	// ScheduleLocal has each node decide for itself.
	ScheduleLocal Scheduling = "local"
)

// A ClusterSpec is how several nodes work together. The zero value is a node alone.
type ClusterSpec struct {
	// Group is the name that the nodes have in common; empty: this node is alone.
	Group string
	Roles Roles
	// Probers is how many nodes probe each target, at least 1; Quorum how many of
	// those that have a verdict must find it bad until it is down, 1 to Probers.
	Probers, Quorum int
	Scheduling      Scheduling
}

// Alone reports whether there are no other nodes to work with.
func (c ClusterSpec) Alone() bool { return c.Group == "" }

// A Presence is what a node says of itself, again and again.
type Presence struct {
	Node  string
	Group string
	Inst  string // random per start
	Seq   uint64 // counts up within Inst
	At    time.Time

	Roles      Roles
	Version    string
	ConfigHash string
	// Revision is that of the pushed configuration in force; 0: from files.
	Revision  uint64
	StartedAt time.Time
	// Epoch is the highest epoch of a vector that the node has taken or made, over
	// all services: who takes over goes above it.
	Epoch uint64
	// Suspects says that the node suspects itself: what its probes say counts for
	// nothing, and others do its part.
	Suspects bool
	// Leaving says that the node ends: others need not wait until it is silent.
	Leaving bool
}

// A Vector is the shares of one service as its leader has decided them: always all
// backends, so that each vector replaces all before it.
type Vector struct {
	Service string
	Group   string
	Node    string // the leader
	// Epoch, Node and Seq order vectors, in this order: see Before.
	Epoch, Seq uint64
	At         time.Time
	// Decision is the Seq of the leader's decision, the id under which its record is
	// on the bus.
	Decision              uint64
	Policy, PolicyVersion string
	Backends              []VectorBackend
}

// A VectorBackend is one backend of a Vector.
type VectorBackend struct {
	Name  string
	Slots uint32 // of 65536; all are 0 when nobody serves
	// Opinion is what the policy said, or Hold: it serves where Slots leave nobody who
	// is up.
	Opinion float64
	Health  HealthState // as the leader sees it
	// Note is why it has these slots, where that is not the opinion of the policy alone:
	// "drained by alice, disk swap". It is as VectorNote makes it, or empty.
	Note string
}

// Before reports whether v is older than o. Two vectors of a service are never equal
// unless they are the same one.
func (v *Vector) Before(o *Vector) bool {
	switch {
	case v.Epoch != o.Epoch:
		return v.Epoch < o.Epoch
	case v.Node != o.Node:
		return v.Node < o.Node
	}
	return v.Seq < o.Seq
}

// A FlowReport is what the connection tracking of one balancer counts for a service.
type FlowReport struct {
	Node    string
	Inst    string // random per start of the node: the counts begin again
	Service string
	At      time.Time
	// Live says that the counts are of the moment, and not of a reading now and then.
	Live     bool
	Backends []FlowOf
}

// A FlowOf is the part of one backend.
type FlowOf struct {
	Name                 string
	Open, Opened, Closed uint64 // as in FlowCount
}

// A SampleRef names one sample of one backend, wherever it is spoken of.
type SampleRef struct {
	Backend string `json:"backend"`
	Probe   string `json:"probe"`
	Node    string `json:"node"` // who took it: a node or a monitor
	Seq     uint64 `json:"seq,omitempty"`
	// At is when it was taken.
	At time.Time `json:"at"`
}

// A ClusterView is what a node knows of the others.
type ClusterView struct {
	Group      string     `json:"group"`
	Scheduling Scheduling `json:"scheduling"`
	Probers    int        `json:"probers"`
	Quorum     int        `json:"quorum"`
	// Members are sorted by name; this node is one of them.
	Members []MemberView `json:"members"`
	// Leads and Probes are how many services this node decides and how many targets
	// it probes.
	Leads  int `json:"services_led"`
	Probes int `json:"targets_probed"`
	// Taken counts vectors of others that were followed, Refused those that were
	// older than what is known, or of no leader there could be.
	Taken     uint64 `json:"vectors_taken_total"`
	Refused   uint64 `json:"vectors_refused_total"`
	Takeovers uint64 `json:"takeovers_total"` // services that this node began to lead
	Epoch     uint64 `json:"epoch"`           // the highest one known
	// GapSeconds is the longest time so far without a word from a leader, of the
	// services that others lead.
	GapSeconds float64 `json:"longest_gap_seconds"`
}

// A MemberState says whether a node is there.
type MemberState string

// The states of members.
const (
	MemberLive     MemberState = "live"
	MemberSilent   MemberState = "silent"   // not heard of for too long
	MemberLeft     MemberState = "left"     // it said that it ends
	MemberSuspects MemberState = "suspects" // itself
	MemberDenied   MemberState = "denied"   // this node: its NATS lets nobody hear that it is there
)

// A MemberView is one node of a group.
type MemberView struct {
	Node       string      `json:"node"`
	State      MemberState `json:"state"`
	Roles      []string    `json:"roles"`
	Version    string      `json:"version"`
	ConfigHash string      `json:"config_hash"`
	Revision   uint64      `json:"revision,omitempty"`
	StartedAt  time.Time   `json:"started_at"`
	// HeardSeconds is the age of its latest word; ClockSeconds how far its clock is
	// ahead of ours, less the fastest way between; 0 of this node.
	HeardSeconds float64 `json:"heard_seconds_ago"`
	ClockSeconds float64 `json:"clock_ahead_seconds"`
	Leads        int     `json:"services_led"`   // as this node sees it
	Probes       int     `json:"targets_probed"` // the same
	// Twin says that two nodes have this name, and undo each other's work.
	Twin bool `json:"twin,omitempty"`
}

// A LeaderView is who decides a service that this node follows.
type LeaderView struct {
	Node     string    `json:"node"`
	Epoch    uint64    `json:"epoch"`
	Seq      uint64    `json:"seq"`
	Decision uint64    `json:"decision_seq"`
	At       time.Time `json:"at"` // by the leader's clock
	HeardAt  time.Time `json:"heard_at"`
	// Gated are the backends that have less than the leader gave them, since they are
	// out of service here.
	Gated []string `json:"gated,omitempty"`
}

// A Trace follows one sample from its probe to the kernel.
type Trace struct {
	Backend BackendID   `json:"backend"`
	Sample  SampleRef   `json:"sample"`
	Steps   []TraceStep `json:"steps"`
	// Conclusion is what came of it, in a sentence.
	Conclusion string `json:"conclusion"`
}

// A TraceStep is one of the seven steps, as docs/architecture.md has them.
type TraceStep struct {
	Step int       `json:"step"` // 1 to 7
	Name string    `json:"name"` // probe, bus, health, scheduler, shaping, plan, apply
	At   time.Time `json:"at"`   // when it was done
	// SinceSeconds is the time since the end of the probe.
	SinceSeconds float64 `json:"since_probe_seconds"`
	Text         string  `json:"text"` // what happened, in a few words
}
