// SPDX-License-Identifier: Apache-2.0

package core

import "time"

// A Snapshot is all that a policy sees of a service at one decision.
type Snapshot struct {
	Service string
	ID      uint64 // BackendID{Service, ""}.Hash(): stable per service
	Seq     uint64 // counts up; Decision.SnapshotSeq names it. It seeds the policy's random numbers
	// Now is the time of the decision, in the time zone of the node: policies that
	// go by the time of day ask for its offset.
	Now    time.Time
	Since  time.Duration // since the decision before; 0 at the first
	Params map[string]float64
	// Metrics are the names of the custom metrics in BackendInput.Custom: those
	// that a policy of this service reads.
	Metrics  []string
	Backends []BackendInput // in the order of Service.Backends
}

// A BackendInput is one backend as a policy sees it. A reading that is not
// Known was never taken, or is past its age; it is not zero.
type BackendInput struct {
	ID       uint64 // BackendID.Hash
	Name     string
	Weight   uint32 // configured
	Health   HealthState
	Since    time.Duration // in this state of health
	Share    float64       // applied by the decision before, 0 to 1
	CPUSeq   uint32        // counts fresh CPU samples, so that a policy can tell news from repeats
	CPU      Reading       // ratio 0 to 1
	Cores    Reading       // count
	Response Reading       // seconds
	Conns    Reading       // open connections
	New      Reading       // connections opened per second
	Done     Reading       // connections closed per second, over the window of CPU where CPU is known
	Custom   []Reading     // one for each of Snapshot.Metrics, in its order
}

// A Reading is a metric with its age.
type Reading struct {
	Value  float64
	Age    time.Duration
	Window time.Duration
	Known  bool
}

// Hold is the weight by which a policy says that it has no opinion of a
// backend: the host keeps the share it had, then lets it decay to the
// configured weight.
const Hold = -1

// A Call asks the policy of one service for its weights.
type Call struct {
	Policy   string
	Snapshot Snapshot
	Shadow   bool // the answer is only looked at
}

// A Result is a policy's answer: one weight per backend of the snapshot, each
// finite and not negative, or Hold. Only their ratios matter. If Err is set the
// weights are nil.
type Result struct {
	Weights []float64
	Version string // of the policy, for the record: name and content hash
	Took    time.Duration
	Err     error
}
