// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// InForce is what the engine carries now: the plan in force, or on its way into
// the kernel, the configuration behind it, and what commands have changed.
func (e *Engine) InForce(ctx context.Context) (core.InForce, error) {
	f := core.InForce{Node: e.cfg.Node, Overrides: map[string]core.Override{}, Pins: map[string][]core.PinState{}}
	err := e.do(ctx, func() {
		f.Plan.OffloadDevices = e.setup.OffloadDevices
		f.Probing, f.Maintenance = e.setup.Probing, e.setup.Maintenance
		f.Plan.LocalClients, f.Services, f.Probes = e.setup.LocalClients, e.setup.Services, e.setup.Probes
		for _, s := range e.order {
			f.Plan.Services = append(f.Plan.Services, s.plan())
			for _, p := range s.pins {
				f.Pins[s.spec.Name] = append(f.Pins[s.spec.Name], *shownPin(p))
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
//
// What is in force without its Services is a table that a daemon has left behind:
// then setup is one to start with, and commands go by the names of their backends.
func Preview(setup Setup, f core.InForce) core.Plan {
	out := core.Plan{LocalClients: setup.LocalClients, OffloadDevices: setup.OffloadDevices}
	for _, p := range previewers(setup, &f) {
		out.Services = append(out.Services, p.plan())
	}
	return out
}

// Dropped are the commands that would end because setup takes away what they are
// about.
func Dropped(setup Setup, f core.InForce) []core.Dropped {
	services, was := map[string]*service{}, map[*service]string{}
	overrides := map[core.BackendID]*core.Override{}
	list := previewers(setup, &f)
	if len(list) > 0 {
		overrides = list[0].held.overrides
	}
	for _, p := range list {
		services[p.spec.Name], was[p.s] = p.s, p.spec.Name
		if p.from != nil {
			was[p.s] = p.from.spec.Name
		}
	}
	return append(droppedOverrides(overrides, services), droppedPins(f.Pins, services, func(s *service) string { return was[s] })...)
}

// An inForceIndex finds services in force.
type inForceIndex struct {
	plans     map[string]*core.ServicePlan
	gone      map[serviceKey]*core.ServicePlan // those whose names the setup does not have
	services  map[string]*service              // as far as the configuration is known
	overrides map[core.BackendID]*core.Override
}

func indexInForce(setup Setup, f *core.InForce) *inForceIndex {
	x := &inForceIndex{
		map[string]*core.ServicePlan{}, map[serviceKey]*core.ServicePlan{}, map[string]*service{}, map[core.BackendID]*core.Override{},
	}
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
	for name, o := range f.Overrides {
		if id, err := core.ParseBackendID(name); err == nil {
			x.overrides[id] = &o
		}
	}
	for _, spec := range f.Services {
		s := &service{spec: spec, pins: f.Pins[spec.Name]}
		for _, b := range spec.Backends {
			id := core.BackendID{Service: spec.Name, Backend: b.Name}
			s.backends = append(s.backends, &backend{id: id, spec: &b, override: x.overrides[id]})
		}
		x.services[spec.Name] = s
	}
	return x
}

// find looks for a service by its name, or by its first frontend if it has
// another name now.
func (x *inForceIndex) find(spec core.Service) (*core.ServicePlan, *service) {
	h := x.plans[spec.Name]
	if h == nil {
		h = x.gone[keyOf(spec)]
	}
	if h == nil {
		return nil, nil
	}
	return h, x.services[h.Name]
}

// previewers are those of the services of setup, with the commands that they
// would be under.
func previewers(setup Setup, f *core.InForce) (list []*previewer) {
	x, windows := indexInForce(setup, f), windowsAt(setup.Maintenance, time.Now())
	for _, spec := range setup.Services {
		p := &previewer{held: x, left: f.Services == nil, windows: windows, spec: spec, s: &service{spec: spec}}
		p.carried, p.from = x.find(spec)
		for _, b := range spec.Backends {
			p.s.backends = append(p.s.backends, p.backend(b))
		}
		pins := f.Pins[spec.Name]
		if p.from != nil {
			pins = p.from.pins
		}
		p.s.setPins(pinsFrom(pins, p.from, p.s))
		list = append(list, p)
	}
	return list
}
