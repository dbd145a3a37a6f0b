// SPDX-License-Identifier: Apache-2.0

package core

import "time"

// An Outcome says what became of a decision.
type Outcome string

// The outcomes.
const (
	Applied   Outcome = "applied"   // committed and read back
	Unchanged Outcome = "unchanged" // the slots are those already in force
	Failed    Outcome = "failed"    // the kernel refused; the slots before hold
	Pending   Outcome = "pending"   // decided; its commit is under way
	// Superseded means that a newer decision of the service was made before this
	// one could be committed, and took its place.
	Superseded Outcome = "superseded"
)

// A Decision is the record of one run of steps 3 to 7 for one service: enough
// to explain a share, and to compute it again.
type Decision struct {
	Seq     uint64    `json:"seq"`
	Service string    `json:"service"`
	Node    string    `json:"node"`
	At      time.Time `json:"at"`
	Trigger string    `json:"trigger"` // "interval", "web1 went down", "reload", …

	Policy        string  `json:"policy"`
	PolicyVersion string  `json:"policy_version,omitempty"`
	PolicySeconds float64 `json:"policy_seconds"`
	// SnapshotSeq is the Seq of the snapshot that the opinions are of; 0 before
	// the first.
	SnapshotSeq uint64 `json:"snapshot_seq,omitempty"`
	// PolicyError is set when the policy's answer could not be used; the last
	// good weights were taken instead.
	PolicyError string `json:"policy_error,omitempty"`
	// Shadow is what a second policy would have done; nil if the service has none.
	Shadow *ShadowDecision `json:"shadow,omitempty"`

	// Causes are the samples that made the decision due, where samples did: at most
	// MaxCauses. Those that fed the policy are with the inputs.
	Causes []SampleRef `json:"causes,omitempty"`
	// Leader is whose shares these are, of a service that another node leads.
	Leader *LeaderView `json:"leader,omitempty"`

	Backends []BackendDecision `json:"backends"`
	Outcome  Outcome           `json:"outcome"`
	Error    string            `json:"error,omitempty"` // why Outcome is failed
	Commit   *Commit           `json:"commit,omitempty"`
	// CommitSeconds is the time of this decision's transaction, read-back
	// included; TotalSeconds the time from the trigger to its commit.
	CommitSeconds float64 `json:"commit_seconds,omitempty"`
	TotalSeconds  float64 `json:"total_seconds"`
}

// MaxCauses is how many samples one decision names: of a burst of deaths the first.
const MaxCauses = 8

// A BackendDecision is one backend's part of a Decision.
type BackendDecision struct {
	Backend    string      `json:"backend"`
	Health     HealthState `json:"health"`
	Configured uint32      `json:"configured_weight"`
	// Override is what an operator had changed by command; nil if nothing.
	Override *Override    `json:"override,omitempty"`
	State    BackendState `json:"state"`
	Inputs   []Input      `json:"inputs"`
	// Policy is the policy's own answer as a share of all answers; nil when it
	// held its opinion back.
	Policy *float64 `json:"policy_share"`
	Steps  []Step   `json:"steps"`
	Share  float64  `json:"share_ratio"`
	Slots  uint32   `json:"slots"`
	Why    string   `json:"why"` // the reason for the share, in a few words
	// Shadow is this backend's part of Decision.Shadow.
	Shadow *ShadowShare `json:"shadow,omitempty"`
}

// A ShadowDecision is the latest answer of a policy that is only looked at.
type ShadowDecision struct {
	Policy        string  `json:"policy"`
	PolicyVersion string  `json:"policy_version,omitempty"`
	PolicySeconds float64 `json:"policy_seconds"`
	SnapshotSeq   uint64  `json:"snapshot_seq,omitempty"`
	PolicyError   string  `json:"policy_error,omitempty"`
	// Moved is the part of all new connections that it would send elsewhere, 0 to 1:
	// half the sum of the differences of the shares.
	Moved float64 `json:"moved_ratio"`
}

// A ShadowShare is what a shadow policy would have given a backend.
type ShadowShare struct {
	Policy *float64 `json:"policy_share"` // its own answer as a share of all answers; nil when it held back
	Share  float64  `json:"share_ratio"`  // after shaping, as if it had been in force all the time
}

// An Input is one reading that the policy saw, or did not see because it was
// stale.
type Input struct {
	Metric        string  `json:"metric"`
	Value         float64 `json:"value"`
	Unit          string  `json:"unit"`
	AgeSeconds    float64 `json:"age_seconds"`
	WindowSeconds float64 `json:"window_seconds,omitempty"`
	Known         bool    `json:"known"`
	// Probe, Node and Seq name the sample that the reading is of; empty for what this
	// node counts itself.
	Probe string `json:"probe,omitempty"`
	Node  string `json:"node,omitempty"`
	Seq   uint64 `json:"seq,omitempty"`
}

// A Step is what one rule of shaping did to a backend's share.
type Step struct {
	// Name is that of the rule: drain, priority, full, sorry, panic, policy,
	// freshness, slow_start, bounds, step, dead_band, health, slots; of a service that
	// another node leads also leader, what that gives, and gate, what it has more here
	// for want of others.
	Name   string  `json:"name"`
	Before float64 `json:"before"`
	After  float64 `json:"after"`
	Note   string  `json:"note,omitempty"`
}

// Factor is After over Before; 1 where Before is 0.
func (s Step) Factor() float64 {
	if s.Before == 0 {
		return 1
	}
	return s.After / s.Before
}
