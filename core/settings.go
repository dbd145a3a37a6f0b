// SPDX-License-Identifier: Apache-2.0

package core

// Settings are what the configuration makes of the traffic of a service, as
// `explain` shows it. What is absent is switched off.
type Settings struct {
	// Traffic is without Allow, Deny and Pins, which may be long; they are counted
	// below.
	Traffic

	AllowPrefixes int    `json:"allow_prefixes,omitzero"`
	AllowFile     string `json:"allow_file,omitzero"` // that some of them are from
	DenyPrefixes  int    `json:"deny_prefixes,omitzero"`
	DenyFile      string `json:"deny_file,omitzero"`
	ConfigPins    int    `json:"configured_pins,omitzero"`

	// Health and Passive are the rules for the health of its backends.
	Health  HealthRule  `json:"health,omitzero"`
	Passive PassiveRule `json:"passive,omitzero"`

	OnDown OnDown  `json:"on_down,omitzero"`
	MinUp  int     `json:"min_up,omitzero"`
	Panic  float64 `json:"panic_ratio,omitzero"` // of the backends; below it all of them serve
	// LocalClients says that connections of this node itself are balanced, too.
	LocalClients bool `json:"local_clients,omitzero"`
}

// Settings are those of the service on a node that balances its own connections,
// or does not. They share memory with the service, and are never changed.
func (s *Service) Settings(localClients bool) *Settings {
	out := &Settings{
		Traffic:       s.Traffic,
		AllowPrefixes: len(s.Allow), AllowFile: s.AllowFile,
		DenyPrefixes: len(s.Deny), DenyFile: s.DenyFile, ConfigPins: len(s.Pins),
		Health: s.Health, Passive: s.Passive,
		OnDown: s.OnDown, MinUp: s.MinUp, Panic: s.Shaping.Panic,
		LocalClients: localClients && s.Forwarding.Tracked(),
	}
	out.Allow, out.Deny, out.Pins = nil, nil, nil
	return out
}
