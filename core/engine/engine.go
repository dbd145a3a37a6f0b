// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A Scheduler runs policies. Schedule answers every call, in order, and
// returns in bounded time; it is called from several goroutines, once at a
// time per policy, and per policy that is a shadow.
type Scheduler interface {
	Schedule(ctx context.Context, calls []core.Call) []core.Result
}

// An Applier makes the kernel carry plans. Only one method other than Counters
// runs at a time.
//
// Tend does what has to be done again and again between two changes; it ends soon
// once ctx is done, which is no error, and says when to call it next: 0 means
// not before the next change. Forget deletes entries of the maps of persistence
// and returns how many; it ends soon once ctx is done,
// with an error, and is called again.
//
// The error of Reweight may have a method Refused() map[string]error: then the
// services in that map were refused, and the others are in force.
type Applier interface {
	Adopt(ctx context.Context) (core.Plan, bool, error)
	Sync(ctx context.Context, plan core.Plan) (core.Commit, map[string]error, error)
	Reweight(ctx context.Context, services []core.ServicePlan) (core.Commit, error)
	Counters(ctx context.Context) (map[core.CounterKey]core.Counters, error)
	Tend(ctx context.Context) (again time.Duration, err error)
	Forget(ctx context.Context, service string, f core.SessionFilter) (int, error)
}

// Flows counts connections, as conntrack sees them, and clears away what those
// that a dead backend has reset leave behind. Neither method waits for the kernel.
type Flows interface {
	Counts() map[core.BackendID]core.FlowCount
	// AsOf says of what time Counts are if they are not live, that is of the
	// moment. It is asked before them.
	AsOf() (at time.Time, live bool)
	// SetIdle says whether the kernel gives a backend no new connections.
	SetIdle(backend core.BackendID, idle bool)
}

// A Reaper is a Flows that ends what a dead backend leaves behind. Neither method
// waits for the kernel.
type Reaper interface {
	// SetDown says that a backend is down and out of the kernel's rules: nothing
	// answers its connections any more. Its UDP flows are forgotten, and with
	// core.Reset those of other protocols too, until SetUp.
	SetDown(core.BackendID, core.OnDown)
	SetUp(core.BackendID)
}

// Neighbours knows the link addresses of what is on the same network.
type Neighbours interface {
	// Watch replaces the addresses that Hop and Changed speak of.
	Watch([]netip.Addr)
	Hop(netip.Addr) (core.Hop, bool)
	// Why says why there is no Hop; it may be empty.
	Why(netip.Addr) string
	// Changed yields when the answer of Hop may have changed for some address.
	Changed() <-chan struct{}
}

// A Publisher tells the world. It must not block for long, and may be called
// from several goroutines.
type Publisher interface {
	Health(core.HealthChange)
	Decision(core.Decision)
	Commit(core.Commit)
	Event(core.Event)
}

// A Config is what an Engine is made of.
type Config struct {
	Node      string
	Scheduler Scheduler
	Applier   Applier
	Flows     Flows // nil: connections are unknown; it may be a Reaper
	// Neighbours finds backends of dsr; nil: none is ever found.
	Neighbours Neighbours
	// Cluster are the other nodes that serve the same services; nil: this node is alone.
	Cluster Cluster
	// Overrides are those of an earlier life, and Keeper, unless it is nil, keeps
	// those of this one.
	Overrides map[core.BackendID]core.Override
	Keeper    Keeper
	// Pins and PinKeeper are the same for pins by command.
	Pins      map[string][]core.PinState
	PinKeeper PinKeeper
	Publisher Publisher
	Log       *slog.Logger
}

const (
	// tick is how often due services are looked for. Services are spread over
	// their interval, so a tick schedules a few of them in one batch.
	tick = 20 * time.Millisecond
	// sampleQueue has room for the first samples of 16,000 backends with several probes
	// each, which come while the first plan is committed.
	sampleQueue = 1 << 16
	// meterEvery is the spacing of the connection history that closed-per-second
	// is computed from; it bounds the mismatch with the window of a CPU sample.
	meterEvery = 500 * time.Millisecond
	// refreshEvery is how often a decision that changed nothing is published, so
	// that a late listener soon knows all shares.
	refreshEvery = 10 * time.Second
	// repeatEvery is how often a policy that keeps failing is logged.
	repeatEvery = time.Minute
)

