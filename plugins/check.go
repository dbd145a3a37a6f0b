// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"fmt"

	"github.com/steelyard-lb/steelyard/plugins/abi"
	"github.com/steelyard-lb/steelyard/plugins/builtin"
	"github.com/steelyard-lb/steelyard/sdk/go/policy"
)

// ShippedPolicies describes the shipped policies without starting anything: for
// help, and for checking a configuration.
func ShippedPolicies() []abi.PolicyInfo {
	own := builtin.Policies()
	list := make([]*policy.Policy, len(own))
	for i := range own {
		list[i] = &own[i]
	}
	m, err := abi.ParseManifest(policy.Manifest(list))
	if err != nil {
		panic(err) // our own constants
	}
	return m.Policies
}

// FollowsConnections reports whether a loaded policy goes by how many connections
// are open, or were closed of late, so that each must be followed. Of a policy
// that is not loaded nobody knows, so it is taken to.
func (h *Host) FollowsConnections(name string) bool {
	h.mu.Lock()
	p := h.programs[name]
	h.mu.Unlock()
	return p == nil || p.info.ReadsAny(abi.ReadsConnections, abi.ReadsClosed)
}

// CheckParams reports whether a service may give these parameters to a loaded
// policy.
func (h *Host) CheckParams(name string, params map[string]float64) error {
	h.mu.Lock()
	p := h.programs[name]
	h.mu.Unlock()
	if p == nil {
		return fmt.Errorf("no policy %s is loaded", name)
	}
	_, err := p.info.Values(params)
	return err
}
