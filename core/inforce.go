// SPDX-License-Identifier: Apache-2.0

package core

// InForce is what a running steelyard carries, for a comparison with a
// configuration that is not in force yet. Secrets in it are masked by encoding.
type InForce struct {
	Node       string `json:"node"`
	ConfigHash string `json:"config_hash"`
	Plan       Plan   `json:"plan"`
	// Services and Probes are the configuration behind the plan.
	Services []Service            `json:"services"`
	Probes   map[string]ProbeSpec `json:"probes"`
	Policies []PolicySpec         `json:"policies"`
	Probing  Probing              `json:"probing"`
	// Maintenance are the times in which backends are drained.
	Maintenance []Maintenance `json:"maintenance"`
	// Settings are the parts of the configuration that take a restart, by key, as
	// text to compare.
	Settings map[string]string `json:"settings"`

	Overrides map[string]Override   `json:"overrides"` // by "web/web1"
	Pins      map[string][]PinState `json:"pins"`      // by command, by service
	Features  []Feature             `json:"features"`
	// Interfaces are those that the node has, by name; null if they are not known.
	Interfaces []string `json:"interfaces"`
}
