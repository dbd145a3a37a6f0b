// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"slices"

	"github.com/steelyard-lb/steelyard/core"
)

// A Setup is the part of the configuration that a reload replaces.
type Setup struct {
	Services []core.Service
	Probes   map[string]core.ProbeSpec
	Probing  core.Probing
	// Maintenance are the times in which backends are drained.
	Maintenance []core.Maintenance
	// Metrics are the custom metrics that a policy reads, by its name, and Params the
	// parameters that it takes; of one that is not in Params it is not known.
	Metrics, Params map[string][]string
	// Reads are the metrics that a policy goes by; one that is not there is taken to go
	// by all.
	Reads map[string][]string
	// LocalClients balances the connections that this node itself makes, too.
	LocalClients bool
	// OffloadDevices are the interfaces on whose packets offload works.
	OffloadDevices []string
	// Cluster is how this node works with others.
	Cluster core.ClusterSpec
}

// customOf are the custom metrics that the policies of a service read.
func (s Setup) customOf(spec core.Service) []string {
	names := s.Metrics[spec.Policy]
	if spec.Shadow != "" {
		names = slices.Concat(names, s.Metrics[spec.Shadow])
	}
	if len(names) == 0 {
		return nil
	}
	names = slices.Sorted(slices.Values(names))
	return slices.Compact(names)
}

// paramsOf are the parameters of a service that one of its policies gets. Beside a
// shadow each gets those that it has.
func (s Setup) paramsOf(spec core.Service, policy string) map[string]float64 {
	takes, known := s.Params[policy]
	if spec.Shadow == "" || !known {
		return spec.Params
	}
	out := make(map[string]float64, len(spec.Params))
	for name, v := range spec.Params {
		if slices.Contains(takes, name) {
			out[name] = v
		}
	}
	return out
}

// setPolicies follows what setup says of the service's policies.
func (s *service) setPolicies(setup Setup) {
	names := setup.customOf(s.spec)
	for _, b := range s.backends {
		b.custom = b.custom.under(names)
	}
	s.params = setup.paramsOf(s.spec, s.spec.Policy)
	s.reads = setup.Reads[s.spec.Policy]
	if s.shadow != nil {
		s.shadow.params = setup.paramsOf(s.spec, s.shadow.policy)
	}
}

// SetPolicies replaces Setup.Metrics, Setup.Params and Setup.Reads, as after a
// policy was loaded anew between two reloads.
func (e *Engine) SetPolicies(ctx context.Context, metrics, params, reads map[string][]string) error {
	return e.do(ctx, func() {
		e.setup.Metrics, e.setup.Params, e.setup.Reads = metrics, params, reads
		for _, s := range e.order {
			s.setPolicies(e.setup)
		}
	})
}
