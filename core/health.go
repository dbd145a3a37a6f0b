// SPDX-License-Identifier: Apache-2.0

package core

import (
	"fmt"
	"slices"
)

// A HealthState is the gate of a backend. The zero value is unknown: not yet
// served, not yet blamed.
type HealthState uint8

// The states. Their numbers are part of the plugin ABI.
const (
	Unknown HealthState = 0
	Up      HealthState = 1
	Down    HealthState = 2
)

var healthNames = [...]string{Unknown: "unknown", Up: "up", Down: "down"}

func (h HealthState) String() string {
	if int(h) < len(healthNames) {
		return healthNames[h]
	}
	return fmt.Sprintf("health(%d)", uint8(h))
}

// MarshalText implements encoding.TextMarshaler.
func (h HealthState) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *HealthState) UnmarshalText(b []byte) error {
	for i, n := range healthNames {
		if n == string(b) {
			*h = HealthState(i)
			return nil
		}
	}
	return fmt.Errorf("health %q: want unknown, up or down", b)
}

// Health follows one health probe of one backend by rise and fall. The first
// good sample makes an unknown backend up at once, so that a start does not
// wait for Rise; the first bad one makes it down.
type Health struct {
	Rise, Fall int // at least 1
	State      HealthState
	Streak     int // samples in a row that speak against State
}

// Add takes one verdict and reports whether State changed. Step 3 of 7.
func (h *Health) Add(ok bool) bool {
	want := Down
	if ok {
		want = Up
	}
	if h.State == want {
		h.Streak = 0
		return false
	}
	h.Streak++
	need := h.Rise
	switch {
	case h.State == Unknown:
		need = 1
	case want == Down:
		need = h.Fall
	}
	if h.Streak < need {
		return false
	}
	h.State, h.Streak = want, 0
	return true
}

// Bear takes one verdict like Add, but nothing goes down: what speaks against it is
// only counted, so that the first bad sample after a time of suspicion may tip it.
func (h *Health) Bear(ok bool) bool {
	if ok || h.State == Down {
		return h.Add(ok)
	}
	if h.State == Up {
		h.Streak++
	}
	return false
}

// Need is how many samples in a row it takes to change State.
func (h *Health) Need() int {
	switch h.State {
	case Up:
		return h.Fall
	case Down:
		return h.Rise
	}
	return 1
}

// A ProbeHealth is the word of one health probe of a backend.
type ProbeHealth struct {
	Name  string
	State HealthState
}

// Combine is what the health probes of a backend make of it together: up once enough
// of them are and each critical one is, down once that cannot be any more whatever
// the unknown ones turn out to be, and unknown until then. Without probes a backend
// is up: nobody asked for it to be watched.
func (r HealthRule) Combine(probes []ProbeHealth) HealthState {
	need := r.Need
	if need <= 0 || need > len(probes) {
		need = len(probes)
	}
	up, unknown := 0, 0
	certain := true // that each critical probe is up
	for _, p := range probes {
		critical := slices.Contains(r.Critical, p.Name)
		switch p.State {
		case Up:
			up++
		case Unknown:
			unknown++
			certain = certain && !critical
		default:
			if critical {
				return Down
			}
		}
	}
	switch {
	case up+unknown < need:
		return Down
	case up < need || !certain:
		return Unknown
	}
	return Up
}
