// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A service is the state of one configured service.
type service struct {
	spec     core.Service
	backends []*backend

	nextAt      time.Time // of the next policy call
	lastCallAt  time.Time
	inFlight    bool // a policy call is under way
	policyTook  time.Duration
	version     string
	policyErr   string
	failingFrom time.Time // zero while the policy is well
	failureTold time.Time // when the failure was last logged

	decision    core.Decision // the latest
	publishedAt time.Time     // of the latest decision on the bus
	waiting     []pending     // decided, not yet committed
	slots       []uint32      // decided
	sent        []uint32      // handed to the kernel last; nil when its state is not known
	cause       cause         // of the next decision, while tips is above 0
	tips        int           // health transitions not decided yet
	free        bool          // the next opinions are the first under these weights
	moving      bool          // the latest decision was cut short by the step limit
	commit      *core.Commit  // the latest that carried this service
	inForce     []uint32      // slots of that commit; nil before the first
	urgent      bool          // a health transition waits for its commit
	kernelErr   string
	counters    core.Counters
}

// A pending decision has no outcome yet.
type pending struct {
	d     core.Decision
	since time.Time // of its cause
}

// A backend is the state of one backend of one service.
type backend struct {
	id   core.BackendID
	hash uint64
	spec core.Backend

	probes map[string]*probe
	health core.HealthState
	since  time.Time
	cameUp time.Time // zero if it never came up while we watched
	note   string    // why it is not up

	opinion     float64
	opinionFrom time.Time // of the latest opinion that was not Hold
	share       float64   // decided

	cpu      reading
	cpuSeq   uint32
	cores    reading
	response reading
	done     reading
	fresh    reading // new connections per second
	open     reading
	history  *history // nil until there is something to count
	untimed  bool     // cpu is newer than the history, so done is still of the sample before
	counters core.Counters
	idle     bool // no slots in the kernel
	told     bool // Flows knows whether it is idle
}

// A probe is what one probe last said of one backend.
type probe struct {
	spec   core.ProbeSpec
	health core.Health // used by the health role only
	last   core.Sample // zero until the first
}

// A reading is a value with the end of the window that it speaks of.
type reading struct {
	value  float64
	at     time.Time // zero: never read
	window time.Duration
}

// seen returns the reading as a policy may see it now: unknown once it is older
// than stale.
func (r reading) seen(now time.Time, stale time.Duration) core.Reading {
	if r.at.IsZero() {
		return core.Reading{}
	}
	age := max(0, now.Sub(r.at))
	known := stale == 0 || age <= stale
	return core.Reading{Value: r.value, Age: age, Window: r.window, Known: known}
}

// build makes the state for a setup. What is known of a service of the same name,
// or one that was renamed, and of its backends, which go by their address, is
// taken over; failing that, what the kernel held.
func (e *Engine) build(setup Setup, adopted core.Plan) map[string]*service {
	held := map[string]core.ServicePlan{}
	for _, s := range adopted.Services {
		held[s.Name] = s
	}
	out := make(map[string]*service, len(setup.Services))
	renamed := e.gone(setup)
	for _, spec := range setup.Services {
		s := &service{spec: spec}
		old := e.services[spec.Name]
		if old == nil {
			old = renamed[keyOf(spec)]
		}
		_, inKernel := held[spec.Name]
		s.free = old == nil && !inKernel || old != nil && !sameWeights(old.spec, spec)
		if old != nil {
			s.moving = old.moving
			s.counters, s.commit, s.version, s.failingFrom, s.policyErr = old.counters, old.commit, old.version, old.failingFrom, old.policyErr
			if old.spec.Policy != spec.Policy {
				s.version, s.failingFrom, s.policyErr = "", time.Time{}, ""
			}
		}
		for _, b := range spec.Backends {
			s.backends = append(s.backends, e.buildBackend(setup, spec, b, old, held[spec.Name]))
		}
		s.nextAt = time.Now() // ask the policy at once; phases spread from there
		out[spec.Name] = s
	}
	return out
}

// sameWeights reports whether the operator left all alone that weighs.
func sameWeights(a, b core.Service) bool {
	return a.Policy == b.Policy && maps.Equal(a.Params, b.Params) && a.Shaping == b.Shaping &&
		slices.EqualFunc(a.Backends, b.Backends, func(x, y core.Backend) bool { return x == y })
}

