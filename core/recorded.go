// SPDX-License-Identifier: Apache-2.0

package core

import "time"

// A Recorded is one call of a policy and its answer, as the host keeps the latest
// for replay.
type Recorded struct {
	At       time.Time
	Policy   string
	Version  string
	Shadow   bool
	Snapshot Snapshot
	Weights  []float64 // Hold where the policy had no opinion; nil if Err is set
	Took     time.Duration
	Err      string
}