// An Engine is the control loop of one node.
type Engine struct {
	cfg Config
	log *slog.Logger

	// samples holds sampleQueue; when it is full, Offer drops the sample and counts it.
	// By value it would take 12 MB empty.
	samples  chan *core.Sample
	requests chan func() // unbuffered: run on the engine's goroutine
	results  chan policyResult
	commits  chan commitResult
	meters   chan meterReading
	ready    chan struct{} // closed after the first commit
	vectors  *mailbox      // of other nodes

	wg      sync.WaitGroup // every goroutine that Run started
	dropped dropCounter

	// The rest belongs to the goroutine in Run.
	setup     Setup
	services  map[string]*service
	order     []*service // those of services, by name
	seq       uint64
	busy      map[batchKey]bool   // those with a batch in flight
	cpuWaits  bool                // some backend has a nextCPU
	flowsFrom time.Time           // flows of a look before are not taken; see countanew.go
	spare     paper               // for the record of the next decision
	shaping   []core.ShapeBackend // scratch of decide
	planned   []core.BackendPlan  // scratch of decide
	tipped    []*service          // with health transitions that are not decided yet
	committer committer
	kernel    kernelState
	drifts    drifts
	ring      ring
	startedAt time.Time

	installedAt     time.Time                         // when the setup in force became so
	kept            map[core.BackendID]*core.Override // of an earlier life, until the start is done
	overrideDue     time.Time                         // when the next override ends; zero if none does
	overrideVersion uint64                            // counts what was given to Keeper

	keptPins   map[string][]core.PinState // of an earlier life, until the start is done
	pinDue     time.Time                  // when the next pin ends; zero if none does
	gatherDue  time.Time                  // when the next service has waited enough for its backends; zero if none waits
	pinVersion uint64                     // counts what was given to PinKeeper
	tendTold   core.Seldom

	suspicion     core.Suspicion
	suspectCode   core.Code     // of most probes that failed when it began
	suspectDetail string        // of one of them
	judgeAfter    time.Time     // when the next suspicion may begin
	horizon       time.Duration // of suspicion; see core.Horizon
	watched       int           // probes there are, of any role
	wentDown      []downProbe   // within the horizon, oldest first

	gateDue   time.Time // when the next hold, ejection or word of an agent ends; zero if none does
	windowDue time.Time // when the next window of maintenance begins or ends; zero without windows
	probeTold core.Seldom

	sources  map[source]*source // see sourceOf
	votes    map[*probe][]voice // nil unless several nodes ask each target
	tracers  []*tracer          // nil while nobody follows a sample
	targets  targets            // nil until a monitor names one
	spreads  spreads            // what of monitors went to many backends at once
	disowned bool               // this node suspects itself longer than it may, and others contradict it
	suspects bool               // as the others were told

	unknown uint64      // samples of others about what is not configured here
	refused uint64      // metrics that cannot be used
	told    core.Seldom // of either
}

// New returns an Engine that Run will start with setup.
func New(cfg Config, setup Setup) *Engine {
	kept := make(map[core.BackendID]*core.Override, len(cfg.Overrides))
	for id, o := range cfg.Overrides {
		kept[id] = &o
	}
	e := &Engine{
		kept:     kept,
		spreads:  spreads{},
		keptPins: cfg.Pins,
		cfg:      cfg,
		log:      cfg.Log,
		samples:  make(chan *core.Sample, sampleQueue),
		requests: make(chan func()),
		results:  make(chan policyResult),
		commits:  make(chan commitResult),
		meters:   make(chan meterReading),
		ready:    make(chan struct{}),
		vectors:  newMailbox(),
		setup:    setup,
		services: map[string]*service{},
		busy:     map[batchKey]bool{},
		ring:     newRing(2048),
	}
	if cfg.Cluster != nil {
		e.vectors.only(setup.Services)
	}
	return e
}

