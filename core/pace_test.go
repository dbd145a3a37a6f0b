// SPDX-License-Identifier: Apache-2.0

package core_test

import (
	"testing"

	"github.com/steelyard-lb/steelyard/core"
)

// TestPace: what an operator asked for moves freely; a move that was cut short goes
// on; all else is steady.
func TestPace(t *testing.T) {
	cut := core.CutShort([]core.Shaped{{}, {Steps: []core.Step{{Name: "policy"}, {Name: "step"}}}})
	if !cut || core.CutShort([]core.Shaped{{Steps: []core.Step{{Name: "policy"}}}}) {
		t.Error("CutShort does not tell whether there is a step of the step limit")
	}
	for want, got := range map[core.Pace]core.Pace{
		core.Free: core.NextPace(true, true), core.Moving: core.NextPace(false, true), core.Steady: core.NextPace(false, false),
	} {
		if got != want {
			t.Errorf("pace %d, want %d", got, want)
		}
	}
}
