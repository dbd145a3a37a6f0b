// SPDX-License-Identifier: Apache-2.0

package core

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

var passiveRule = PassiveRule{Unanswered: 5, Resets: 3, Eject: time.Minute, Max: 3 * time.Minute, MaxRatio: 0.25}

func TestEjection(t *testing.T) {
	var x Ejection
	now := time.Unix(1000, 0)
	looks := []struct {
		unanswered, refused uint32
		want                Code
	}{
		{4, 2, ""}, {0, 2, ""}, {5, 2, PassiveSYN}, {1, 3, PassiveReset}, {9, 9, PassiveReset},
	}
	for _, l := range looks {
		y := x
		if got, _, _ := y.Look(passiveRule, l.unanswered, l.refused); got != l.want {
			t.Errorf("%d unanswered and %d refused in a row: %q, want %q", l.unanswered, l.refused, got, l.want)
		}
	}
	code, row, _ := x.Look(passiveRule, 5, 0)
	x.Eject(passiveRule, code, row, now)
	if got, want := x.Note(passiveRule), "5 connections in a row unanswered; ejected for 1m (1st time)"; got != want || !x.Out() {
		t.Errorf("note %q, want %q", got, want)
	}
	if _, _, bad := x.Look(passiveRule, 100, 0); bad {
		t.Error("it is ejected twice")
	}
	x.Forget(12, 0)
	x.End(x.Until())
	if _, _, bad := x.Look(passiveRule, 16, 0); bad {
		t.Error("connections of before it was let in count")
	}
	if _, row, bad := x.Look(passiveRule, 17, 0); !bad || row != 5 {
		t.Errorf("five new ones: bad %t, a row of %d", bad, row)
	}
	if _, _, bad := x.Look(passiveRule, 1, 0); bad {
		t.Error("a row that was ended counts")
	}
	if _, row, bad := x.Look(passiveRule, 5, 0); !bad || row != 5 {
		t.Errorf("five after one that went well: bad %t, a row of %d", bad, row)
	}
}

// Each time out is longer by the first, up to the limit; a quiet time makes the next
// one shorter.
func TestEjectionGrows(t *testing.T) {
	var x Ejection
	now := time.Unix(1000, 0)
	for _, step := range []struct{ quiet, want time.Duration }{
		{0, 1}, {1, 2}, {2, 3}, {2, 3}, {3, 3}, {8, 2}, {60, 1},
	} {
		now = now.Add(step.quiet * time.Minute)
		x.Eject(passiveRule, PassiveReset, 3, now)
		if got := x.Until().Sub(now); got != step.want*time.Minute {
			t.Errorf("after %d quiet minutes ejected for %s, want %d min", step.quiet, got, step.want)
		}
		now = x.Until()
		x.End(now)
	}
}

// No ejection lasts longer than Max, and never less than Eject, whatever came before.
func TestEjectionIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := PassiveRule{Unanswered: 1, Eject: time.Duration(rapid.IntRange(1, 100).Draw(t, "eject")) * time.Second}
		r.Max = time.Duration(rapid.IntRange(0, 1000).Draw(t, "max")) * time.Second
		var x Ejection
		now := time.Unix(0, 0)
		for range 50 {
			now = now.Add(time.Duration(rapid.IntRange(0, 2000).Draw(t, "gap")) * time.Second)
			x.Eject(r, PassiveSYN, 1, now)
			if got := x.Until().Sub(now); got < r.Eject || got > max(r.Max, r.Eject) {
				t.Fatalf("%+v: ejected for %s", r, got)
			}
			now = x.Until()
			x.End(now)
		}
	})
	for n, want := range map[int]int{1: 1, 3: 1, 4: 1, 7: 1, 8: 2, 100: 25} {
		if got := passiveRule.Room(n); got != want {
			t.Errorf("of %d backends %d may be ejected, want %d", n, got, want)
		}
	}
}
