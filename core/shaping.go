// SPDX-License-Identifier: Apache-2.0

package core

import "time"

// Shaping are the host's rules between a policy's answer and the shares. A
// zero field switches its rule off.
type Shaping struct {
	// StaleAfter is the age past which a reading is unknown to the policy.
	StaleAfter time.Duration `json:"stale_after_ns,omitzero"`
	// Hold is how long a backend keeps its share when the policy has no opinion
	// of it; after that the share decays to the configured weight's, with a
	// time constant of Hold.
	Hold time.Duration `json:"hold_ns,omitzero"`
	// SlowStart is the time in which a backend that came up reaches its full
	// share, linearly from SlowStartMin.
	SlowStart    time.Duration `json:"slow_start_ns,omitzero"`
	SlowStartMin float64       `json:"slow_start_min,omitzero"` // ratio of the full share, 0 to 1
	Floor        float64       `json:"floor,omitzero"`          // least share of an eligible backend, as a ratio of an equal share
	Ceiling      float64       `json:"ceiling,omitzero"`        // largest share of a backend, 0 to 1
	// Step is the largest relative change of a share in one decision: 0.25
	// keeps it within 0.75 to 1.25 of what it was.
	Step float64 `json:"step,omitzero"`
	// DeadBand is the largest absolute change of any share that is not worth a
	// commit.
	DeadBand float64 `json:"dead_band,omitzero"`
	// Panic is the least ratio of backends that must be up; below it, while at
	// least one is up, all share by configured weight, up or not. It is about the
	// backends of the serving priorities, without the drained and sorry ones, and
	// there is no panic while others are in reserve.
	Panic float64 `json:"panic,omitzero"`
}

// Under is s as it is under a policy, unless somebody asks for something else: a
// floor would give the standbys of failover a part, and steps would make one change
// of maglev's weights many, each of which moves clients.
func (s Shaping) Under(policy string) Shaping {
	switch policy {
	case PolicyFailover:
		s.Floor, s.Step = 0, 0
	case PolicyMaglev:
		s.Step = 0
	}
	return s
}

// The shipped policies that ask something of the rest of a service.
const (
	PolicyFailover = "failover"
	PolicyMaglev   = "maglev"
)
