// SPDX-License-Identifier: Apache-2.0

package abi

import (
	"fmt"
	"regexp"
)

// A Manifest is what a module says about its policies. A module without one
// holds a single policy without parameters and state.
type Manifest struct {
	ABI      int          `json:"abi"`
	Policies []PolicyInfo `json:"policies"`
}

// A PolicyInfo describes one policy; its index is the entry in the header.
type PolicyInfo struct {
	Name   string      `json:"name"`
	About  string      `json:"about,omitempty"`
	Params []ParamInfo `json:"params,omitempty"`
	// Reads are the readings that the policy goes by; the others are unknown to
	// it. Nil, as when the manifest does not say, means all.
	Reads []string `json:"reads,omitzero"`
	// Metrics are the custom metrics that the policy reads, in the order in which
	// the snapshot has them.
	Metrics      []string `json:"metrics,omitempty"`
	BackendSlots int      `json:"backend_slots"` // f64 per backend
	ServiceSlots int      `json:"service_slots"` // f64 per service
	// StateVersion says what the slots mean: state that another version wrote is
	// not handed to this one.
	StateVersion int `json:"state_version"`
}

// Limits of a manifest.
const (
	MaxManifest     = 64 << 10 // bytes
	maxPolicies     = 64
	maxParams       = 64
	maxStateVersion = 1 << 31
)

var (
	namePattern   = regexp.MustCompile("^[a-z0-9][a-z0-9_-]{0,62}$")
	metricPattern = regexp.MustCompile("^[a-z0-9][a-z0-9_]{0,62}$")
)

// ParseManifest reads and checks a manifest. The error names the place.
func ParseManifest(b []byte) (Manifest, error) {
	m, err := parseManifest(b)
	if err != nil {
		return Manifest{}, fmt.Errorf("parse manifest: %w", err)
	}
	return m, nil
}

func parseManifest(b []byte) (Manifest, error) {
	if len(b) > MaxManifest {
		return Manifest{}, fmt.Errorf("%d bytes, at most %d are read", len(b), MaxManifest)
	}
	m, err := readManifest(b)
	if err != nil {
		return m, err
	}
	if m.ABI != Major {
		return m, fmt.Errorf("abi is %d, this steelyard speaks %d", m.ABI, Major)
	}
	if len(m.Policies) == 0 || len(m.Policies) > maxPolicies {
		return m, fmt.Errorf("%d policies, want 1 to %d", len(m.Policies), maxPolicies)
	}
	seen := map[string]bool{}
	for i := range m.Policies {
		p := &m.Policies[i]
		if seen[p.Name] {
			return m, fmt.Errorf("policy %q is there twice", p.Name)
		}
		seen[p.Name] = true
		if err := p.check(); err != nil {
			return m, fmt.Errorf("policy %q: %w", p.Name, err)
		}
	}
	return m, nil
}

func (p *PolicyInfo) check() error {
	if !namePattern.MatchString(p.Name) {
		return fmt.Errorf("name: want lower-case letters, digits, hyphens and underscores, at most 63")
	}
	if p.BackendSlots < 0 || p.BackendSlots > MaxStateSlots || p.ServiceSlots < 0 || p.ServiceSlots > MaxStateSlots {
		return fmt.Errorf("%d backend slots and %d service slots: want 0 to %d", p.BackendSlots, p.ServiceSlots, MaxStateSlots)
	}
	if p.StateVersion < 0 || p.StateVersion >= maxStateVersion {
		return fmt.Errorf("state version %d: want 0 to %d", p.StateVersion, maxStateVersion-1)
	}
	if err := p.checkReads(); err != nil {
		return err
	}
	if err := p.checkMetrics(); err != nil {
		return err
	}
	if len(p.Params) > maxParams {
		return fmt.Errorf("%d parameters: at most %d", len(p.Params), maxParams)
	}
	seen := map[string]bool{}
	for _, q := range p.Params {
		if !namePattern.MatchString(q.Name) {
			return fmt.Errorf("parameter %q: want lower-case letters, digits, hyphens and underscores, at most 63", q.Name)
		}
		if seen[q.Name] {
			return fmt.Errorf("parameter %q is there twice", q.Name)
		}
		seen[q.Name] = true
		if err := q.check(); err != nil {
			return fmt.Errorf("parameter %s: %w", q.Name, err)
		}
	}
	return nil
}

func (p *PolicyInfo) checkMetrics() error {
	if len(p.Metrics) > MaxMetrics {
		return fmt.Errorf("%d custom metrics: at most %d", len(p.Metrics), MaxMetrics)
	}
	seen := map[string]bool{}
	for _, name := range p.Metrics {
		if !metricPattern.MatchString(name) {
			return fmt.Errorf("metric %q: want lower-case letters, digits and underscores, at most 63", name)
		}
		if seen[name] {
			return fmt.Errorf("metric %q is there twice", name)
		}
		seen[name] = true
	}
	return nil
}
