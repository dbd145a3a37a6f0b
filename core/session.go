// SPDX-License-Identifier: Apache-2.0

package core

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// A Session is a client that persistence has bound to a backend.
type Session struct {
	Client  netip.Prefix `json:"client"`  // the bits of an address that make a client
	Backend string       `json:"backend"` // empty if it is none of the configuration
	Address string       `json:"address"` // of the backend
	// ExpiresIn is how many seconds are left, if the client does not come again.
	ExpiresIn float64 `json:"expires_in_seconds"`
}

// A SessionFilter picks sessions, and those pins that are like them.
type SessionFilter struct {
	Backend string       `json:"backend,omitempty"` // empty: any
	Client  netip.Prefix `json:"client,omitzero"`   // those that share an address with it; the zero Prefix: any
}

// Any reports whether the filter leaves nothing out.
func (f SessionFilter) Any() bool { return f == SessionFilter{} }

// Matches reports whether a client of a backend is picked.
func (f SessionFilter) Matches(client netip.Prefix, backend string) bool {
	return (f.Backend == "" || f.Backend == backend) && (!f.Client.IsValid() || f.Client.Overlaps(client))
}

// Check says what is wrong with a filter that comes from outside.
func (f SessionFilter) Check() error {
	if f.Client.IsValid() && f.Client != f.Client.Masked() {
		return fmt.Errorf("client %v: write it as %v", f.Client, f.Client.Masked())
	}
	return nil
}

// A SessionCount is how many clients of one family a service remembers.
type SessionCount struct {
	Family  string `json:"family"`  // ipv4 or ipv6
	Entries int    `json:"entries"` // now
	Size    uint32 `json:"size"`    // at most
}

// Full reports whether a new client is not remembered.
func (c SessionCount) Full() bool { return uint64(c.Entries) >= uint64(c.Size) }

// Sessions are the clients of one service that persistence has bound.
type Sessions struct {
	List    []Session      // sorted by client
	Matched int            // how many there are of those that were asked for; List may hold fewer
	Counts  []SessionCount // of all, by family
}

// A PinState is a pin and where it comes from. A pin of the configuration has no
// author.
type PinState struct {
	Pin
	Author string    `json:"author,omitempty"`
	Reason string    `json:"reason,omitempty"`
	Since  time.Time `json:"since,omitzero"`
	Until  time.Time `json:"until,omitzero"` // zero: until someone ends it
}

// Over reports whether its time is up.
func (p PinState) Over(now time.Time) bool { return !p.Until.IsZero() && !now.Before(p.Until) }

// ByCommand reports whether a command made it.
func (p PinState) ByCommand() bool { return p.Author != "" }

// String is such as "pin of 192.0.2.7 to web1 by alice: kernel update".
func (p PinState) String() string {
	text := fmt.Sprintf("pin of %s to %s", ClientText(p.Client), p.Backend)
	if p.ByCommand() {
		text += " " + Override{Author: p.Author, Reason: p.Reason}.By()
	}
	return text
}

// Check says what is wrong with a pin by command that comes from outside.
func (p PinState) Check() error {
	switch {
	case !p.Client.IsValid():
		return errors.New("client is missing")
	case p.Client != p.Client.Masked():
		return fmt.Errorf("client %v: write it as %v", p.Client, p.Client.Masked())
	case p.Client.Addr().Is4In6():
		return fmt.Errorf("client %v: write it as IPv4", p.Client)
	case p.Backend == "":
		return errors.New("backend is missing")
	case p.Author == "":
		return errors.New("author is missing")
	case !p.Until.IsZero() && !p.Until.After(p.Since):
		return errors.New("it ends before it begins")
	}
	return cmp.Or(checkText("author", p.Author, maxAuthor), checkText("reason", p.Reason, maxReason))
}

// ClientText is a client as people write it: one address without its length.
func ClientText(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// ParseClient reads an address or a network.
func ParseClient(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return netip.Prefix{}, fmt.Errorf("client %q: want an address, as in 192.0.2.7, or a network, as in 192.0.2.0/24", s)
	case p != p.Masked():
		return netip.Prefix{}, fmt.Errorf("client %s: write it as %s", s, p.Masked())
	}
	return p, nil
}

// A PinRequest asks for a pin by command, or for the end of one.
type PinRequest struct {
	Client  netip.Prefix `json:"client"`
	Backend string       `json:"backend,omitempty"` // empty: the end of the pin of Client
	Author  string       `json:"author"`
	Reason  string       `json:"reason,omitempty"`
	// ForSeconds is how long it shall last; 0 means until someone ends it.
	ForSeconds float64 `json:"for_seconds,omitempty"`
}

// Pin is what the request asks for at a time; false if it asks for the end of the
// one in force.
func (r PinRequest) Pin(now time.Time) (PinState, bool, error) {
	p := PinState{Pin: Pin{Client: r.Client, Backend: r.Backend}, Author: r.Author, Reason: r.Reason, Since: now}
	if r.Backend == "" {
		if r.ForSeconds != 0 {
			return p, false, errors.New("the end of a pin takes no time")
		}
		p.Backend = "-" // for the check of all else
		return PinState{}, false, p.Check()
	}
	if !(r.ForSeconds >= 0 && r.ForSeconds <= MaxOverride.Seconds()) {
		return p, false, fmt.Errorf("a time of %v s: want 0 to %.0f", r.ForSeconds, MaxOverride.Seconds())
	}
	if r.ForSeconds > 0 {
		p.Until = now.Add(time.Duration(r.ForSeconds * float64(time.Second)))
	}
	return p, true, p.Check()
}

// A PinResult is what became of a PinRequest.
type PinResult struct {
	Service string    `json:"service"`
	Before  *PinState `json:"before,omitempty"` // the pin by command that was in force
	Pin     *PinState `json:"pin,omitempty"`    // the one that is; absent if there is none
	// Configured is the backend that the configuration pins the client to, which
	// counts where no command does.
	Configured string `json:"configured_backend,omitempty"`
	NotInForce string `json:"not_in_force,omitempty"` // why it is not in force yet although it was taken; empty if it is
	Warning    string `json:"warning,omitempty"`      // what an operator has to know although it is in force
}

// MergePins lays pins by command over those of the configuration: of two for the
// same client the command counts. The result is new, the longest prefix first.
func MergePins(configured []Pin, commands []PinState) []Pin {
	byCommand := make(map[netip.Prefix]bool, len(commands))
	out := make([]Pin, 0, len(configured)+len(commands))
	for _, p := range commands {
		byCommand[p.Client] = true
		out = append(out, p.Pin)
	}
	for _, p := range configured {
		if !byCommand[p.Client] {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(x, y Pin) int {
		return cmp.Or(y.Client.Bits()-x.Client.Bits(), x.Client.Addr().Compare(y.Client.Addr()))
	})
	return out
}

// SessionsView is what show sessions says of one service.
type SessionsView struct {
	Service  string         `json:"service"`
	Timeout  float64        `json:"timeout_seconds"` // of persistence; 0: there is none
	Counts   []SessionCount `json:"counts,omitempty"`
	Matched  int            `json:"matched"` // of those asked for; sessions may be cut short
	Sessions []Session      `json:"sessions"`
	Pins     []PinState     `json:"pins"` // those that count, the longest prefix first
	Error    string         `json:"error,omitempty"`
}
