// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"testing"
	"time"
)

// TestCountAgain: reading many counters takes a twentieth of a core at most, and
// rates are never older than ten seconds.
func TestCountAgain(t *testing.T) {
	for took, want := range map[time.Duration]time.Duration{
		0: 2 * time.Second, 5 * time.Millisecond: 2 * time.Second, 100 * time.Millisecond: 2 * time.Second,
		200 * time.Millisecond: 4 * time.Second, 400 * time.Millisecond: 8 * time.Second, 3 * time.Second: 10 * time.Second,
	} {
		if got := countAgain(took); got != want {
			t.Errorf("after a reading of %v: got %v, want %v", took, got, want)
		}
	}
}
