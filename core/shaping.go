// SPDX-License-Identifier: Apache-2.0

package core

import "time"

// Shaping are the host's rules between a policy's answer and the shares. A
// zero field switches its rule off.
type Shaping struct {
	// StaleAfter is the age past which a reading is unknown to the policy.
	StaleAfter time.Duration
	// Hold is how long a backend keeps its share when the policy has no opinion
	// of it; after that the share decays to the configured weight's, with a
	// time constant of Hold.
	Hold time.Duration
	// SlowStart is the time in which a backend that came up reaches its full
	// share, linearly from SlowStartMin.
	SlowStart    time.Duration
	SlowStartMin float64 // ratio of the full share, 0 to 1
	Floor        float64 // least share of an eligible backend, as a ratio of an equal share
	Ceiling      float64 // largest share of a backend, 0 to 1
	// Step is the largest relative change of a share in one decision: 0.25
	// keeps it within 0.75 to 1.25 of what it was.
	Step float64
	// DeadBand is the largest absolute change of any share that is not worth a
	// commit.
	DeadBand float64
	// Panic is the least ratio of backends that must be up; below it, while at
	// least one is up, all backends share by configured weight, up or not.
	Panic float64
}
