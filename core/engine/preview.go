// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"cmp"
	"context"
	"net/netip"
	"slices"

	"github.com/steelyard-lb/steelyard/core"
)

// InForce is what the engine carries now: the plan in force, or on its way into
// the kernel, the configuration behind it, and what commands have changed.
func (e *Engine) InForce(ctx context.Context) (core.InForce, error) {
	f := core.InForce{Node: e.cfg.Node, Overrides: map[string]core.Override{}, Pins: map[string][]core.PinState{}}
	err := e.do(ctx, func() {
		f.Plan.OffloadDevices = e.setup.OffloadDevices
		f.Plan.LocalClients, f.Services, f.Probes = e.setup.LocalClients, e.setup.Services, e.setup.Probes
		for _, name := range e.names {
			s := e.services[name]
			f.Plan.Services = append(f.Plan.Services, s.plan())
			for _, p := range s.pins {
				f.Pins[name] = append(f.Pins[name], *shownPin(p))
			}
			for _, b := range s.backends {
				if b.override != nil {
					f.Overrides[b.id.String()] = *shown(b.override)
				}
			}
		}
	})
	return f, err
}

// Preview is the plan that setup would make of what is in force. Weights stay as
// they are in a service whose backends and their weights do. Elsewhere they are a
// guess: present shares go on in proportion to the changed weights, and new
// backends are taken for up.
func Preview(setup Setup, f core.InForce) core.Plan {
	held := indexInForce(setup, &f)
	out := core.Plan{LocalClients: setup.LocalClients, OffloadDevices: setup.OffloadDevices}
	for _, spec := range setup.Services {
		p := previewer{f: &f, spec: spec, s: &service{spec: spec}}
		p.held, p.old = held.find(spec)
		out.Services = append(out.Services, p.plan())
	}
	return out
}

// An inForceIndex finds services in force.
type inForceIndex struct {
	plans    map[string]*core.ServicePlan
	gone     map[serviceKey]*core.ServicePlan // those whose names the setup does not have
	services map[string]*core.Service
}

func indexInForce(setup Setup, f *core.InForce) inForceIndex {
	x := inForceIndex{map[string]*core.ServicePlan{}, map[serviceKey]*core.ServicePlan{}, map[string]*core.Service{}}
	stay := make(map[string]bool, len(setup.Services))
	for i := range setup.Services {
		stay[setup.Services[i].Name] = true
	}
	for i := range f.Plan.Services {
		h := &f.Plan.Services[i]
		x.plans[h.Name] = h
		if !stay[h.Name] && h.Traffic != nil && len(h.Frontends) > 0 {
			x.gone[h.First()] = h
		}
	}
	for i := range f.Services {
		x.services[f.Services[i].Name] = &f.Services[i]
	}
	return x
}

// find looks for a service by its name, or by its first frontend if it has
// another name now.
func (x *inForceIndex) find(spec core.Service) (*core.ServicePlan, *core.Service) {
	h := x.plans[spec.Name]
	if h == nil {
		h = x.gone[keyOf(spec)]
	}
	if h == nil {
		return nil, nil
	}
	return h, x.services[h.Name]
}

// A previewer makes the plan of one service.
type previewer struct {
	f    *core.InForce
	spec core.Service
	s    *service
	old  *core.Service     // as it was configured; nil if it is new
	held *core.ServicePlan // as it is in force; nil if it is not
}

func (p *previewer) plan() core.ServicePlan {
	in := make([]core.ShapeBackend, 0, len(p.spec.Backends))
	for _, b := range p.spec.Backends {
		n := &backend{id: core.BackendID{Service: p.spec.Name, Backend: b.Name}, spec: b, health: core.Up}
		if h := p.heldAt(b.Addr); h != nil {
			n.hop = h.Hop
			if !h.Alive && !b.Sorry {
				n.health = core.Down
			}
		}
		if h := p.heldAt(b.Alt); h != nil {
			n.altHop = h.Hop
		}
		p.s.backends = append(p.s.backends, n)
		in = append(in, p.shapeInput(n))
	}
	shares := make([]float64, len(in))
	for i, shaped := range core.Shape(p.spec.Shaping, p.spec.MinUp, in, core.Free) {
		shares[i] = shaped.Share
	}
	p.s.slots = core.Quantize(shares)
	p.pins()
	out := p.s.plan()
	if p.weighsTheSame() {
		for i := range out.Backends {
			h := p.heldAt(out.Backends[i].Addr)
			out.Backends[i].Slots, out.Backends[i].Alive = h.Slots, h.Alive
		}
	}
	return out
}