// Ready is closed once the kernel carries the first plan.
func (e *Engine) Ready() <-chan struct{} { return e.ready }

// Offer hands a sample to the engine. It never blocks: when the engine is more
// than sampleQueue samples behind, the sample is dropped and counted.
func (e *Engine) Offer(s core.Sample) {
	select {
	case e.samples <- &s:
	default:
		e.dropped.add()
	}
}

// Run adopts what the kernel holds, commits the first plan and then decides
// until ctx is done, when it returns nil. An error means that the kernel could
// not be read or took nothing at all.
func (e *Engine) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		e.wg.Wait()
	}()
	if err := e.start(ctx); err != nil {
		return err
	}
	e.wg.Go(func() { e.meterLoop(ctx) })
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	var hops <-chan struct{} // nil, which never yields, without Neighbours
	if e.cfg.Neighbours != nil {
		hops = e.cfg.Neighbours.Changed()
	}
	others := e.changed()
	for {
		select {
		case <-ctx.Done():
			return nil
		case s := <-e.samples:
			e.takeSample(*s)
			e.drainSamples()
			e.decideTipped()
		case r := <-e.results:
			e.takeResult(r)
		case c := <-e.commits:
			e.takeCommit(c)
		case m := <-e.meters:
			e.takeMeter(m)
		case f := <-e.requests:
			f()
		case <-hops:
			e.takeHops()
		case <-e.vectors.news:
			e.takeVectors()
		case <-others:
			e.takeVoices(time.Now())
			e.takeLeads()
		case now := <-ticker.C:
			e.endOverrides(now)
			e.endPins(now)
			e.endGathering(now)
			e.endSuspicion(now)
			e.endGates(now)
			e.endWindows(now)
			e.schedule(ctx, now)
		}
		e.launchCommit(ctx)
	}
}

// drainSamples takes what has queued up, so that one decision per service and
// one commit cover all of a burst of deaths.
func (e *Engine) drainSamples() {
	for range cap(e.samples) {
		select {
		case s := <-e.samples:
			e.takeSample(*s)
		default:
			return
		}
	}
}

// start adopts the table of an earlier life and brings it to the setup.
func (e *Engine) start(ctx context.Context) error {
	e.startedAt = time.Now()
	adopted, found, err := e.cfg.Applier.Adopt(ctx)
	if err != nil {
		return fmt.Errorf("adopt the nftables table: %w", err)
	}
	e.kernel.adopted = found
	e.awaitHops(ctx, adopted)
	services := e.build(e.setup, adopted)
	for _, s := range inOrder(services) {
		e.decide(s, cause{trigger: "start", at: e.startedAt}, core.Free)
	}
	e.install(e.setup, services)
	j := e.wholeJob(services)
	var o syncOutcome
	o.commit, o.refused, o.err = e.cfg.Applier.Sync(ctx, core.Plan{Services: j.plans, LocalClients: e.setup.LocalClients, OffloadDevices: e.setup.OffloadDevices})
	err = o.err
	e.finishSync(j, o)
	if err != nil {
		return fmt.Errorf("commit the first plan: %w", err)
	}
	close(e.ready)
	return nil
}

// do runs f on the engine's goroutine and waits for it.
func (e *Engine) do(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case e.requests <- func() { f(); close(done) }:
	case <-ctx.Done():
		return ctx.Err()
	}
	<-done
	return nil
}

// tellCommand tells the log and the world of what an operator has asked for, or of
// its end: who looks for the cause of a change the day after has only the log.
func (e *Engine) tellCommand(topic, service, backend, message string) {
	e.log.Info("by command", "service", service, "backend", backend, "what", message)
	e.event(core.Info, topic, service, backend, message)
}

func (e *Engine) event(severity core.Severity, topic, service, backend, message string) {
	e.cfg.Publisher.Event(core.Event{
		At: time.Now().UTC(), Node: e.cfg.Node, Severity: severity, Topic: topic,
		Service: service, Backend: backend, Message: message,
	})
}
