// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"net/netip"
	"slices"

	"github.com/steelyard-lb/steelyard/core"
)

// A serviceKey is what no two services share.
type serviceKey = core.Frontend

func keyOf(s core.Service) serviceKey { return s.First() }

// gone are the services in force whose names a setup does not have.
func (e *Engine) gone(setup Setup) map[serviceKey]*service {
	stay := make(map[string]bool, len(setup.Services))
	for _, spec := range setup.Services {
		stay[spec.Name] = true
	}
	out := map[serviceKey]*service{}
	for name, s := range e.services {
		if !stay[name] {
			out[keyOf(s.spec)] = s
		}
	}
	return out
}

// at is the backend with an address; nil if there is none, or no service.
func (s *service) at(addr netip.AddrPort) *backend {
	if s == nil {
		return nil
	}
	i := slices.IndexFunc(s.backends, func(b *backend) bool { return b.spec.Addr == addr })
	if i < 0 {
		return nil
	}
	return s.backends[i]
}
