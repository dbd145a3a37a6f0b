// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"fmt"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/plugins/abi"
	"github.com/steelyard-lb/steelyard/plugins/builtin"
	sdk "github.com/steelyard-lb/steelyard/sdk/go/policy"
)

// ShippedPolicies describes the shipped policies without starting anything: for
// help, and for checking a configuration.
func ShippedPolicies() []abi.PolicyInfo {
	own := builtin.Policies()
	list := make([]*sdk.Policy, len(own))
	for i := range own {
		list[i] = &own[i]
	}
	m, err := abi.ParseManifest(sdk.Manifest(list))
	if err != nil {
		panic(err) // our own constants
	}
	return m.Policies
}

// FollowsConnections reports whether a loaded policy goes by how many connections
// are open, or were closed of late, so that each must be followed. Of a policy
// that is not loaded nobody knows, so it is taken to.
func (h *Host) FollowsConnections(name string) bool {
	v := h.version(name)
	return v == nil || v.info.ReadsAny(abi.ReadsConnections, abi.ReadsClosed)
}

// CheckParams reports whether a service may give these parameters to a loaded
// policy.
func (h *Host) CheckParams(name string, params map[string]float64) error {
	v := h.version(name)
	if v == nil {
		return fmt.Errorf("no policy %s is loaded", name)
	}
	_, err := v.info.Values(params)
	return err
}

// CustomMetrics are the names of the custom metrics that a loaded policy reads,
// in the order of its manifest; nil if it reads none or is not loaded.
func (h *Host) CustomMetrics(name string) []string {
	v := h.version(name)
	if v == nil {
		return nil
	}
	return v.info.Metrics
}

// metricOf are the metrics of the readings that a manifest may name.
var metricOf = map[string]string{
	abi.ReadsCPU: core.MetricCPU, abi.ReadsCores: core.MetricCores, abi.ReadsResponse: core.MetricResponse,
	abi.ReadsConnections: core.MetricConnections, abi.ReadsOpened: core.MetricNew, abi.ReadsClosed: core.MetricDone,
}

// Reads are the metrics that a loaded policy goes by, custom ones too; nil if it
// does not say, or is not loaded.
func (h *Host) Reads(name string) []string {
	v := h.version(name)
	if v == nil || v.info.Reads == nil {
		return nil
	}
	reads := make([]string, 0, len(v.info.Reads)+len(v.info.Metrics)) // not nil: it may read nothing
	for _, r := range v.info.Reads {
		reads = append(reads, metricOf[r])
	}
	return append(reads, v.info.Metrics...)
}

// ParamNames are the names of the parameters that a loaded policy takes; nil if it
// is not loaded.
func (h *Host) ParamNames(name string) []string {
	v := h.version(name)
	if v == nil {
		return nil
	}
	names := make([]string, len(v.info.Params))
	for i := range names {
		names[i] = v.info.Params[i].Name
	}
	return names
}

// version is the version of a policy that is in force; nil if none is loaded.
func (h *Host) version(name string) *version {
	p := h.find(name)
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}
