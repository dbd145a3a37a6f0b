// SPDX-License-Identifier: Apache-2.0

package core

import "fmt"

// The kinds of things of a configuration, and what can become of them.
const (
	KindService = "service"
	KindProbe   = "probe"
	KindPolicy  = "policy"
	KindKernel  = "kernel"
	KindSetting = "setting" // takes a restart

	KindProbing     = "probing"
	KindMaintenance = "maintenance"

	ActionAdded   = "added"
	ActionRemoved = "removed"
	ActionChanged = "changed"
)

// A ConfigChange is what becomes of one thing of the configuration.
type ConfigChange struct {
	Kind   string      `json:"kind"` // one of those above
	Name   string      `json:"name"`
	Action string      `json:"action"`         // added, removed or changed
	Text   string      `json:"text,omitempty"` // of what is added, in a few words
	Keys   []KeyChange `json:"keys,omitempty"`
}

// A KeyChange is one key that differs. An element that joins a list has no from,
// and one that leaves it no to.
type KeyChange struct {
	Key  string `json:"key"`
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
}

// String is "weight: 100 → 50", or "allow: + 192.0.2.0/24".
func (k KeyChange) String() string {
	switch {
	case k.From == "":
		return fmt.Sprintf("%s: + %s", k.Key, k.To)
	case k.To == "":
		return fmt.Sprintf("%s: - %s", k.Key, k.From)
	}
	return fmt.Sprintf("%s: %s → %s", k.Key, k.From, k.To)
}

// A Dropped is a command that ends because a reload or a start takes away what it
// is about.
type Dropped struct {
	Service string `json:"service"`
	Backend string `json:"backend"`
	Command string `json:"command"` // as in "drain by alice: kernel update"
	Why     string `json:"why"`     // as in "web/web1 is not in the configuration any more"
}

func (d Dropped) String() string { return d.Command + " dropped: " + d.Why }

// A ReloadResult is what a reload has done. Both lists are empty and not nil if
// there is nothing to tell.
type ReloadResult struct {
	Changes []ConfigChange `json:"changes"`
	Dropped []Dropped      `json:"dropped_commands"`
}
