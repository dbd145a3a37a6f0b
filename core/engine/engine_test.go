// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/lab/bubbletest"
)

// A kernel is an Applier that keeps plans in memory, takes a while, and can be
// told to refuse.
type kernel struct {
	mu       sync.Mutex
	slots    map[string][]uint32         // guarded by mu
	plans    map[string]core.ServicePlan // guarded by mu; the latest that was taken
	left     core.Plan                   // of an earlier life
	refuse   map[string]error            // guarded by mu; per service
	fail     error                       // guarded by mu; of the next Reweight
	syncs    int                         // guarded by mu
	failSync error                       // guarded by mu; of every Sync
	took     time.Duration               // guarded by mu
	tends    int                         // guarded by mu
	tendTook time.Duration               // guarded by mu
	again    time.Duration               // guarded by mu; what Tend answers
	forgot   []string                    // guarded by mu
	drift    *core.Drift                 // guarded by mu; what the next look finds
	looks    int                         // guarded by mu; for drift
	owned    bool
}

func (k *kernel) Adopt(context.Context) (core.Plan, bool, error) {
	return k.left, k.left.Services != nil, nil
}

func (k *kernel) Sync(_ context.Context, p core.Plan) (core.Commit, map[string]error, error) {
	k.pause()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.syncs++
	k.slots, k.plans = map[string][]uint32{}, map[string]core.ServicePlan{}
	refused := map[string]error{}
	for _, s := range p.Services {
		if err := k.refuse[s.Name]; err != nil {
			refused[s.Name] = err
			continue
		}
		k.slots[s.Name], k.plans[s.Name] = slotsOf(s), s
	}
	return core.Commit{At: time.Now()}, refused, k.failSync
}

func (k *kernel) Reweight(_ context.Context, services []core.ServicePlan) (core.Commit, error) {
	k.pause()
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.fail; err != nil {
		k.fail = nil
		return core.Commit{}, err
	}
	for _, s := range services {
		if was := k.plans[s.Name].Backends; !slices.EqualFunc(was, s.Backends, func(x, y core.BackendPlan) bool { return x.Hop == y.Hop }) {
			return core.Commit{}, fmt.Errorf("service %s differs in more than weights", s.Name)
		}
		k.slots[s.Name], k.plans[s.Name] = slotsOf(s), s
	}
	return core.Commit{At: time.Now(), Generation: 7}, nil
}

func (k *kernel) Tend(ctx context.Context) (time.Duration, error) {
	k.mu.Lock()
	d, again := k.tendTook, k.again
	k.tends++
	k.mu.Unlock()
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
	return again, nil
}

func (k *kernel) Forget(_ context.Context, service string, f core.SessionFilter) (int, error) {
	k.pause()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.forgot = append(k.forgot, service+" "+f.Backend)
	return 3, nil
}

func (k *kernel) Counters(context.Context) (map[core.CounterKey]core.Counters, error) {
	return nil, nil
}

// pause takes the time that a commit takes.
func (k *kernel) pause() {
	k.mu.Lock()
	d := k.took
	k.mu.Unlock()
	time.Sleep(d)
}

// slow makes the commits from now on take d.
func (k *kernel) slow(d time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.took = d
}

func (k *kernel) get(service string) []uint32 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.slots[service]
}

// alive says of each backend in the kernel's plan whether it keeps its clients.
func (k *kernel) alive(service string) []bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []bool
	for _, b := range k.plans[service].Backends {
		out = append(out, b.Alive)
	}
	return out
}

func slotsOf(s core.ServicePlan) []uint32 {
	var out []uint32
	for _, b := range s.Backends {
		out = append(out, b.Slots)
	}
	return out
}

// policies is a Scheduler of plain functions.
type policies map[string]func(context.Context, core.Snapshot) core.Result

func (p policies) Schedule(ctx context.Context, calls []core.Call) []core.Result {
	out := make([]core.Result, len(calls))
	for i, c := range calls {
		out[i] = p[c.Policy](ctx, c.Snapshot)
	}
	return out
}

