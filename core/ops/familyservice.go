// SPDX-License-Identifier: Apache-2.0

package ops

import "github.com/steelyard-lb/steelyard/core"

// ofServices makes a family with what series adds for each service.
func ofServices(p *page, v *core.NodeView) func(name string, k kind, help string, series func(s *core.ServiceView)) {
	return func(name string, k kind, help string, series func(s *core.ServiceView)) {
		p.family(name, k, help, func() {
			for i := range v.Services {
				series(&v.Services[i])
			}
		})
	}
}

func serviceFamilies(p *page, v *core.NodeView, m *meter) {
	each := ofServices(p, v)
	each("steelyard_service_info", gauge, "Always 1; the labels tell how the service is configured.", func(s *core.ServiceView) {
		p.add(1, "service", s.Name, "vip", s.VIP, "protocol", string(s.Protocol), "policy", s.Policy)
	})
	each("steelyard_service_backends", gauge, "Configured backends.", func(s *core.ServiceView) {
		p.add(float64(len(s.Backends)), "service", s.Name)
	})
	each("steelyard_service_backends_up", gauge, "Backends that are up.", func(s *core.ServiceView) {
		p.add(countOf(s, func(b *core.BackendView) bool { return b.Health == core.Up }), "service", s.Name)
	})
	each("steelyard_service_backends_serving", gauge, "Backends that get new connections; 0 means that clients are turned away.", func(s *core.ServiceView) {
		p.add(countOf(s, func(b *core.BackendView) bool { return b.Slots > 0 }), "service", s.Name)
	})
	each("steelyard_service_panic", gauge, "1 while too few backends are up, so that all of them get connections.", func(s *core.ServiceView) {
		p.fact(m.panics[s.Name], "service", s.Name)
	})
	each("steelyard_service_refused", gauge, "1 while this node or its kernel refuses the service as it is configured.", func(s *core.ServiceView) {
		p.fact(s.Error != "", "service", s.Name)
	})
	each("steelyard_service_policy_failed", gauge, "1 while the policy gives no answer and the last good weights hold.", func(s *core.ServiceView) {
		p.fact(s.PolicyError != "", "service", s.Name)
	})
	each("steelyard_service_led_elsewhere", gauge, "1 while another node decides the shares.", func(s *core.ServiceView) {
		p.fact(s.Leader != nil, "service", s.Name)
	})
	serviceTraffic(p, v)
}

func serviceTraffic(p *page, v *core.NodeView) {
	each := ofServices(p, v)
	each("steelyard_service_connections", gauge, "Open connections that this node carries.", func(s *core.ServiceView) {
		if s.Connections != nil {
			p.count(*s.Connections-s.ConnectionsAbroad, "service", s.Name)
		}
	})
	each("steelyard_service_connections_total", counter, "Connections since the table was made.", func(s *core.ServiceView) {
		p.count(s.ConnectionsTotal, "service", s.Name)
	})
	each("steelyard_service_refused_connections_total", counter, "Connections that found no backend.", func(s *core.ServiceView) {
		p.count(s.RefusedTotal, "service", s.Name)
	})
	each("steelyard_service_turned_away_total", counter, "What allow, deny and limits turned away: connections, but packets for resets and invalid.", func(s *core.ServiceView) {
		turned(p, s)
	})
	each("steelyard_service_packets_total", counter, "Packets to the backends (in) and back (out), where they are counted.", func(s *core.ServiceView) {
		if t := s.Traffic; t != nil {
			p.count(t.PacketsIn, "service", s.Name, "direction", "in")
			p.count(t.PacketsOut, "service", s.Name, "direction", "out")
		}
	})
	each("steelyard_service_bytes_total", counter, "Bytes of IP packets to the backends (in) and back (out), where they are counted.", func(s *core.ServiceView) {
		if t := s.Traffic; t != nil {
			p.count(t.BytesIn, "service", s.Name, "direction", "in")
			p.count(t.BytesOut, "service", s.Name, "direction", "out")
		}
	})
}

func countOf(s *core.ServiceView, is func(*core.BackendView) bool) float64 {
	n := 0
	for i := range s.Backends {
		if is(&s.Backends[i]) {
			n++
		}
	}
	return float64(n)
}

// turned leaves out reasons that never came up: most services have no limits.
func turned(p *page, s *core.ServiceView) {
	t := &s.TurnedAwayTotal
	for _, r := range []struct {
		reason string
		n      uint64
	}{
		{"denied", t.Denied}, {"rate", t.Rate}, {"client_rate", t.ClientRate}, {"open", t.Open},
		{"client_open", t.ClientOpen}, {"resets", t.Resets}, {"invalid", t.Invalid},
	} {
		if r.n > 0 {
			p.count(r.n, "service", s.Name, "reason", r.reason)
		}
	}
}
