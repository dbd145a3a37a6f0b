// SPDX-License-Identifier: Apache-2.0

package core

import (
	"cmp"
	"errors"
	"fmt"
	"time"
	"unicode"
	"unicode/utf8"
)

// An OverrideKind says what an operator has changed about a backend by command.
type OverrideKind string

// The kinds, as commands and JSON spell them.
const (
	// OverrideDrain gives the backend no new connections. It keeps the open ones
	// and the clients that persistence has bound to it.
	OverrideDrain OverrideKind = "drain"
	// OverrideWeight replaces the configured weight.
	OverrideWeight OverrideKind = "weight"
	// OverrideReady ends either. It is asked for and never in force.
	OverrideReady OverrideKind = "ready"
)

// An Override is what an operator has changed about a backend by command. It
// lasts until its time is up or another takes its place, over reloads and
// restarts.
type Override struct {
	Kind   OverrideKind `json:"kind"`   // drain or weight
	Weight uint32       `json:"weight"` // of kind weight, 0 to MaxWeight; else 0
	Author string       `json:"author"`
	Reason string       `json:"reason,omitempty"`
	Since  time.Time    `json:"since"`
	Until  time.Time    `json:"until,omitzero"` // zero: until someone ends it
}

// Over reports whether its time is up.
func (o Override) Over(now time.Time) bool { return !o.Until.IsZero() && !now.Before(o.Until) }

// Check says what is wrong with an override that comes from outside.
func (o Override) Check() error {
	switch {
	case o.Kind != OverrideDrain && o.Kind != OverrideWeight:
		return fmt.Errorf("override %q: want drain or weight", o.Kind)
	case o.Weight > MaxWeight:
		return fmt.Errorf("weight %d: want 0 to %d", o.Weight, MaxWeight)
	case o.Kind == OverrideDrain && o.Weight != 0:
		return errors.New("a drain has no weight")
	case o.Author == "":
		return errors.New("author is missing")
	case !o.Until.IsZero() && !o.Until.After(o.Since):
		return errors.New("it ends before it begins")
	}
	return cmp.Or(checkText("author", o.Author, maxAuthor), checkText("reason", o.Reason, maxReason))
}

// The limits on what people write, in bytes.
const (
	maxAuthor = 64
	maxReason = 256
)

func checkText(what, s string, limit int) error {
	if len(s) > limit {
		return fmt.Errorf("%s: %d bytes, want at most %d", what, len(s), limit)
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("%s: is not UTF-8", what)
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("%s: %q is not a character to print", what, r)
		}
	}
	return nil
}

// By is who made it and why, behind what it does: "by alice: kernel update".
func (o Override) By() string {
	if o.Reason == "" {
		return "by " + o.Author
	}
	return "by " + o.Author + ": " + o.Reason
}

// Who is who made it and why, standing alone: "alice (kernel update)".
func (o Override) Who() string {
	if o.Reason == "" {
		return o.Author
	}
	return o.Author + " (" + o.Reason + ")"
}

// String is what it does and by whom: "drain by alice: kernel update".
func (o Override) String() string {
	if o.Kind == OverrideWeight {
		return fmt.Sprintf("weight %d %s", o.Weight, o.By())
	}
	return string(o.Kind) + " " + o.By()
}

// An OverrideRequest asks for an override, or for the end of one.
type OverrideRequest struct {
	Kind   OverrideKind `json:"kind"`
	Weight uint32       `json:"weight,omitempty"`
	Author string       `json:"author"`
	Reason string       `json:"reason,omitempty"`
	// ForSeconds is how long it shall last; 0 means until someone ends it.
	ForSeconds float64 `json:"for_seconds,omitempty"`
}

// MaxOverride is the longest time that an override can be limited to.
const MaxOverride = 366 * 24 * time.Hour

// Override is what the request asks for at a time; false if it asks for the end
// of the one in force.
func (r OverrideRequest) Override(now time.Time) (Override, bool, error) {
	if r.Kind == OverrideReady {
		if r.Weight != 0 || r.ForSeconds != 0 {
			return Override{}, false, errors.New("ready takes neither a weight nor a time")
		}
		o := Override{Kind: OverrideDrain, Author: r.Author, Reason: r.Reason, Since: now}
		return Override{}, false, o.Check() // for who and why
	}
	if !(r.ForSeconds >= 0 && r.ForSeconds <= MaxOverride.Seconds()) {
		return Override{}, false, fmt.Errorf("a time of %v s: want 0 to %.0f", r.ForSeconds, MaxOverride.Seconds())
	}
	o := Override{Kind: r.Kind, Weight: r.Weight, Author: r.Author, Reason: r.Reason, Since: now}
	if r.ForSeconds > 0 {
		o.Until = now.Add(time.Duration(r.ForSeconds * float64(time.Second)))
	}
	return o, true, o.Check()
}

// An OverrideResult is what became of an OverrideRequest.
type OverrideResult struct {
	Backend  string    `json:"backend"`            // "web/web1"
	Before   *Override `json:"before,omitempty"`   // what was in force
	Override *Override `json:"override,omitempty"` // what is; absent if none
	// Decision that followed, and what became of it in the kernel.
	Decision uint64    `json:"decision_seq"`
	Outcome  Outcome   `json:"outcome"`
	At       time.Time `json:"at"` // when the kernel had it
	// NotInForce says why what was asked for is not in force yet although it was
	// taken: the kernel has refused it, or the backend is down. Empty if it is.
	NotInForce string `json:"not_in_force,omitempty"`
	// Warning says what an operator has to know although it is in force.
	Warning string `json:"warning,omitempty"`
}