func weighted(_ context.Context, s core.Snapshot) core.Result {
	var r core.Result
	for _, b := range s.Backends {
		r.Weights = append(r.Weights, float64(b.Weight))
	}
	return r
}

func hanging(ctx context.Context, s core.Snapshot) core.Result {
	<-ctx.Done()
	return core.Result{Err: ctx.Err()}
}

// A log collects what is published.
type log struct {
	mu        sync.Mutex
	events    []core.Event    // guarded by mu
	decisions []core.Decision // guarded by mu
	healths   []string        // guarded by mu; "b1 up→down L4CON: connection refused"
	commits   []core.Commit   // guarded by mu
}

func (l *log) Health(c core.HealthChange) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.healths = append(l.healths, fmt.Sprintf("%s %s→%s %s %s: %s", c.Backend.Backend, c.From, c.To, c.Probe, c.Code, c.Detail))
}

// changes are the changes of health since the last call.
func (l *log) changes() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.healths
	l.healths = nil
	return out
}

// told are the messages of a topic since the last call.
func (l *log) told(topic string) (out []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = slices.DeleteFunc(l.events, func(e core.Event) bool {
		if e.Topic == topic {
			out = append(out, e.Message)
		}
		return e.Topic == topic
	})
	return out
}

func (l *log) Decision(d core.Decision) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.decisions = append(l.decisions, d)
}
func (l *log) Commit(c core.Commit) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.commits = append(l.commits, c)
}
func (l *log) Event(e core.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
}

func (l *log) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.events {
		if strings.Contains(e.Message, text) {
			return true
		}
	}
	return false
}

var alive = core.ProbeSpec{Name: "alive", Type: core.ProbeTCP, Role: core.HealthRole, Rise: 2, Fall: 2}

func setupOf(services ...core.Service) Setup {
	return Setup{Services: services, Probes: map[string]core.ProbeSpec{"alive": alive}}
}

func web(name, policy string, weights ...uint32) core.Service {
	s := core.Service{
		Name: name, Traffic: core.Simple(netip.MustParseAddrPort("192.0.2.10:80"), core.TCP),
		Policy: policy, Every: time.Second, Probes: []string{"alive"},
		Shaping: core.Shaping{Hold: 10 * time.Second, Step: 0.25},
	}
	for i, w := range weights {
		s.Backends = append(s.Backends, core.Backend{
			Name: fmt.Sprintf("b%d", i+1), Weight: w,
			Addr: netip.AddrPortFrom(netip.MustParseAddr(fmt.Sprintf("10.0.0.%d", i+1)), 80),
		})
	}
	return s
}

func (e *Engine) say(service, backend string, ok bool) {
	e.Offer(core.Sample{
		Backend: core.BackendID{Service: service, Backend: backend}, Probe: "alive", Role: core.HealthRole, OK: ok,
		Code: core.L4Refused, Detail: "connection refused", TakenAt: time.Now(), Node: "test",
	})
}

// engineTest runs an engine in a bubble of virtual time.
func engineTest(t *testing.T, k *kernel, p policies, setup Setup, f func(t *testing.T, e *Engine, l *log)) {
	t.Helper()
	engineTestWith(t, k, p, setup, Config{}, f)
}