func (p *previewer) heldAt(addr netip.AddrPort) *core.BackendPlan {
	if p.held == nil || !addr.IsValid() {
		return nil
	}
	for i := range p.held.Backends {
		if p.held.Backends[i].Addr == addr {
			return &p.held.Backends[i]
		}
	}
	return nil
}

// pins are those by command that still have a backend.
func (p *previewer) pins() {
	if p.held == nil {
		return
	}
	var pins []core.PinState
	for _, pin := range p.f.Pins[p.held.Name] {
		if h := p.heldNamed(pin.Backend); h != nil && p.s.at(h.Addr) != nil {
			pin.Backend = p.s.at(h.Addr).spec.Name
		}
		if p.s.pinnable(pin.Pin) == nil {
			pins = append(pins, pin)
		}
	}
	p.s.setPins(pins)
}

func (p *previewer) heldNamed(name string) *core.BackendPlan {
	i := slices.IndexFunc(p.held.Backends, func(b core.BackendPlan) bool { return b.Name == name })
	if i < 0 {
		return nil
	}
	return &p.held.Backends[i]
}

// weighsTheSame reports whether nothing that weighs has changed: each address is
// there, as before, and none is new.
func (p *previewer) weighsTheSame() bool {
	if p.held == nil {
		return false
	}
	n := 0
	for _, b := range p.s.backends {
		for _, a := range b.addrs() {
			if !a.addr.IsValid() {
				continue
			}
			n++
			if p.heldAt(a.addr) == nil {
				return false
			}
		}
		if o := p.configured(b.spec.Addr); p.old != nil && (o == nil || o.Weight != b.spec.Weight || o.Priority != b.spec.Priority || o.Sorry != b.spec.Sorry) {
			return false
		}
	}
	return n == len(p.held.Backends) && (p.old == nil || p.old.MinUp == p.spec.MinUp)
}

// configured is the backend at an address as it was configured.
func (p *previewer) configured(addr netip.AddrPort) *core.Backend {
	if p.old == nil {
		return nil
	}
	i := slices.IndexFunc(p.old.Backends, func(b core.Backend) bool { return b.Addr == addr })
	if i < 0 {
		return nil
	}
	return &p.old.Backends[i]
}

// shapeInput takes the share in force for the policy's opinion.
func (p *previewer) shapeInput(b *backend) core.ShapeBackend {
	in := core.ShapeBackend{
		Weight: b.spec.Weight, Health: b.health, UpFor: -1,
		Priority: b.spec.Priority, Sorry: b.spec.Sorry, MaxConnections: b.spec.MaxConnections,
	}
	h, o := p.heldAt(b.spec.Addr), p.configured(b.spec.Addr)
	override, set := core.Override{}, false
	if h != nil {
		override, set = p.f.Overrides[core.BackendID{Service: p.held.Name, Backend: h.Name}.String()]
	}
	in.Drained = set && override.Kind == core.OverrideDrain
	before := in.Weight
	switch {
	case set && override.Kind == core.OverrideWeight:
		in.Weight, before = override.Weight, override.Weight
	case o != nil:
		before = o.Weight
	}
	in.Opinion = float64(in.Weight)
	if h != nil && h.Slots > 0 {
		in.Opinion = float64(h.Slots) / core.Slots * p.serving() * float64(in.Weight) / float64(max(before, 1))
	}
	in.Full = h != nil && h.Alive && h.Slots == 0 && b.spec.MaxConnections > 0 && !in.Drained
	return in
}

// serving is the configured weight of the backends that are served now, which is
// what their shares are parts of.
func (p *previewer) serving() (sum float64) {
	for i := range p.held.Backends {
		h := &p.held.Backends[i]
		if h.Slots == 0 {
			continue
		}
		weight := uint32(1)
		if o := p.configured(h.Addr); o != nil {
			weight = o.Weight
		}
		sum += float64(cmp.Or(weight, 1))
	}
	return sum
}
