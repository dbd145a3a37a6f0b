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
	spec *core.ProbeSpec // shared by all backends
	last lastSample      // zero until the first; of another node, put to the time of this one
	from *source         // of last
	// others is the second, since the engine's start, of the latest word of another node;
	// 0: none.
	others uint32

	// These are of the health role only.

	streak  int32 // samples in a row that speak against state
	state   core.HealthState
	heard   bool   // a sample has said anything about the backend
	good    bool   // counted in Suspicion.Good
	failing bool   // counted in Suspicion.Failing
	recent  uint32 // how often it is in Engine.wentDown
	mine    bool   // this node asks it, and its own latest sample says something
	mineOK  bool   // and was good
}

// health is what follows the probe by rise and fall.
func (p *probe) health() core.Health {
	return core.Health{Rise: p.spec.Rise, Fall: p.spec.Fall, State: p.state, Streak: int(p.streak)}
}

// add takes a verdict and reports whether the probe tipped. While frozen, none goes
// down.
func (p *probe) add(ok, frozen bool) (tipped bool) {
	h := p.health()
	if frozen {
		tipped = h.Bear(ok)
	} else {
		tipped = h.Add(ok)
	}
	p.state, p.streak = h.State, int32(min(h.Streak, 1<<20))
	return tipped
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
// the state warm; an agent begins as up, since from its silence nothing follows.
func (b *backend) setProbes(specs map[string]*core.ProbeSpec, names []string, warm core.HealthState) {
	before := *b
	b.probes = make([]*probe, len(names))
	for i, name := range names {
		spec := specs[name]
		b.probes[i] = &probe{spec: spec, state: warm}
		if spec.Type == core.ProbeAgent {
			b.probes[i].state = core.Up
		}
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

// combined is the health by all health probes. An agent that has never said a word
// has no voice, as long as another probe has one.
func (b *backend) combined(rule core.HealthRule) core.HealthState {
	var room [8]core.ProbeHealth // enough for nearly all, and on the stack
	voices := room[:0]
	for _, p := range b.probes {
		if p.spec.Role == core.HealthRole && p.voice() {
			voices = append(voices, core.ProbeHealth{Name: p.spec.Name, State: p.state})
		}
	}
	return rule.Combine(voices)
}

// voice reports whether a health probe counts: an agent does once it has said a word.
func (p *probe) voice() bool { return p.heard || p.spec.Type != core.ProbeAgent }

// hasType reports whether a service has a probe of a type.
func hasType(setup Setup, s core.Service, probeType string) bool {
	return slices.ContainsFunc(s.Probes, func(name string) bool { return setup.Probes[name].Type == probeType })
}
