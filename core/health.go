// SPDX-License-Identifier: Apache-2.0

package core

import "fmt"

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

// Combine is the health of a backend with several health probes: down if any
// is, up if all are, unknown otherwise. Without probes a backend is up: nobody
// asked for it to be watched.
func Combine(states []HealthState) HealthState {
	all := Up
	for _, s := range states {
		if s == Down {
			return Down
		}
		if s == Unknown {
			all = Unknown
		}
	}
	return all
}
