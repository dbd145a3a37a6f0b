// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"cmp"
	"maps"
	"slices"
	"strings"
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

	decision    core.Decision      // the latest
	paper       paper              // that it is written on
	unseen      bool               // nobody else holds decision, nor its paper
	publishedAt time.Time          // of the latest decision on the bus
	waiting     []pending          // decided, not yet committed; at most maxWaiting and those in flight
	flying      int                // how many of waiting the commit in flight covers
	waiters     []waiter           // for what becomes of a decision
	slots       []uint32           // decided
	sent        []uint32           // slots handed to the kernel last; nil when its state is not known
	sentPlan    []core.BackendPlan // all that was handed over with them
	snapshotSeq uint64             // of the snapshot that the opinions are of
	from        *service           // that this one takes the place of; nil once it is installed
	cause       cause              // of the next decision, while tips is above 0
	tips        int                // health transitions not decided yet
	free        bool               // the next opinions are the first under these weights
	freeFrom    uint64             // with free: those of snapshots up to this one are not
	moving      bool               // the latest decision was cut short by the step limit
	commit      *core.Commit       // the latest that carried this service
	inForce     []uint32           // slots of that commit; nil before the first
	urgent      bool               // a health transition waits for its commit
	emptyTold   string             // what was told last of the service being without its backends
	gathering   bool               // it has not begun, and waits for its backends; see gather.go
	gatherUntil time.Time          // when that ends at the latest; zero once it has begun
	kernelErr   string
	params      map[string]float64   // of spec, as the policy gets them
	reads       []string             // Setup.Reads of the policy
	shadow      *shadow              // nil if there is none
	follows     bool                 // another node decides its shares
	lead        *lead                // whose shares it goes by while it follows; nil: by configured weights
	told        []core.VectorBackend // what the others were last told; nil: nothing since it leads
	carried     carried              // the kernel's counters

	settings *core.Settings // of spec; nil until somebody asks

	pins   []core.PinState // by command; never changed in place
	merged *core.Traffic   // with those pins; nil if there are none
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
	spec *core.Backend // one of its service's, never changed

	probes []*probe // in the order of the service's
	// The small ones lie together, for the sake of the size.
	health core.HealthState
	probed core.HealthState // the health by the probes alone
	full   bool             // as many connections open as it may have
	idle   bool             // no slots in the kernel
	told   bool             // Flows knows whether it is idle
	down   bool             // Flows was told that it is down
	cpuSeq uint32
	abroad uint32 // of open, those on other nodes
	since  time.Time
	cameUp time.Time // zero if it never came up while we watched
	note   string    // why it is not up

	override *core.Override // nil if there is none
	window   *window        // of maintenance, in force; nil if there is none
	rare     *rare          // nil until there is something in it
	hop      core.Hop       // of dsr: the way to its address; zero if it is not known
	altHop   core.Hop       // the same of its other address
	noHop    string         // why hop is not known

	opinion     float64
	opinionFrom time.Time // of the latest opinion that was not Hold
	share       float64   // decided
	heldShare   float64   // what it was when the policy last had an opinion

	cpu      reading
	nextCPU  reading // of a sample in whose window not all closed connections are counted yet
	cores    reading
	response reading
	by       *origins // of the four above; nil until there is one
	done     reading
	fresh    reading // new connections per second
	firsts   tally   // of counters, for fresh
	open     reading
	custom   *customs // nil if no policy of the service reads any
	history  *history // nil until there is something to count
	carried  carried  // the kernel's counters
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
	shared, windows := shareSpecs(setup), windowsAt(setup.Maintenance, time.Now())
	for _, spec := range setup.Services {
		s := &service{spec: spec}
		old := e.services[spec.Name]
		if old == nil {
			old = renamed[keyOf(spec)]
		}
		s.from = old
		_, inKernel := held[spec.Name]
		if old == nil && !inKernel {
			e.gather(s, time.Now())
		}
		s.free = old == nil && !inKernel || old != nil && (old.free || !sameWeights(old.spec, spec))
		if old != nil {
			s.moving, s.gatherUntil, s.emptyTold = old.moving, old.gatherUntil, old.emptyTold
			s.carried = old.carried
			s.commit, s.version, s.failingFrom, s.policyErr = old.commit, old.version, old.failingFrom, old.policyErr
			s.snapshotSeq = old.snapshotSeq
			if old.spec.Policy != spec.Policy {
				s.version, s.failingFrom, s.policyErr = "", time.Time{}, ""
			}
		}
		for i := range spec.Backends {
			b := e.buildBackend(shared, spec, &spec.Backends[i], old, held[spec.Name])
			b.window = windowOf(windows, b.id)
			s.backends = append(s.backends, b)
		}
		e.inheritLead(s, old)
		s.spareLast()
		s.shadow = newShadow(s, old)
		s.setPolicies(setup)
		s.setPins(e.inheritedPins(old, s))
		s.nextAt = time.Now() // ask the policy at once; phases spread from there
		out[spec.Name] = s
	}
	return out
}

