// SPDX-License-Identifier: Apache-2.0

package abi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
)

// A Manifest is what a module says about its policies. A module without one
// holds a single policy without parameters and state.
type Manifest struct {
	ABI      int          `json:"abi"`
	Policies []PolicyInfo `json:"policies"`
}

// A PolicyInfo describes one policy; its index is the entry in the header.
type PolicyInfo struct {
	Name         string      `json:"name"`
	About        string      `json:"about"`
	Params       []ParamInfo `json:"params"`
	BackendSlots int         `json:"backend_slots"` // f64 per backend
	ServiceSlots int         `json:"service_slots"` // f64 per service
	// Reads are the readings that the policy goes by; the others are unknown to
	// it. Nil, as when the manifest does not say, means all.
	Reads []string `json:"reads"`
}

// A ParamInfo describes one parameter.
type ParamInfo struct {
	Name    string  `json:"name"`
	Default float64 `json:"default"`
	Min     float64 `json:"min"`
	Max     float64 `json:"max"`
	About   string  `json:"about"`
}

// Limits of a manifest.
const (
	MaxManifest = 64 << 10 // bytes
	maxPolicies = 64
	maxParams   = 64
)

var namePattern = regexp.MustCompile("^[a-z0-9][a-z0-9_-]{0,62}$")

// ParseManifest reads and checks a manifest.
func ParseManifest(b []byte) (Manifest, error) {
	var m Manifest
	if len(b) > MaxManifest {
		return m, fmt.Errorf("parse manifest: %d bytes, at most %d are read", len(b), MaxManifest)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&m); err != nil {
		return m, fmt.Errorf("parse manifest: %w", err)
	}
	if m.ABI != Major {
		return m, fmt.Errorf("parse manifest: abi is %d, this steelyard speaks %d", m.ABI, Major)
	}
	if len(m.Policies) == 0 || len(m.Policies) > maxPolicies {
		return m, fmt.Errorf("parse manifest: %d policies, want 1 to %d", len(m.Policies), maxPolicies)
	}
	seen := map[string]bool{}
	for i := range m.Policies {
		p := &m.Policies[i]
		if seen[p.Name] {
			return m, fmt.Errorf("parse manifest: policy %q is there twice", p.Name)
		}
		seen[p.Name] = true
		if err := p.check(); err != nil {
			return m, fmt.Errorf("parse manifest: policy %q: %w", p.Name, err)
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
	if err := p.checkReads(); err != nil {
		return err
	}
	if len(p.Params) > maxParams {
		return fmt.Errorf("%d parameters: at most %d", len(p.Params), maxParams)
	}
	seen := map[string]bool{}
	for _, q := range p.Params {
		if !namePattern.MatchString(q.Name) || seen[q.Name] {
			return fmt.Errorf("parameter %q: bad name, or there twice", q.Name)
		}
		seen[q.Name] = true
		if !(q.Min <= q.Default && q.Default <= q.Max) {
			return fmt.Errorf("parameter %s: default %g is not within %g to %g", q.Name, q.Default, q.Min, q.Max)
		}
	}
	return nil
}

// Values puts the parameters of a service in the manifest's order; one that is
// not given is NaN. An unknown name or a value out of range is an error.
func (p *PolicyInfo) Values(given map[string]float64) ([]float64, error) {
	out := make([]float64, len(p.Params))
	found := 0
	for i, q := range p.Params {
		v, ok := given[q.Name]
		if !ok {
			out[i] = math.NaN()
			continue
		}
		found++
		if !(q.Min <= v && v <= q.Max) {
			return nil, fmt.Errorf("parameter %s of policy %s is %g: want %g to %g", q.Name, p.Name, v, q.Min, q.Max)
		}
		out[i] = v
	}
	if found < len(given) {
		return nil, p.unknown(given)
	}
	return out, nil
}

func (p *PolicyInfo) unknown(given map[string]float64) error {
	var names, extra []string
	for _, q := range p.Params {
		names = append(names, q.Name)
	}
	for name := range given {
		if !slices.Contains(names, name) {
			extra = append(extra, name)
		}
	}
	slices.Sort(extra)
	has := "it has none"
	if len(names) > 0 {
		has = "it has " + strings.Join(names, ", ")
	}
	return fmt.Errorf("policy %s has no parameter %s: %s", p.Name, strings.Join(extra, ", "), has)
}
