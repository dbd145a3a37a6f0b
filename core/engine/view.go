// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// View is the state as `show` prints it: the engine's own part of a NodeView.
func (e *Engine) View(ctx context.Context) (core.NodeView, error) {
	var v core.NodeView
	err := e.do(ctx, func() { v = e.view() })
	return v, err
}

// Decisions are up to n decisions of a service, newest first: the latest, then
// those before it that changed something. With no service named, those of all.
func (e *Engine) Decisions(ctx context.Context, service string, n int) ([]core.Decision, error) {
	var out []core.Decision
	err := e.do(ctx, func() {
		out = e.ring.last(service, n)
		s := e.services[service]
		if s == nil || s.decision.Seq == 0 {
			return
		}
		if len(out) == 0 || out[0].Seq != s.decision.Seq {
			out = append([]core.Decision{s.seen()}, out...)
		}
	})
	return out[:min(n, len(out))], err
}

func (e *Engine) view() core.NodeView {
	now := time.Now()
	v := core.NodeView{
		Node: e.cfg.Node, StartedAt: e.startedAt.UTC(), At: now.UTC(), SamplesDropped: e.dropped.n.Load(),
		SamplesUnknown: e.unknown, MetricsRefused: e.refused,
		Kernel: core.KernelView{
			Adopted: e.kernel.adopted, Generation: e.kernel.generation,
			Commits: e.kernel.commits, LastError: e.kernel.lastErr,
			P50Seconds: quantile(e.kernel.took, 0.5), P99Seconds: quantile(e.kernel.took, 0.99),
			CountersAt: e.kernel.countersAt, Drifts: e.drifts.total,
		},
	}
	v.Probing.Suspect, v.Probing.SuspectSince = e.suspected()
	for _, s := range e.order {
		if s.settings == nil {
			s.settings = s.spec.Settings(e.setup.LocalClients)
		}
		v.Services = append(v.Services, s.view())
	}
	return v
}

func (s *service) view() core.ServiceView {
	v := core.ServiceView{
		Name: s.spec.Name, VIP: s.spec.First().Address(), Protocol: s.spec.First().Protocol,
		Distribution: s.spec.Distribution, Forwarding: s.spec.Forwarding,
		Policy: s.spec.Policy, PolicyError: s.policyErr, Shadow: s.decision.Shadow, Error: s.kernelErr,
		RefusedTotal: s.carried.last.Refused, TurnedAwayTotal: s.carried.last.Turned, TurnedAway: s.carried.last.Turned.Text(s.spec.Limits), QoS: s.spec.QoS.String(), CountBytes: s.spec.Bytes, Offload: s.spec.Offload, Traffic: s.carried.view(), DecisionSeq: s.decision.Seq, DecidedAt: s.decision.At, Settings: s.settings,
	}
	if s.follows {
		v.Leader = s.decision.Leader
	}
	for _, p := range s.pins {
		v.Pins = append(v.Pins, *shownPin(p))
	}
	for _, f := range s.spec.Frontends {
		v.Frontends = append(v.Frontends, f.String())
	}
	var open, abroad uint64
	var rate float64
	var counted bool
	for i, b := range s.backends {
		bv := b.view(s.spec.Health)
		bv.Forwarding = s.forwarding(b)
		if bv.Forwarding == core.SNAT && b.spec.Source.IsValid() {
			bv.Source = b.spec.Source.String()
		}
		if b.spec.QoS.Active() {
			bv.QoS = over(b.spec.QoS, s.spec.QoS).String()
		}
		if s.inForce != nil {
			bv.Slots = s.inForce[i]
			bv.Share = float64(bv.Slots) / core.Slots
		}
		if i < len(s.decision.Backends) {
			d := s.decision.Backends[i]
			bv.Why, bv.State = d.Why, b.state(d.State == core.StateReserve)
		}
		v.ConnectionsTotal += bv.ConnectionsTotal
		if bv.Connections != nil && bv.NewPerSecond != nil {
			open, abroad, rate, counted = open+*bv.Connections, abroad+bv.ConnectionsAbroad, rate+*bv.NewPerSecond, true
		}
		v.Backends = append(v.Backends, bv)
	}
	if counted {
		v.Connections, v.ConnectionsAbroad, v.NewPerSecond = &open, abroad, &rate
	}
	return v
}

func (b *backend) view(rule core.HealthRule) core.BackendView {
	v := core.BackendView{
		Name: b.spec.Name, Address: address(b.spec.Addr), Health: b.health, Since: b.since.UTC(), State: b.state(false),
		Configured: b.spec.Weight, Override: shown(b.override), Priority: b.spec.Priority,
		MaxConnections: b.maxConnections(), Sorry: b.spec.Sorry, ConnectionsTotal: b.carried.last.Connections, Traffic: b.carried.view(),
		OutUntil: b.outUntil(rule), CPU: b.cpu.optional(), Response: b.response.optional(), NewPerSecond: b.fresh.optional(),
	}
	if b.spec.Alt.IsValid() {
		v.Alt = address(b.spec.Alt)
	}
	if !b.open.at.IsZero() {
		n := uint64(b.open.value)
		v.Connections, v.ConnectionsAbroad, v.ConnectionsAt = &n, uint64(b.abroad), b.open.at.UTC()
	}
	if !b.cpu.at.IsZero() {
		age := time.Since(b.cpu.at).Seconds()
		v.CPUAge = &age
	}
	for _, p := range b.probes {
		v.Probes = append(v.Probes, p.view(rule))
	}
	slices.SortFunc(v.Probes, func(a, b core.ProbeView) int { return cmpProbe(a, b) })
	return v
}

func (p *probe) view(rule core.HealthRule) core.ProbeView {
	v := core.ProbeView{
		Name: p.spec.Name, Type: p.spec.Type, Role: p.spec.Role, OK: p.last.ok, Code: p.last.code,
		Detail: p.last.detail, At: p.last.at, Took: p.last.took.Seconds(), Interval: p.spec.Interval.Seconds(),
	}
	if p.from != nil {
		v.Node = p.from.node
	}
	if p.spec.Role == core.HealthRole {
		h := p.health()
		v.State, v.Streak, v.Need = h.State, h.Streak, h.Need()
		if !p.voice() {
			v.State = core.Unknown
		}
		v.Critical = slices.Contains(rule.Critical, p.spec.Name)
		v.Interval = p.spec.Every(h.State, h.Streak > 0).Seconds()
	}
	return v
}

// address leaves a port of 0 away: the client's is kept.
func address(a netip.AddrPort) string {
	if a.Port() == 0 {
		return a.Addr().String()
	}
	return a.String()
}

// cmpProbe puts health probes first, then goes by name.
func cmpProbe(a, b core.ProbeView) int {
	if a.Role != b.Role {
		if a.Role == core.HealthRole {
			return -1
		}
		return 1
	}
	if a.Name < b.Name {
		return -1
	}
	return 1
}

// optional is the value, or nil if there is none.
func (r reading) optional() *float64 {
	if r.at.IsZero() {
		return nil
	}
	v := r.value
	return &v
}

func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	return sorted[int(q*float64(len(sorted)-1))]
}
