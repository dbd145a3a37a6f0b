// SPDX-License-Identifier: Apache-2.0

package core

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

var flapRule = HealthRule{FlapLimit: 3, FlapWindow: 5 * time.Minute, FlapHold: time.Minute, FlapMax: 3 * time.Minute}

// A backend goes down and up again every minute; each hold is twice as long as the one
// before, up to the limit, and begins with the third time in five minutes.
func TestFlap(t *testing.T) {
	var f Flap
	now := time.Unix(1000, 0)
	down := func(after time.Duration) bool { now = now.Add(after); return f.Down(flapRule, now) }
	for i, want := range []bool{false, false, true} {
		if got := down(time.Minute); got != want || f.Held(flapRule) != want {
			t.Fatalf("time %d: held %t, want %t", i+1, got, want)
		}
	}
	if got, want := f.Note(flapRule), "held down: went down 3 times in 5m; comes up after 1m without a bad sample"; got != want {
		t.Errorf("note %q, want %q", got, want)
	}
	if !f.Over().IsZero() {
		t.Error("it is let up although it is not well")
	}
	f.Well(now)
	now = now.Add(30 * time.Second)
	f.Well(now) // goes on
	f.Bad(now)
	if got := f.Over().Sub(now); got != time.Minute {
		t.Errorf("after a bad sample it is held for %s more", got)
	}
	if down(time.Second) || !f.Over().IsZero() {
		t.Error("it went down while held, and that counts as well")
	}
	f.Well(now)
	now = f.Over()
	f.LetUp(now)
	for _, want := range []time.Duration{2 * time.Minute, 3 * time.Minute, 3 * time.Minute} {
		for !down(20 * time.Second) {
		}
		f.Well(now)
		if got := f.Over().Sub(now); got != want {
			t.Errorf("the next hold is %s, want %s", got, want)
		}
		f.LetUp(f.Over())
		now = now.Add(want)
	}
	now = now.Add(time.Hour)
	for !down(20 * time.Second) {
	}
	f.Well(now)
	if got := f.Over().Sub(now); got != time.Minute {
		t.Errorf("after a quiet hour the hold is %s, want the first again", got)
	}
}

// Times that lie further apart than the window never hold it down, and without a rule
// nothing does.
func TestFlapIsOfAWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := flapRule
		r.FlapLimit = rapid.IntRange(1, 6).Draw(t, "limit")
		var f, off Flap
		now := time.Unix(0, 0)
		var downs []time.Time
		for range rapid.IntRange(1, 40).Draw(t, "n") {
			now = now.Add(time.Duration(rapid.IntRange(1, 300).Draw(t, "gap")) * time.Second)
			downs = append(downs, now)
			held := f.Down(r, now)
			enough := len(downs) >= r.FlapLimit && now.Sub(downs[len(downs)-r.FlapLimit]) <= r.FlapWindow
			if held != enough {
				t.Fatalf("%d downs, the last %d within %s: held %t", len(downs), r.FlapLimit, r.FlapWindow, held)
			}
			if held {
				if f.hold < r.FlapHold || f.hold > r.FlapMax {
					t.Fatalf("held for %s", f.hold)
				}
				f.LetUp(now)
			}
			if off.Down(HealthRule{}, now) || off.Held(r) {
				t.Fatal("held down without a rule")
			}
		}
	})
}

func TestFlapTakenBack(t *testing.T) {
	var f Flap
	now := time.Unix(1000, 0)
	f.Down(flapRule, now)
	f.Down(flapRule, now)
	f.Down(flapRule, now)
	f.TakeBack()
	if f.Held(flapRule) {
		t.Error("it is held for what was taken back")
	}
	if !f.Down(flapRule, now) || f.hold != time.Minute {
		t.Errorf("the third time holds it %s", f.hold)
	}

	// One that is held goes on being held, and its time goes on.
	f.Well(now)
	over := f.Over()
	f.Down(flapRule, now.Add(time.Second))
	f.TakeBack()
	if !f.Held(flapRule) || !f.Over().Equal(over) {
		t.Errorf("held %t until %s, want until %s", f.Held(flapRule), f.Over(), over)
	}
}

func TestPlain(t *testing.T) {
	for d, want := range map[time.Duration]string{
		time.Minute: "1m", 5 * time.Minute: "5m", 90 * time.Second: "1m30s", time.Hour: "1h", 90 * time.Minute: "1h30m",
		30 * time.Second: "30s", 250 * time.Millisecond: "250ms", 3610 * time.Second: "1h0m10s", 0: "0s",
	} {
		if got := plain(d); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
	for n, want := range map[int]string{1: "1st", 2: "2nd", 3: "3rd", 4: "4th", 11: "11th", 12: "12th", 13: "13th", 21: "21st", 112: "112th"} {
		if got := ordinal(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}
