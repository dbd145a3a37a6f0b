// SPDX-License-Identifier: Apache-2.0

package ops

import "github.com/steelyard-lb/steelyard/core"

// states are those of the state set of a backend.
var states = []core.BackendState{
	core.StateUp, core.StateDown, core.StateUnknown, core.StateDrain, core.StateFull,
	core.StateReserve, core.StateSorry, core.StateMaint, core.StateEjected,
}

// ofBackends makes a family with what series adds for each backend.
func ofBackends(p *page, v *core.NodeView) func(name string, k kind, help string, series func(service string, b *core.BackendView)) {
	return func(name string, k kind, help string, series func(service string, b *core.BackendView)) {
		p.family(name, k, help, func() {
			for i := range v.Services {
				s := &v.Services[i]
				for j := range s.Backends {
					series(s.Name, &s.Backends[j])
				}
			}
		})
	}
}

// backendFamilies come in the order in which they are missed least: the state set is
// nine series per backend, and says little that up does not.
func backendFamilies(p *page, v *core.NodeView, m *meter) {
	each := ofBackends(p, v)
	each("steelyard_backend_up", gauge, "1 if the backend is up by its probes and by what its clients meet.", func(service string, b *core.BackendView) {
		p.fact(b.Health == core.Up, "service", service, "backend", b.Name)
	})
	each("steelyard_backend_share_ratio", gauge, "Part of the new connections that the kernel sends there, 0 to 1.", func(service string, b *core.BackendView) {
		p.add(b.Share, "service", service, "backend", b.Name)
	})
	each("steelyard_backend_connections", gauge, "Open connections that this node carries.", func(service string, b *core.BackendView) {
		if b.Connections != nil {
			p.count(*b.Connections-b.ConnectionsAbroad, "service", service, "backend", b.Name)
		}
	})
	each("steelyard_backend_connections_elsewhere", gauge, "Open connections that other nodes of the group carry, where this node decides the shares.", func(service string, b *core.BackendView) {
		if b.ConnectionsAbroad > 0 {
			p.count(b.ConnectionsAbroad, "service", service, "backend", b.Name)
		}
	})
	each("steelyard_backend_new_connections_total", counter, "Connections that were sent there since the table was made.", func(service string, b *core.BackendView) {
		p.count(b.ConnectionsTotal, "service", service, "backend", b.Name)
	})
	each("steelyard_backend_state_changes_total", counter, "Changes of the backend's health since the start.", func(service string, b *core.BackendView) {
		p.count(m.changes[core.BackendID{Service: service, Backend: b.Name}], "service", service, "backend", b.Name)
	})
	each("steelyard_backend_weight", gauge, "Weight: the configured one, and the one set by command where there is one.", func(service string, b *core.BackendView) {
		p.add(float64(b.Configured), "service", service, "backend", b.Name, "kind", "configured")
		if o := b.Override; o != nil && o.Kind == core.OverrideWeight {
			p.add(float64(o.Weight), "service", service, "backend", b.Name, "kind", "command")
		}
	})
	backendReadings(p, v)
	each("steelyard_backend_state", gauge, "State of the backend: 1 for the one it is in, 0 for all others.", func(service string, b *core.BackendView) {
		for _, st := range states {
			p.fact(b.State == st, "service", service, "backend", b.Name, "state", string(st))
		}
	})
}

// backendReadings are known of some backends only.
func backendReadings(p *page, v *core.NodeView) {
	each := ofBackends(p, v)
	each("steelyard_backend_cpu_ratio", gauge, "Busy part of the processors, 0 to 1, where a probe or a monitor tells it.", func(service string, b *core.BackendView) {
		if b.CPU != nil {
			p.add(*b.CPU, "service", service, "backend", b.Name)
		}
	})
	each("steelyard_backend_response_time_seconds", gauge, "Response time as the policy sees it, where a probe or a monitor tells it.", func(service string, b *core.BackendView) {
		if b.Response != nil {
			p.add(*b.Response, "service", service, "backend", b.Name)
		}
	})
	each("steelyard_backend_packets_total", counter, "Packets to the backend (in) and back (out), where they are counted.", func(service string, b *core.BackendView) {
		if t := b.Traffic; t != nil {
			p.count(t.PacketsIn, "service", service, "backend", b.Name, "direction", "in")
			p.count(t.PacketsOut, "service", service, "backend", b.Name, "direction", "out")
		}
	})
	each("steelyard_backend_bytes_total", counter, "Bytes of IP packets to the backend (in) and back (out), where they are counted.", func(service string, b *core.BackendView) {
		if t := b.Traffic; t != nil {
			p.count(t.BytesIn, "service", service, "backend", b.Name, "direction", "in")
			p.count(t.BytesOut, "service", service, "backend", b.Name, "direction", "out")
		}
	})
}
