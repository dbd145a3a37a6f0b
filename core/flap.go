// SPDX-License-Identifier: Apache-2.0

package core

import (
	"fmt"
	"time"
)

// A Flap follows how often one backend went down, and holds down one that did so too
// often, by the fields of a HealthRule. The zero value is ready. There is one only
// for a backend that went down at all.
type Flap struct {
	downs []time.Time // the latest, at most FlapLimit, oldest first
	held  bool
	times int // how often it was held down of late; makes the time longer
	hold  time.Duration
	from  time.Time // while held: since when it has been well; zero while it is not
	ended time.Time // of the hold before

	was flapBefore // the latest Down
}

// A flapBefore is what a Down has changed.
type flapBefore struct {
	held    bool
	times   int
	from    time.Time
	counted bool // it is the last of downs
}

// Flaps reports whether there is such a rule.
func (r HealthRule) Flaps() bool { return r.FlapLimit > 0 && r.FlapWindow > 0 && r.FlapHold > 0 }

// Down notes that the probes took the backend from up to down, and reports whether it
// is held down from now on.
func (f *Flap) Down(r HealthRule, now time.Time) bool {
	f.was = flapBefore{f.held, f.times, f.from, r.Flaps() && !f.held}
	f.from = time.Time{}
	if !f.was.counted {
		return false
	}
	if len(f.downs) >= r.FlapLimit {
		f.downs = append(f.downs[:0], f.downs[len(f.downs)-r.FlapLimit+1:]...)
	}
	f.downs = append(f.downs, now)
	if len(f.downs) < r.FlapLimit || now.Sub(f.downs[0]) > r.FlapWindow {
		return false
	}
	longest := max(r.FlapMax, r.FlapHold)
	f.times -= quiet(f.ended, now, longest, f.times)
	f.hold = r.FlapHold
	for i := 0; i < f.times && f.hold < longest; i++ {
		f.hold *= 2
	}
	if f.hold < longest { // more would only take longer to forget
		f.times++
	}
	f.hold = min(f.hold, longest)
	f.held = true
	return true
}

// TakeBack undoes the latest Down, which was not the backend's doing.
func (f *Flap) TakeBack() {
	if n := len(f.downs); f.was.counted && n > 0 {
		f.downs = f.downs[:n-1]
	}
	f.held, f.times, f.from = f.was.held, f.was.times, f.was.from
	f.was.counted = false
}

// Well notes that the probes took the backend for up at a time, and Bad that one of
// them had a bad sample since, which begins the time anew.
func (f *Flap) Well(now time.Time) {
	if f.from.IsZero() {
		f.from = now
	}
}

// Bad is explained at Well.
func (f *Flap) Bad(now time.Time) {
	if !f.from.IsZero() {
		f.from = now
	}
}

// Ill notes that the probes take the backend for anything but up.
func (f *Flap) Ill() { f.from = time.Time{} }

// Resume follows a new configuration, which may have changed what the probes make of
// the backend.
func (f *Flap) Resume(well bool, now time.Time) {
	if well {
		f.Well(now)
	} else {
		f.Ill()
	}
}

// Held reports whether the backend is held down, by a rule that may have been
// switched off meanwhile.
func (f *Flap) Held(r HealthRule) bool { return f != nil && f.held && r.Flaps() }

// Over is when the backend is let up if nothing bad comes; zero while it is not well.
func (f *Flap) Over() time.Time {
	if !f.held || f.from.IsZero() {
		return time.Time{}
	}
	return f.from.Add(f.hold)
}

// LetUp ends the hold.
func (f *Flap) LetUp(now time.Time) { f.held, f.ended, f.from = false, now, time.Time{} }

const heldDown = "held down"

// Note says why it is held down, and until when.
func (f *Flap) Note(r HealthRule) string {
	return fmt.Sprintf(heldDown+": went down %d times in %s; comes up after %s without a bad sample", r.FlapLimit, plain(r.FlapWindow), plain(f.hold))
}

// WellFor says how long it had to be well.
func (f *Flap) WellFor() string {
	return fmt.Sprintf("well for %s: no longer held down", plain(f.hold))
}

// quiet is how many of n earlier times are forgotten by now: one for each period
// since the latest ended.
func quiet(ended, now time.Time, period time.Duration, n int) int {
	if ended.IsZero() || period <= 0 {
		return 0
	}
	return min(n, int(max(0, now.Sub(ended))/period))
}
