// SPDX-License-Identifier: Apache-2.0

package core

import (
	"fmt"
	"strings"
)

// Turned counts what a service turned away before a backend was chosen, by the
// reason. Each field but the last two counts first packets of connections, so
// that a client who tries again is counted again.
type Turned struct {
	Denied     uint64 `json:"denied,omitempty"`      // in Deny, or not in Allow
	Rate       uint64 `json:"rate,omitempty"`        // above Limits.New
	ClientRate uint64 `json:"client_rate,omitempty"` // above Limits.NewPerClient
	Open       uint64 `json:"open,omitempty"`        // above Limits.Open
	ClientOpen uint64 `json:"client_open,omitempty"` // above Limits.OpenPerClient
	Resets     uint64 `json:"resets,omitempty"`      // packets above Limits.ResetsPerClient
	Invalid    uint64 `json:"invalid,omitempty"`     // packets that Limits.Strict dropped
}

// Total is all of them.
func (t Turned) Total() uint64 {
	return t.Denied + t.Rate + t.ClientRate + t.Open + t.ClientOpen + t.Resets + t.Invalid
}

// Text tells what was turned away and by which limit: "12 denied, 3 over 100
// new/s". It is empty if nothing was.
func (t Turned) Text(l Limits) string {
	var parts []string
	add := func(n uint64, format string, args ...any) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d ", n)+fmt.Sprintf(format, args...))
		}
	}
	add(t.Denied, "denied")
	add(t.Rate, "over %d new/s", l.New.PerSecond)
	add(t.ClientRate, "over %d new/s per client", l.NewPerClient.PerSecond)
	add(t.Open, "over %d open", l.Open)
	add(t.ClientOpen, "over %d open per client", l.OpenPerClient)
	add(t.Resets, "resets over %d/s per client", l.ResetsPerClient.PerSecond)
	add(t.Invalid, "invalid")
	return strings.Join(parts, ", ")
}
