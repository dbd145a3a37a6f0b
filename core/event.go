// SPDX-License-Identifier: Apache-2.0

package core

import "time"

// A HealthChange is one transition of a backend, with its cause.
type HealthChange struct {
	Backend BackendID
	Node    string
	At      time.Time
	From    HealthState
	To      HealthState
	Probe   string // the probe whose sample tipped it, or "passive"; empty at a start, at a reload and for FLAP
	Code    Code
	Detail  string
}

// A Severity says how much an Event wants to be seen.
type Severity string

// The severities.
const (
	Info  Severity = "info"
	Warn  Severity = "warn"
	Error Severity = "error"
)

// An Event is something an operator may want to know that is not a sample, a
// health change, a decision or a commit: a policy that failed, a reload, a
// service that the kernel refused.
type Event struct {
	At       time.Time
	Node     string
	Severity Severity
	Topic    string // one word: policy, reload, kernel, bus, override, session, start, stop, probe, maintenance, …
	Service  string // empty if it concerns the node
	Backend  string // empty if it concerns the service
	Message  string
}

// A Drift is a change of our table that we did not make.
type Drift struct {
	At      time.Time `json:"at"`
	Node    string    `json:"node"`
	PID     uint32    `json:"pid"`     // of the latest writer to the ruleset; 0 if the kernel does not say
	Process string    `json:"process"` // its name
	// What is different, by object: "the table is gone", "service web: weights".
	// At most 20 of them.
	What []string `json:"what"`
}
