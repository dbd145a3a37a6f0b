// SPDX-License-Identifier: Apache-2.0

package core

import (
	"fmt"
	"time"
)

// A HealthRule says how the health probes of a backend make its health.
type HealthRule struct {
	// Need is how many of the health probes must be up; 0 means all.
	Need int `json:"need,omitzero"`
	// Critical are names of probes that must be up whatever the others are.
	Critical []string `json:"critical,omitempty"`
	// Start is what a backend is before its first sample: Unknown takes no
	// connections and believes the first sample, Up serves until Fall bad ones, Down
	// waits for Rise good ones. A backend that served before a restart goes on.
	Start HealthState `json:"start,omitzero"`

	// A backend that went down FlapLimit times within FlapWindow is held down until
	// it has been well for FlapHold, twice as long each further time, up to FlapMax.
	// FlapLimit 0 switches the rule off.
	FlapLimit  int           `json:"flap_limit,omitzero"`
	FlapWindow time.Duration `json:"flap_window_ns,omitzero"`
	FlapHold   time.Duration `json:"flap_hold_ns,omitzero"`
	FlapMax    time.Duration `json:"flap_max_ns,omitzero"`
}

// A PassiveRule ejects a backend by what becomes of its clients' connections, as
// conntrack sees them. With Unanswered and Resets 0 there is none.
type PassiveRule struct {
	Unanswered int `json:"unanswered,omitzero"` // connections in a row that the backend did not answer
	Resets     int `json:"resets,omitzero"`     // connections in a row that it refused
	// Eject is how long the first ejection lasts; each further one lasts as much longer, up to Max.
	Eject time.Duration `json:"eject_ns,omitzero"`
	Max   time.Duration `json:"max_ns,omitzero"`
	// MaxRatio is the largest part of the service's backends that may be ejected at
	// one time; one may always, unless it is the last that serves.
	MaxRatio float64 `json:"max_ratio,omitzero"`
}

// Active reports whether there is such a rule.
func (r PassiveRule) Active() bool { return r.Unanswered > 0 || r.Resets > 0 }

// A Maintenance is a time in which backends are drained: once, from Start to End, or
// again and again, from From to To on Days.
type Maintenance struct {
	Name     string   `json:"name"`
	Backends []string `json:"backends"` // "web/web1", "web/*" or "*/web1"
	Reason   string   `json:"reason,omitzero"`

	Start time.Time `json:"start,omitzero"`
	End   time.Time `json:"end,omitzero"`

	Days []time.Weekday `json:"days,omitempty"`   // on which it begins; empty means every day
	From time.Duration  `json:"from_ns,omitzero"` // since midnight; of a day with a change of the clock: that time of day
	To   time.Duration  `json:"to_ns,omitzero"`   // not after From: of the next day
	Zone string         `json:"zone,omitzero"`    // as in "Europe/Berlin"; empty means the node's
}

// Probing is how a node runs its probes as a whole.
type Probing struct {
	// Concurrency is how many runs of a type may be under way at one time; a type that is
	// not there has a limit that the probes package sets.
	Concurrency map[string]int `json:"concurrency,omitempty"`

	// When more than SuspectRatio of all probes that were good fail at once, and there
	// are at least SuspectMin of them, we suspect this node: no health goes down, for
	// at most SuspectFor. SuspectRatio 0 switches the rule off.
	SuspectRatio float64       `json:"suspect_ratio,omitzero"`
	SuspectMin   int           `json:"suspect_min,omitzero"`
	SuspectFor   time.Duration `json:"suspect_for_ns,omitzero"`
}

// An AdminState is what an agent on a backend asks for, in HAProxy's words.
type AdminState string

// The admin states. An agent that names none leaves the one before.
const (
	AdminReady AdminState = "ready" // ends the other two
	AdminDrain AdminState = "drain" // no new connections
	AdminMaint AdminState = "maint" // the same; shown as maintenance
)

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *AdminState) UnmarshalText(b []byte) error {
	switch w := AdminState(b); w {
	case "", AdminReady, AdminDrain, AdminMaint:
		*a = w
		return nil
	}
	return fmt.Errorf("admin %q: want ready, drain or maint", b)
}