// engineTestWith is engineTest with more of a Config.
func engineTestWith(t *testing.T, k *kernel, p policies, setup Setup, cfg Config, f func(t *testing.T, e *Engine, l *log)) {
	t.Helper()
	bubbletest.Run(t, func(t *testing.T) {
		l := &log{}
		cfg.Node, cfg.Scheduler, cfg.Applier, cfg.Publisher = "test", p, k, l
		if cfg.Log == nil {
			cfg.Log = slog.New(slog.DiscardHandler)
		}
		e := New(cfg, setup)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- e.Run(ctx) }()
		<-e.Ready()
		f(t, e, l)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func want(t *testing.T, k *kernel, service string, slots ...uint32) {
	t.Helper()
	if diff := cmp.Diff(slots, k.get(service)); diff != "" {
		t.Errorf("slots of %s in the kernel (-want +got):\n%s", service, diff)
	}
}

func TestUnknownThenUp(t *testing.T) {
	k := &kernel{}
	engineTest(t, k, policies{"weighted": weighted}, setupOf(web("web", "weighted", 3, 1)), func(t *testing.T, e *Engine, l *log) {
		want(t, k, "web", 0, 0)
		e.say("web", "b1", true)
		synctest.Wait()
		want(t, k, "web", 65536, 0)
		e.say("web", "b2", true)
		time.Sleep(3 * time.Second)
		want(t, k, "web", 49152, 16384)
	})
}

// A death is committed while the policy hangs.
func TestDeathDoesNotWaitForThePolicy(t *testing.T) {
	k := &kernel{took: time.Millisecond}
	p := policies{"weighted": weighted, "hanging": hanging}
	engineTest(t, k, p, setupOf(web("bad", "hanging", 1, 1), web("web", "weighted", 1, 1)), func(t *testing.T, e *Engine, l *log) {
		for _, s := range []string{"bad", "web"} {
			e.say(s, "b1", true)
			e.say(s, "b2", true)
		}
		time.Sleep(5 * time.Second)
		want(t, k, "bad", 32768, 32768)
		want(t, k, "web", 32768, 32768)
		e.say("bad", "b1", false)
		e.say("bad", "b1", false)
		time.Sleep(3 * time.Millisecond)
		synctest.Wait()
		want(t, k, "bad", 0, 65536)
		d, err := e.Decisions(t.Context(), "bad", 1)
		if err != nil {
			t.Fatal(err)
		}
		if d[0].Trigger != "b1 went down" || d[0].Outcome != core.Applied || d[0].TotalSeconds > 0.003 {
			t.Errorf("got trigger %q, outcome %s after %v s", d[0].Trigger, d[0].Outcome, d[0].TotalSeconds)
		}
		if why := d[0].Backends[0].Why; why != "down: alive L4CON: connection refused" {
			t.Errorf("why of b1: %q", why)
		}
		w, err := e.Decisions(t.Context(), "web", 1)
		if err != nil || time.Since(w[0].At) > 2*time.Second {
			t.Errorf("web was decided last at %v, err %v: the hanging policy held it up", w[0].At, err)
		}
	})
}

func TestAllDownEmptiesTheMap(t *testing.T) {
	k := &kernel{}
	engineTest(t, k, policies{"weighted": weighted}, setupOf(web("web", "weighted", 1)), func(t *testing.T, e *Engine, l *log) {
		e.say("web", "b1", true)
		synctest.Wait()
		want(t, k, "web", 65536)
		e.say("web", "b1", false)
		e.say("web", "b1", false)
		synctest.Wait()
		want(t, k, "web", 0)
	})
}

// Shares of an earlier life are kept, and it takes Fall bad samples to end them.
func TestWarmStart(t *testing.T) {
	s := web("web", "hanging", 1, 1)
	left := core.ServicePlan{Name: "web", Backends: []core.BackendPlan{
		{Name: "b1", Addr: s.Backends[0].Addr, Slots: 60000}, {Name: "b2", Addr: s.Backends[1].Addr, Slots: 5536}}}
	k := &kernel{left: core.Plan{Services: []core.ServicePlan{left}}}
	engineTest(t, k, policies{"hanging": hanging}, setupOf(s), func(t *testing.T, e *Engine, l *log) {
		want(t, k, "web", 60000, 5536)
		e.say("web", "b1", false)
		synctest.Wait()
		want(t, k, "web", 60000, 5536)
		e.say("web", "b1", false)
		synctest.Wait()
		want(t, k, "web", 0, 65536)
	})
}

func TestPolicyFailureHoldsThenDecays(t *testing.T) {
	k := &kernel{}
	var broken atomic.Bool
	p := policies{"mine": func(ctx context.Context, s core.Snapshot) core.Result {
		if broken.Load() {
			return core.Result{Err: errors.New("policy mine: trap: unreachable")}
		}
		return core.Result{Weights: []float64{3, 1}}
	}}
	engineTest(t, k, p, setupOf(web("web", "mine", 1, 1)), func(t *testing.T, e *Engine, l *log) {
		e.say("web", "b1", true)
		e.say("web", "b2", true)
		time.Sleep(10 * time.Second)
		want(t, k, "web", 49152, 16384)
		broken.Store(true)
		time.Sleep(9 * time.Second)
		want(t, k, "web", 49152, 16384)
		v, err := e.View(t.Context())
		if err != nil || v.Services[0].PolicyError == "" || !l.has("trap: unreachable") {
			t.Errorf("the failure is not visible: view %q, err %v, events %v", v.Services[0].PolicyError, err, l.events)
		}
		time.Sleep(5 * time.Minute)
		want(t, k, "web", 32768, 32768)
		broken.Store(false)
		time.Sleep(time.Minute)
		want(t, k, "web", 49152, 16384)
		if !l.has("answers again") {
			t.Error("no event says that the policy is well again")
		}
	})
}

// After a failed commit the whole plan is brought in again.
func TestFailedCommitIsRepaired(t *testing.T) {
	k := &kernel{}
	engineTest(t, k, policies{"weighted": weighted}, setupOf(web("web", "weighted", 1, 1)), func(t *testing.T, e *Engine, l *log) {
		k.mu.Lock()
		k.fail = errors.New("no buffer space available")
		before := k.syncs
		k.mu.Unlock()
		e.say("web", "b1", true)
		synctest.Wait()
		time.Sleep(100 * time.Millisecond)
		want(t, k, "web", 65536, 0)
		if k.syncs != before+1 || !l.has("no buffer space") {
			t.Errorf("%d syncs, events %v", k.syncs-before, l.events)
		}
	})
}

func TestRefusedServiceHarmsNoOther(t *testing.T) {
	k := &kernel{refuse: map[string]error{"bad": errors.New("file exists")}}
	engineTest(t, k, policies{"weighted": weighted}, setupOf(web("bad", "weighted", 1), web("web", "weighted", 1)), func(t *testing.T, e *Engine, l *log) {
		e.say("bad", "b1", true)
		e.say("web", "b1", true)
		time.Sleep(5 * time.Second)
		want(t, k, "web", 65536)
		v, _ := e.View(t.Context())
		if got := v.Services[0].Error; got != "file exists" {
			t.Errorf("error of the refused service: %q", got)
		}
		k.mu.Lock()
		k.refuse = nil
		k.mu.Unlock()
		time.Sleep(time.Minute)
		want(t, k, "bad", 65536)
	})
}

func TestReload(t *testing.T) {
	k := &kernel{}
	engineTest(t, k, policies{"weighted": weighted}, setupOf(web("web", "weighted", 1, 1)), func(t *testing.T, e *Engine, l *log) {
		e.say("web", "b1", true)
		e.say("web", "b2", true)
		time.Sleep(3 * time.Second)
		want(t, k, "web", 32768, 32768)

		k.refuse = map[string]error{"new": errors.New("file exists")}
		_, err := e.Reload(t.Context(), setupOf(web("web", "weighted", 3, 1), web("new", "weighted", 1)))
		if err == nil || !strings.Contains(err.Error(), "service new: file exists") {
			t.Fatalf("reload that the kernel refuses: %v", err)
		}
		time.Sleep(3 * time.Second)
		want(t, k, "web", 32768, 32768)

		k.refuse = nil
		if _, err := e.Reload(t.Context(), setupOf(web("web", "weighted", 3, 1))); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		want(t, k, "web", 49152, 16384) // health was kept: no probe spoke since
	})
}

// A monitor's metric reaches the policy; a monitor's verdict reaches nothing.
func TestForeignSamples(t *testing.T) {
	k := &kernel{}
	var seen atomic.Uint64 // cpu of b1, percent
	p := policies{"mine": func(ctx context.Context, s core.Snapshot) core.Result {
		seen.Store(uint64(100 * s.Backends[0].CPU.Value))
		return weighted(ctx, s)
	}}
	engineTest(t, k, p, setupOf(web("web", "mine", 1, 1)), func(t *testing.T, e *Engine, l *log) {
		e.say("web", "b1", true)
		e.say("web", "b2", true)
		for _, probe := range []string{"load", "alive"} {
			e.Offer(core.Sample{
				Backend: core.BackendID{Service: "web", Backend: "b1"}, Probe: probe, Role: core.MetricRole, OK: true,
				TakenAt: time.Now(), Metrics: []core.Metric{{Name: core.MetricCPU, Value: 0.42, Unit: "ratio"}},
			})
		}
		for range 5 { // in the name of our own probe
			e.Offer(core.Sample{Backend: core.BackendID{Service: "web", Backend: "b2"}, Probe: "alive", Role: core.MetricRole, TakenAt: time.Now()})
		}
		for range 5 {
			e.Offer(core.Sample{Backend: core.BackendID{Service: "web", Backend: "b2"}, Probe: "load", Role: core.HealthRole, TakenAt: time.Now()})
			// The name of a health probe does not make a verdict of it.
			e.Offer(core.Sample{Backend: core.BackendID{Service: "web", Backend: "b2"}, Probe: "alive", Role: core.MetricRole, TakenAt: time.Now()})
		}
		time.Sleep(3 * time.Second)
		want(t, k, "web", 32768, 32768)
		if got := seen.Load(); got != 42 {
			t.Errorf("the policy saw a cpu of %d %%, want 42 %%", got)
		}
	})
}

// What a monitor can get wrong, its unit and its clock, does no lasting harm.
func TestForeignNonsense(t *testing.T) {
	k := &kernel{}
	var in atomic.Pointer[core.BackendInput] // b1, as the policy saw it last
	p := policies{"mine": func(ctx context.Context, s core.Snapshot) core.Result {
		in.Store(&s.Backends[0])
		return weighted(ctx, s)
	}}
	engineTest(t, k, p, setupOf(web("web", "mine", 1, 1)), func(t *testing.T, e *Engine, l *log) {
		say := func(at time.Time, cpu, response float64) {
			e.Offer(core.Sample{
				Backend: core.BackendID{Service: "web", Backend: "b1"}, Probe: "load", Role: core.MetricRole, OK: true, TakenAt: at,
				Metrics: []core.Metric{{Name: core.MetricCPU, Value: cpu}, {Name: core.MetricResponse, Value: response}},
			})
		}
		say(time.Now(), 42, 1e300)                  // percent, and nonsense
		say(time.Now().AddDate(70, 0, 0), 0.9, 0.5) // a clock that is ahead
		time.Sleep(3 * time.Second)
		say(time.Now(), 0.5, 0.5)
		say(time.Now().AddDate(-5, 0, 0), 0.1, 0.5) // a clock that was never set
		time.Sleep(3 * time.Second)
		got := in.Load()
		if !got.CPU.Known || got.CPU.Value != 0.5 {
			t.Errorf("the policy saw a cpu of %+v, want 0.5", got.CPU)
		}
		if !got.Response.Known || got.Response.Value != 0.5 || got.Response.Age > time.Minute {
			t.Errorf("the policy saw a response time of %+v, want 0.5, fresh", got.Response)
		}
	})
}

func TestHistory(t *testing.T) {
	h := &history{}
	start := time.Unix(1000, 0)
	for i := range 400 { // more than it holds; 10 per second
		h.add(start.Add(time.Duration(i)*500*time.Millisecond), uint64(1<<32-100+5*i))
	}
	end := start.Add(399 * 500 * time.Millisecond)
	closed, ok := h.between(end.Add(-10*time.Second-200*time.Millisecond), end.Add(-200*time.Millisecond))
	if !ok || closed < 99.99 || closed > 100.01 {
		t.Errorf("over 10 s: closed %v, ok %t; want 100", closed, ok)
	}
	if _, ok := h.between(start, end); ok {
		t.Error("a window that begins before the history was answered")
	}
}

// A decision that a newer one overtakes before its commit says so; show speaks
// of the kernel and not of what is decided.
func TestSupersededDecision(t *testing.T) {
	k := &kernel{took: 100 * time.Millisecond}
	engineTest(t, k, policies{"weighted": weighted}, setupOf(web("web", "weighted", 1, 1)), func(t *testing.T, e *Engine, l *log) {
		e.say("web", "b1", true)
		e.say("web", "b2", true)
		time.Sleep(5 * time.Second)
		e.say("web", "b1", false)
		e.say("web", "b1", false)
		time.Sleep(10 * time.Millisecond) // its commit is under way
		v, err := e.View(t.Context())
		if err != nil || v.Services[0].Backends[0].Slots != 32768 {
			t.Errorf("before the commit show has %d slots, err %v; the kernel has 32768", v.Services[0].Backends[0].Slots, err)
		}
		e.say("web", "b2", false)
		e.say("web", "b2", false)
		time.Sleep(10 * time.Millisecond)
		e.say("web", "b1", true)
		e.say("web", "b1", true)
		time.Sleep(time.Second)
		want(t, k, "web", 65536, 0)
		ds, err := e.Decisions(t.Context(), "web", 10)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]core.Outcome{}
		for _, d := range ds {
			got[d.Trigger] = d.Outcome
		}
		if got["b1 went down"] != core.Applied || got["b2 went down"] != core.Superseded {
			t.Errorf("outcomes: %v", got)
		}
	})
}

// A repair by full sync puts the failed decision on record as applied.
func TestRepairIsOnRecord(t *testing.T) {
	k := &kernel{}
	engineTest(t, k, policies{"hanging": hanging}, setupOf(web("web", "hanging", 1, 1)), func(t *testing.T, e *Engine, l *log) {
		k.mu.Lock()
		k.fail = errors.New("no buffer space available")
		k.mu.Unlock()
		e.say("web", "b1", true)
		time.Sleep(time.Second)
		want(t, k, "web", 65536, 0)
		ds, err := e.Decisions(t.Context(), "web", 1)
		if err != nil || ds[0].Outcome != core.Applied || ds[0].Commit == nil || ds[0].Trigger != "b1 went up" {
			t.Errorf("latest decision: %+v, err %v", ds[0], err)
		}
	})
}

// Another node's verdict is its own affair.
func TestOtherNodesDoNotDecideHealth(t *testing.T) {
	k := &kernel{}
	engineTest(t, k, policies{"weighted": weighted}, setupOf(web("web", "weighted", 1, 1)), func(t *testing.T, e *Engine, l *log) {
		e.say("web", "b1", true)
		e.say("web", "b2", true)
		time.Sleep(2 * time.Second)
		for range 5 {
			e.Offer(core.Sample{
				Backend: core.BackendID{Service: "web", Backend: "b1"}, Probe: "alive", Role: core.HealthRole,
				Code: core.L4Refused, TakenAt: time.Now(), Node: "other",
			})
		}
		time.Sleep(2 * time.Second)
		want(t, k, "web", 32768, 32768)
	})
}

// With more services waiting than a job takes, each has its turn.
func TestEveryServiceHasItsTurn(t *testing.T) {
	e := &Engine{}
	for i := range 3 * routineBatch {
		name := fmt.Sprintf("s%02d", i)
		e.order = append(e.order, &service{spec: core.Service{Name: name}, waiting: []pending{{}}})
	}
	seen := map[string]bool{}
	for range 3 {
		for _, s := range e.nextJob().services { // all of them go on waiting
			seen[s.spec.Name] = true
		}
	}
	if len(seen) != 3*routineBatch {
		t.Errorf("three jobs of %d covered %d services", routineBatch, len(seen))
	}
}
