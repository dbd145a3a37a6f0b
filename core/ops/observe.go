// SPDX-License-Identifier: Apache-2.0

package ops

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/steelyard-lb/steelyard/core"
)

// The bounds of the histograms, in seconds. What is promised lies on a bound: a death
// is in the kernel within 5 ms on one node and within 20 ms over a bus outside.
var (
	kernelBounds = []float64{0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5}
	commitBounds = []float64{0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1}
	probeBounds  = []float64{0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10}
)

// maxProbes bounds the histograms by probe: names come from the configuration, but
// those of one before are never forgotten.
const maxProbes = 1000

// A decisionKey counts decisions.
type decisionKey struct{ service, policy, outcome string }

// A meter counts what passes by, where a view holds only the latest.
type meter struct {
	mu        sync.Mutex
	toKernel  histogram                 // guarded by mu, as is all below
	commits   histogram                 // those the kernel took
	probes    map[string]*histogram     // by the name of the probe
	decisions map[decisionKey]uint64    // published ones
	panics    map[string]bool           // services in panic, as of their latest decision
	changes   map[core.BackendID]uint64 // of health
	pushed    map[string]uint64         // by result

	decided map[string][]decisionCount // of a snapshot: decisions by service
}

// A decisionCount is the decisions of a service with the same policy and outcome.
type decisionCount struct {
	policy, outcome string
	n               uint64
}

func (m *meter) init() {
	m.toKernel, m.commits = histogram{bounds: kernelBounds}, histogram{bounds: commitBounds}
	m.probes = make(map[string]*histogram)
	m.decisions = make(map[decisionKey]uint64)
	m.panics = make(map[string]bool)
	m.changes = make(map[core.BackendID]uint64)
	m.pushed = map[string]uint64{"taken": 0, "refused": 0}
}

// Observe counts a decision that was published.
func (s *Server) Observe(d core.Decision) {
	if s == nil {
		return
	}
	m := &s.meter
	m.mu.Lock()
	defer m.mu.Unlock()
	m.decisions[decisionKey{d.Service, d.Policy, outcome(&d)}]++
	m.panics[d.Service] = took(&d, "panic")
	if d.Outcome == core.Applied && byHealth(&d) {
		m.toKernel.observe(d.TotalSeconds)
	}
}

// ObserveHealth counts a change of a backend's health.
func (s *Server) ObserveHealth(h core.HealthChange) {
	if s == nil {
		return
	}
	s.meter.mu.Lock()
	defer s.meter.mu.Unlock()
	s.meter.changes[h.Backend]++
}

// ObserveCommit counts a transaction that the kernel took.
func (s *Server) ObserveCommit(c core.Commit) {
	if s == nil {
		return
	}
	s.meter.mu.Lock()
	defer s.meter.mu.Unlock()
	s.meter.commits.observe(c.Took.Seconds())
}

// ObserveSample counts a run of a probe of this node. It takes some 50 ns.
func (s *Server) ObserveSample(sample core.Sample) {
	if s == nil {
		return
	}
	m := &s.meter
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.probes[sample.Probe]
	if h == nil {
		if len(m.probes) >= maxProbes {
			return
		}
		h = &histogram{bounds: probeBounds}
		m.probes[sample.Probe] = h
	}
	h.observe(sample.Took.Seconds())
}

// outcome is what became of a decision, in the words of a label.
func outcome(d *core.Decision) string {
	switch {
	case d.Outcome == core.Failed:
		return "failed"
	case d.PolicyError != "":
		return "fallback"
	case d.Outcome == core.Unchanged && took(d, "dead_band"):
		return "dead_band"
	case d.Outcome == core.Applied && (took(d, "bounds") || took(d, "step")):
		return "clamped"
	}
	return string(d.Outcome)
}

// took reports whether a rule of shaping did something to a backend.
func took(d *core.Decision, rule string) bool {
	for _, b := range d.Backends {
		for _, st := range b.Steps {
			if st.Name == rule {
				return true
			}
		}
	}
	return false
}

// byHealth reports whether a change of health made the decision due. Most name the
// sample that did it; those by the connections of clients have none.
func byHealth(d *core.Decision) bool {
	return len(d.Causes) > 0 || strings.Contains(d.Trigger, " went ")
}

// snapshot is a copy for one page. What is of services and backends that are gone is
// forgotten: their names may come from a configuration of long ago.
func (m *meter) snapshot(v *core.NodeView) *meter {
	there := placesOf(v) // before the lock: the engine may wait for it
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget(there)
	out := &meter{
		toKernel: m.toKernel.clone(), commits: m.commits.clone(), probes: make(map[string]*histogram, len(m.probes)),
		panics: maps.Clone(m.panics), changes: maps.Clone(m.changes), pushed: maps.Clone(m.pushed),
		decided: make(map[string][]decisionCount),
	}
	for name, h := range m.probes {
		c := h.clone()
		out.probes[name] = &c
	}
	for k, n := range m.decisions {
		out.decided[k.service] = append(out.decided[k.service], decisionCount{k.policy, k.outcome, n})
	}
	for _, list := range out.decided {
		slices.SortFunc(list, func(a, b decisionCount) int {
			return cmp.Or(strings.Compare(a.policy, b.policy), strings.Compare(a.outcome, b.outcome))
		})
	}
	return out
}

// A places is what a view has.
type places struct {
	services map[string]bool
	backends map[core.BackendID]bool
}

func placesOf(v *core.NodeView) places {
	out := places{make(map[string]bool, len(v.Services)), make(map[core.BackendID]bool)}
	for i := range v.Services {
		s := &v.Services[i]
		out.services[s.Name] = true
		for j := range s.Backends {
			out.backends[core.BackendID{Service: s.Name, Backend: s.Backends[j].Name}] = true
		}
	}
	return out
}

// forget drops what is of a service or backend that is not there.
func (m *meter) forget(there places) {
	maps.DeleteFunc(m.decisions, func(k decisionKey, _ uint64) bool { return !there.services[k.service] })
	maps.DeleteFunc(m.panics, func(name string, _ bool) bool { return !there.services[name] })
	maps.DeleteFunc(m.changes, func(id core.BackendID, _ uint64) bool { return !there.backends[id] })
}

// push counts metrics that came in over HTTP.
func (m *meter) push(taken, refused int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pushed["taken"] += uint64(taken)
	m.pushed["refused"] += uint64(refused)
}
