// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"reflect"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A probe is what one probe last said of one backend. There are as many as there
// are targets, so of a sample it keeps only what is asked for later.
type probe struct {
	spec   *core.ProbeSpec // shared by all backends
	health core.Health     // used by the health role only
	last   lastSample      // zero until the first
}

// A lastSample is what is kept of a core.Sample.
type lastSample struct {
	at     time.Time // when the probe began
	took   time.Duration
	ok     bool
	code   core.Code
	detail string
}

func keepSample(s core.Sample) lastSample {
	return lastSample{at: s.TakenAt, took: s.Took, ok: s.OK, code: s.Code, detail: s.Detail}
}

// A sharedSetup is a setup whose probes all backends point to.
type sharedSetup struct {
	Setup
	specs map[string]*core.ProbeSpec
}

func shareSpecs(setup Setup) sharedSetup {
	s := sharedSetup{setup, make(map[string]*core.ProbeSpec, len(setup.Probes))}
	for name, spec := range setup.Probes {
		s.specs[name] = &spec
	}
	return s
}

// probesOf are the names of a backend's probes: a sorry server has none.
func probesOf(s core.Service, b core.Backend) []string {
	if b.Sorry {
		return nil
	}
	return s.Probes
}

// setProbes gives a backend its probes. One that is new or has changed begins in
// the state warm.
func (b *backend) setProbes(specs map[string]*core.ProbeSpec, names []string, warm core.HealthState) {
	before := *b
	b.probes = make([]*probe, len(names))
	for i, name := range names {
		spec := specs[name]
		b.probes[i] = &probe{spec: spec, health: core.Health{Rise: spec.Rise, Fall: spec.Fall, State: warm}}
		if o := before.probe(name); o != nil && reflect.DeepEqual(o.spec, spec) {
			b.probes[i] = o
		}
	}
}

// probe finds a probe of a backend; nil if it has none of that name.
func (b *backend) probe(name string) *probe {
	i := slices.IndexFunc(b.probes, func(p *probe) bool { return p.spec.Name == name })
	if i < 0 {
		return nil
	}
	return b.probes[i]
}

// combined is the health by all health probes.
func (b *backend) combined() core.HealthState {
	var states []core.HealthState
	for _, p := range b.probes {
		if p.spec.Role == core.HealthRole {
			states = append(states, p.health.State)
		}
	}
	return core.Combine(states)
}

// hasType reports whether a service has a probe of a type.
func hasType(setup Setup, s core.Service, probeType string) bool {
	return slices.ContainsFunc(s.Probes, func(name string) bool { return setup.Probes[name].Type == probeType })
}