// sameWeights reports whether the operator left all alone that weighs.
func sameWeights(a, b core.Service) bool {
	return a.Policy == b.Policy && maps.Equal(a.Params, b.Params) && a.Shaping == b.Shaping && a.MinUp == b.MinUp &&
		slices.EqualFunc(a.Backends, b.Backends, func(x, y core.Backend) bool {
			return x.Name == y.Name && x.Addr == y.Addr && x.Weight == y.Weight && x.Priority == y.Priority && x.Sorry == y.Sorry
		})
}

func (e *Engine) buildBackend(shared sharedSetup, spec core.Service, b *core.Backend, old *service, held core.ServicePlan) *backend {
	now := time.Now()
	id := core.BackendID{Service: spec.Name, Backend: b.Name}
	n := &backend{id: id, hash: id.Hash(), spec: b, since: now, opinion: core.Hold, opinionFrom: now}
	warm := spec.Health.Start
	if o := old.at(b.Addr); o != nil {
		kept := *o
		n = &kept
		n.by = n.by.clone()
		n.told, n.down = n.told && n.id == id, n.down && n.id == id
		n.id, n.hash, n.spec = id, id.Hash(), b
		// A probe that is new or has changed goes on from what is known, else a
		// reload would take the backend out until the first sample.
		warm = o.probed
		if hasType(e.setup, old.spec, core.ProbeSNMPCPU) && !hasType(shared.Setup, spec, core.ProbeSNMPCPU) {
			n.forgetCPU()
		}
		if old.spec.Policy != spec.Policy {
			n.opinion, n.opinionFrom = core.Hold, now
		}
	} else if share, ok := heldShare(held, *b); ok {
		// It served until we stopped; it takes Fall bad samples to end that.
		n.share, warm = share, core.Up
	}
	n.override = e.inherited(old, spec, *b)
	if !cmp.Or(b.Forwarding, spec.Forwarding).Tracked() {
		n.abroad, n.open, n.fresh, n.firsts, n.done, n.history, n.full = 0, reading{}, reading{}, tally{}, reading{}, nil, false
	}
	n.setProbes(shared.specs, probesOf(spec, *b), warm)
	n.probed = n.combined(spec.Health)
	n.health = n.gated(&spec)
	if o := old.at(b.Addr); o != nil && o.health != n.health {
		n.since = now
		if o.health == core.Down && n.health == core.Up {
			n.returns(now)
		}
	}
	if n.note == "" && n.health == core.Down {
		n.note = "begins as down (health: start), and has to do well first"
	}
	return n
}

// forgetCPU drops what a probe that has left the configuration said: nothing
// renews it. A monitor that feeds the same metrics has them here again soon.
func (b *backend) forgetCPU() {
	b.cpu, b.nextCPU, b.cores, b.done = reading{}, reading{}, reading{}, reading{}
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

// find is the backend of a name; nil if there is none, or no service. They are sorted,
// as the configuration has them, so that a sample of one of thousands does not look at
// all of them; those of others are found as well.
func (s *service) find(name string) *backend {
	if s == nil {
		return nil
	}
	if i, found := slices.BinarySearchFunc(s.backends, name, func(b *backend, name string) int { return strings.Compare(b.spec.Name, name) }); found {
		return s.backends[i]
	}
	i := slices.IndexFunc(s.backends, func(b *backend) bool { return b.spec.Name == name })
	if i < 0 {
		return nil
	}
	return s.backends[i]
}

// inOrder are services by name.
func inOrder(services map[string]*service) []*service {
	return slices.SortedFunc(maps.Values(services), func(a, b *service) int { return strings.Compare(a.spec.Name, b.spec.Name) })
}
