// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A target is a backend that a monitor means by a name of its own: by that of the
// backend, by "service/backend", or by an address.
type target struct {
	service *service
	backend *backend
}

// targets are all backends by all that a monitor may call them. It is made when the first
// one names a target, since it is large and most nodes never need it.
type targets map[string][]target

// targetsOf is the index of services.
func targetsOf(services []*service) targets {
	t := targets{}
	for _, s := range services {
		for _, b := range s.backends {
			t.add(b.spec.Name, s, b)
			t.add(b.id.String(), s, b)
			for _, a := range []netip.AddrPort{b.spec.Addr, b.spec.Alt} {
				if a.IsValid() {
					t.add(a.Addr().Unmap().String(), s, b)
				}
			}
		}
	}
	return t
}

// add files a backend under a name, once: a backend may be called by its address.
func (t targets) add(name string, s *service, b *backend) {
	list := t[name]
	if n := len(list); n == 0 || list[n-1].backend != b {
		t[name] = append(list, target{s, b})
	}
}

// find are the backends that a monitor means; an address may be written in any way.
func (t targets) find(name string) []target {
	if list := t[name]; list != nil {
		return list
	}
	addr, err := netip.ParseAddr(name)
	if err != nil {
		return nil
	}
	return t[addr.Unmap().String()]
}

// takeTarget files the metrics of a monitor for all backends that it means. A node's
// probes always name service and backend, so whatever else it says counts for nothing.
func (e *Engine) takeTarget(s core.Sample) {
	if s.Role != core.MetricRole || !s.OK {
		return
	}
	if e.targets == nil {
		e.targets = targetsOf(e.order)
	}
	found := e.targets.find(s.Backend.Backend)
	if len(found) == 0 {
		e.takeUnknown(s)
	}
	if !e.spreads.allow(s.Node, len(found), len(s.Metrics), time.Now()) {
		e.refuse(s.Backend, s, "flood", fmt.Sprintf("target %q is %d backends, and it names such targets too often; name the backends, or send it less often", s.Backend.Backend, len(found)))
		return
	}
	for _, t := range found {
		e.takeMonitored(t.service, t.backend, s)
	}
}