func (e *Engine) buildBackend(setup Setup, spec core.Service, b core.Backend, old *service, held core.ServicePlan) *backend {
	now := time.Now()
	id := core.BackendID{Service: spec.Name, Backend: b.Name}
	n := &backend{id: id, hash: id.Hash(), spec: b, since: now, opinion: core.Hold, opinionFrom: now}
	warm := core.Unknown
	if o := old.at(b.Addr); o != nil {
		kept := *o
		n = &kept
		n.told = n.told && n.id == id
		n.id, n.hash, n.spec = id, id.Hash(), b
		// A probe that is new or has changed goes on from what is known, else a
		// reload would take the backend out until the first sample.
		warm = o.health
		if hasType(e.setup, old.spec, core.ProbeSNMPCPU) && !hasType(setup, spec, core.ProbeSNMPCPU) {
			n.forgetCPU()
		}
		if old.spec.Policy != spec.Policy {
			n.opinion, n.opinionFrom = core.Hold, now
		}
	} else if share, ok := heldShare(held, b); ok {
		// It served until we stopped; it takes Fall bad samples to end that.
		n.share, warm = share, core.Up
	}
	before := n.probes
	n.probes = map[string]*probe{}
	for _, name := range spec.Probes {
		p := &probe{spec: setup.Probes[name]}
		p.health = core.Health{Rise: p.spec.Rise, Fall: p.spec.Fall, State: warm}
		if o := before[name]; o != nil && reflect.DeepEqual(o.spec, p.spec) {
			p = o
		}
		n.probes[name] = p
	}
	n.health = n.combined()
	if o := old.at(b.Addr); o != nil && o.health != n.health {
		n.since = now
		if o.health == core.Down && n.health == core.Up {
			n.cameUp, n.opinion, n.opinionFrom = now, core.Hold, now
		}
	}
	return n
}

// hasType reports whether a service has a probe of a type.
func hasType(setup Setup, s core.Service, probeType string) bool {
	return slices.ContainsFunc(s.Probes, func(name string) bool { return setup.Probes[name].Type == probeType })
}

// forgetCPU drops what a probe that has left the configuration said: nothing
// renews it. A monitor that feeds the same metrics has them here again soon.
func (b *backend) forgetCPU() {
	b.cpu, b.cores, b.done, b.untimed = reading{}, reading{}, reading{}, false
}

// heldShare is the share that the kernel gave a backend in an earlier life.
func heldShare(held core.ServicePlan, b core.Backend) (float64, bool) {
	for _, h := range held.Backends {
		if h.Name == b.Name && h.Addr == b.Addr && h.Slots > 0 {
			return float64(h.Slots) / core.Slots, true
		}
	}
	return 0, false
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

func (s *service) find(name string) *backend {
	if s == nil {
		return nil
	}
	i := slices.IndexFunc(s.backends, func(b *backend) bool { return b.spec.Name == name })
	if i < 0 {
		return nil
	}
	return s.backends[i]
}

// plan is the service as the kernel should carry it now.
func (s *service) plan() core.ServicePlan {
	p := core.ServicePlan{
		Name: s.spec.Name, VIP: s.spec.VIP, Port: s.spec.Port, Protocol: s.spec.Protocol,
		Forwarding: s.spec.Forwarding, OnEmpty: s.spec.OnEmpty,
		Backends: make([]core.BackendPlan, len(s.backends)),
	}
	for i, b := range s.backends {
		p.Backends[i] = core.BackendPlan{Name: b.spec.Name, Addr: b.spec.Addr, Slots: s.slots[i]}
	}
	return p
}

func planOf(services map[string]*service) core.Plan {
	var p core.Plan
	for _, name := range sortedNames(services) {
		p.Services = append(p.Services, services[name].plan())
	}
	return p
}

func sortedNames(services map[string]*service) []string {
	names := make([]string, 0, len(services))
	for name := range services {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// install makes services the state in force.
func (e *Engine) install(setup Setup, services map[string]*service) {
	before := e.services
	e.setup, e.services, e.names = setup, services, sortedNames(services)
	for name, s := range services {
		for _, b := range s.backends {
			e.tellHealth(before[name], b)
			e.catchUp(before[name], s, b)
		}
	}
	e.decideTipped()
}

// tellHealth publishes what the new configuration itself made of a backend's
// health, as when the probe that held it down is gone.
func (e *Engine) tellHealth(before *service, b *backend) {
	if o := before.at(b.spec.Addr); o != nil && o.health != b.health {
		e.cfg.Publisher.Health(core.HealthChange{
			Backend: b.id, Node: e.cfg.Node, At: b.since.UTC(), From: o.health, To: b.health,
			Detail: "the configuration was reloaded",
		})
	}
}

// catchUp follows the samples that came between build and install: they tipped
// the backend of the service before, which shares its probes with b.
func (e *Engine) catchUp(before, s *service, b *backend) {
	to := b.combined()
	if to == b.health {
		return
	}
	now := time.Now()
	b.health, b.since = to, now
	if o := before.at(b.spec.Addr); o != nil && o.health == to {
		b.since, b.note, b.cameUp = o.since, o.note, o.cameUp
		b.opinion, b.opinionFrom = o.opinion, o.opinionFrom
	}
	e.tip(s, fmt.Sprintf("%s went %s", b.spec.Name, to), b.since)
}

func addrPort(s core.Service) string { return netip.AddrPortFrom(s.VIP, s.Port).String() }
