// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core"
)

// A group is a Cluster that does as the test says.
type group struct {
	mu      sync.Mutex
	led     map[string]bool // guarded by mu; by service; of one not in it all
	all     bool            // guarded by mu
	decided []core.Vector   // guarded by mu
	changed chan struct{}   // made when the engine asks for it: it must be of its bubble
}

func newGroup(leads bool) *group {
	return &group{all: leads, led: map[string]bool{}}
}

func (g *group) Leads(service string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if led, set := g.led[service]; set {
		return led
	}
	return g.all
}

func (g *group) Counts(string) bool { return true }
func (g *group) Suspects(bool)      {}

func (g *group) Changed() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.changed = make(chan struct{}, 1)
	return g.changed
}

func (g *group) Decided(v core.Vector) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.decided = append(g.decided, v)
}

// lead makes this node lead all services, or none.
func (g *group) lead(leads bool) {
	g.mu.Lock()
	g.all = leads
	g.mu.Unlock()
	select {
	case g.changed <- struct{}{}:
	default:
	}
}

// handed are the vectors that the engine has handed over since the last call.
func (g *group) handed() []core.Vector {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := g.decided
	g.decided = nil
	return out
}

// vector is one of lb2 for web, with so many slots for b1, b2 and so on.
func vector(epoch, seq uint64, slots ...uint32) core.Vector {
	v := core.Vector{Service: "web", Node: "lb2", Epoch: epoch, Seq: seq, Decision: 4000 + seq, Policy: "least-cpu", PolicyVersion: "v7", At: time.Now()}
	for i, n := range slots {
		v.Backends = append(v.Backends, core.VectorBackend{
			Name: fmt.Sprintf("b%d", i+1), Slots: n, Opinion: float64(n), Health: core.Up,
		})
	}
	return v
}

// offer has the engine take a vector and waits until it is in the kernel.
func (e *Engine) offer(v core.Vector) {
	e.OfferVector(v)
	settle()
}

// settle waits for what is under way, but for no policy.
func settle() {
	time.Sleep(5 * time.Millisecond)
	synctest.Wait()
}

// sayAll makes n backends of web well, or ill.
func (e *Engine) sayAll(ok bool, backends ...string) {
	for range 2 {
		for _, b := range backends {
			e.say("web", b, ok)
		}
	}
	settle()
}

// followTest runs an engine that follows, with backends of weight 1 that are all up.
func followTest(t *testing.T, backends int, f func(t *testing.T, e *Engine, k *kernel, g *group, l *log)) {
	t.Helper()
	k, g := &kernel{}, newGroup(false)
	setup := setupOf(web("web", "weighted", slices.Repeat([]uint32{1}, backends)...))
	engineTestWith(t, k, policies{"weighted": weighted}, setup, Config{Cluster: g}, func(t *testing.T, e *Engine, l *log) {
		var names []string
		for i := range backends {
			names = append(names, fmt.Sprintf("b%d", i+1))
		}
		e.sayAll(true, names...)
		f(t, e, k, g, l)
	})
}

func (e *Engine) latest(t *testing.T, service string) core.Decision {
	t.Helper()
	d, err := e.Decisions(t.Context(), service, 1)
	if err != nil || len(d) == 0 {
		t.Fatalf("decisions of %s: %v, %v", service, d, err)
	}
	return d[0]
}

func TestFollowTakesTheSlotsAsTheyAre(t *testing.T) {
	followTest(t, 3, func(t *testing.T, e *Engine, k *kernel, g *group, l *log) {
		e.offer(vector(9, 1, 15335, 50200, 1))
		want(t, k, "web", 15335, 50200, 1)
		d := e.latest(t, "web")
		if d.Trigger != "lb2 decided" || d.Policy != "least-cpu" || d.PolicyVersion != "v7" || d.Outcome != core.Applied {
			t.Errorf("got %+v", d)
		}
		if d.Leader == nil || d.Leader.Node != "lb2" || d.Leader.Decision != 4001 || d.Leader.Epoch != 9 || d.Leader.Gated != nil || d.Leader.HeardAt.IsZero() {
			t.Errorf("leader %+v", d.Leader)
		}
		if why := d.Backends[0].Why; why != "lb2 gives 23.4 % (decision 4001)" {
			t.Errorf("why: %q", why)
		}
		v, err := e.View(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(d.Leader, v.Services[0].Leader); diff != "" {
			t.Errorf("leader in the view (-decision +view):\n%s", diff)
		}
		if n := len(g.handed()); n != 0 {
			t.Errorf("a follower has handed over %d vectors", n)
		}
	})
}

func TestFollowNeedsNoNewCommitForTheSameSlots(t *testing.T) {
	followTest(t, 2, func(t *testing.T, e *Engine, k *kernel, g *group, l *log) {
		e.offer(vector(9, 1, 10000, 55536))
		e.offer(vector(9, 2, 10000, 55536))
		if d := e.latest(t, "web"); d.Outcome != core.Unchanged || d.Leader.Seq != 2 {
			t.Errorf("outcome %s of the vector %+v", d.Outcome, d.Leader)
		}
		e.offer(vector(9, 3, 10001, 55535)) // no dead band
		want(t, k, "web", 10001, 55535)
	})
}

// A policy is not called for a service that another node leads, and silence changes nothing.
func TestFollowerCallsNoPolicy(t *testing.T) {
	k, g := &kernel{}, newGroup(false)
	var calls atomic.Int32
	p := policies{"weighted": func(_ context.Context, s core.Snapshot) core.Result {
		calls.Add(1)
		return core.Result{Weights: []float64{9, 1}}
	}}
	setup := setupOf(web("web", "weighted", 1, 1))
	setup.Services[0].Shadow = "weighted"
	engineTestWith(t, k, p, setup, Config{Cluster: g}, func(t *testing.T, e *Engine, l *log) {
		e.sayAll(true, "b1", "b2")
		e.offer(vector(9, 1, 10000, 55536))
		time.Sleep(2 * time.Minute)
		want(t, k, "web", 10000, 55536)
		e.sayAll(false, "b1")
		e.sayAll(true, "b1")
		want(t, k, "web", 10000, 55536)
		if calls.Load() != 0 {
			t.Errorf("the policy was called %d times", calls.Load())
		}
		if d := e.latest(t, "web"); d.Shadow != nil || len(d.Backends[0].Inputs) != 0 {
			t.Errorf("shadow %+v, inputs %+v of a policy that is not called", d.Shadow, d.Backends[0].Inputs)
		}
	})
}

// What a policy answers after the lead has gone is dropped.
func TestAnswerAfterTheLeadIsDropped(t *testing.T) {
	k, g := &kernel{}, newGroup(true)
	slow := func(_ context.Context, s core.Snapshot) core.Result {
		time.Sleep(300 * time.Millisecond)
		return core.Result{Weights: []float64{9, 1}}
	}
	engineTestWith(t, k, policies{"slow": slow}, setupOf(web("web", "slow", 1, 1)), Config{Cluster: g}, func(t *testing.T, e *Engine, l *log) {
		e.sayAll(true, "b1", "b2")
		time.Sleep(100 * time.Millisecond)
		g.lead(false)
		settle()
		e.offer(vector(9, 1, 10000, 55536))
		time.Sleep(time.Minute)
		want(t, k, "web", 10000, 55536)
		g.handed()
		g.lead(true)
		settle()
		if v := g.handed(); len(v) != 1 || v[0].Backends[0].Opinion != 10000 {
			t.Errorf("goes on with %+v, which are not lb2's opinions", v)
		}
		time.Sleep(time.Minute)
		want(t, k, "web", 58982, 6554)
	})
}

func TestDeadHereLeavesAtOnce(t *testing.T) {
	followTest(t, 3, func(t *testing.T, e *Engine, k *kernel, g *group, l *log) {
		e.offer(vector(9, 1, 16384, 16384, 32768))
		e.sayAll(false, "b1")
		want(t, k, "web", 0, 21845, 43691)
		d := e.latest(t, "web")
		if d.Trigger != "b1 went down" || d.Outcome != core.Applied || !slices.Equal(d.Leader.Gated, []string{"b1"}) {
			t.Errorf("trigger %q, outcome %s, leader %+v", d.Trigger, d.Outcome, d.Leader)
		}
		for i, text := range []string{
			"down: alive L4CON",
			"lb2 gives 25.0 % (decision 4001), more here without b1",
			"lb2 gives 50.0 % (decision 4001), more here without b1",
		} {
			if !strings.HasPrefix(d.Backends[i].Why, text) {
				t.Errorf("why b%d: %q, want %q", i+1, d.Backends[i].Why, text)
			}
		}
		e.offer(vector(9, 2, 20000, 0, 45536)) // lb2 still feeds it
		want(t, k, "web", 0, 0, 65536)
		e.sayAll(true, "b1")
		want(t, k, "web", 20000, 0, 45536)
	})
}

// Whoever can serve does, whatever the leader believes.
func TestFollowerIsNeverEmptyWhileSomebodyIsUp(t *testing.T) {
	followTest(t, 4, func(t *testing.T, e *Engine, k *kernel, g *group, l *log) {
		e.offer(vector(9, 1, 32768, 32768, 0, 0))
		e.sayAll(false, "b1", "b2")
		want(t, k, "web", 0, 0, 32768, 32768) // no opinion above 0: by configured weight
		if why := e.latest(t, "web").Backends[2].Why; why != "lb2 gives 0.0 % (decision 4001), none of those that it feeds can serve here" {
			t.Errorf("why: %q", why)
		}
		v := vector(9, 2, 32768, 32768, 0, 0)
		v.Backends[2].Opinion, v.Backends[3].Opinion = 3, 1
		e.offer(v)
		want(t, k, "web", 0, 0, 49152, 16384)
		e.sayAll(false, "b4")
		want(t, k, "web", 0, 0, 65536, 0)
		e.sayAll(false, "b3")
		want(t, k, "web", 0, 0, 0, 0)
		e.offer(vector(9, 3, 0, 0, 0, 0)) // the leader has nobody left, either
		e.sayAll(true, "b2")
		want(t, k, "web", 0, 65536, 0, 0)
	})
}

func TestOlderVectorsAreDropped(t *testing.T) {
	followTest(t, 2, func(t *testing.T, e *Engine, k *kernel, g *group, l *log) {
		e.offer(vector(9, 5, 10000, 55536))
		for _, v := range []core.Vector{vector(9, 4, 1, 65535), vector(8, 99, 1, 65535), vector(9, 5, 1, 65535)} {
			e.offer(v)
		}
		other := vector(9, 9, 1, 65535)
		other.Node = "lb1" // of the same epoch: the name decides
		e.offer(other)
		own := vector(10, 1, 1, 65535)
		own.Node = "test"
		e.offer(own)
		want(t, k, "web", 10000, 55536)
		if d := e.latest(t, "web"); d.Leader.Seq != 5 {
			t.Errorf("follows %+v", d.Leader)
		}
		other.Epoch = 10
		e.offer(other)
		want(t, k, "web", 1, 65535)
	})
}

// Who takes over goes on with the shares in force, asks the policy at once and tells the
// others.
func TestTakeOverIsBumpless(t *testing.T) {
	k, g := &kernel{}, newGroup(false)
	var calls atomic.Int32
	p := policies{"even": func(_ context.Context, s core.Snapshot) core.Result {
		calls.Add(1)
		return core.Result{Weights: []float64{1, 1}, Version: "v1"}
	}}
	engineTestWith(t, k, p, setupOf(web("web", "even", 1, 1)), Config{Cluster: g}, func(t *testing.T, e *Engine, l *log) {
		e.sayAll(true, "b1", "b2")
		e.offer(vector(9, 1, 6554, 58982))
		time.Sleep(2 * time.Minute)
		g.lead(true)
		synctest.Wait()
		want(t, k, "web", 6554, 58982)
		v := g.handed()
		if len(v) != 1 || v[0].Service != "web" || v[0].Policy != "even" || v[0].Decision == 0 || v[0].Seq == 0 {
			t.Fatalf("handed over %+v", v)
		}
		if diff := cmp.Diff([]core.VectorBackend{{Name: "b1", Slots: 6554, Opinion: 6554, Health: core.Up}, {Name: "b2", Slots: 58982, Opinion: 58982, Health: core.Up}}, v[0].Backends); diff != "" {
			t.Errorf("vector (-want +got):\n%s", diff)
		}
		if d := e.latest(t, "web"); d.Trigger != "leads from now on, after lb2" || d.Leader != nil || d.Policy != "even" {
			t.Errorf("trigger %q, leader %+v, policy %s", d.Trigger, d.Leader, d.Policy)
		}
		time.Sleep(50 * time.Millisecond)
		if calls.Load() != 1 {
			t.Errorf("the policy was called %d times within 50 ms, want once", calls.Load())
		}
		want(t, k, "web", 8193, 57343) // a step of a quarter
		if v := g.handed(); len(v) != 1 || v[0].Backends[0].Slots != 8193 || v[0].PolicyVersion != "v1" {
			t.Errorf("handed over %+v", v)
		}
		time.Sleep(time.Minute)
		want(t, k, "web", 32768, 32768)
	})
}

// Shares that are held for want of an opinion do not decay at the moment of a takeover.
func TestTakeOverOfHeldShares(t *testing.T) {
	k, g := &kernel{}, newGroup(false)
	none := func(_ context.Context, s core.Snapshot) core.Result {
		return core.Result{Weights: []float64{core.Hold, core.Hold}}
	}
	engineTestWith(t, k, policies{"none": none}, setupOf(web("web", "none", 1, 1)), Config{Cluster: g}, func(t *testing.T, e *Engine, l *log) {
		e.sayAll(true, "b1", "b2")
		v := vector(9, 1, 6554, 58982)
		v.Backends[0].Opinion, v.Backends[1].Opinion = core.Hold, core.Hold
		e.offer(v)
		time.Sleep(2 * time.Minute)
		g.lead(true)
		time.Sleep(5 * time.Second) // of 10 that they are held
		want(t, k, "web", 6554, 58982)
	})
}

// Who yields keeps its shares until the next vector comes, and health goes on.
func TestYield(t *testing.T) {
	k, g := &kernel{}, newGroup(true)
	p := policies{"uneven": func(_ context.Context, s core.Snapshot) core.Result { return core.Result{Weights: []float64{3, 1}} }}
	engineTestWith(t, k, p, setupOf(web("web", "uneven", 1, 1)), Config{Cluster: g}, func(t *testing.T, e *Engine, l *log) {
		e.sayAll(true, "b1", "b2")
		time.Sleep(10 * time.Second)
		want(t, k, "web", 49152, 16384)
		g.lead(false)
		time.Sleep(2 * time.Minute)
		want(t, k, "web", 49152, 16384)
		e.sayAll(false, "b1")
		want(t, k, "web", 0, 65536)
		e.sayAll(true, "b1")
		want(t, k, "web", 49152, 16384)
		if d := e.latest(t, "web"); d.Leader != nil || d.Backends[0].Why != "another node leads and was not heard of yet: 75.0 % held" {
			t.Errorf("leader %+v, why %q", d.Leader, d.Backends[0].Why)
		}
		e.offer(vector(9, 1, 20000, 45536))
		want(t, k, "web", 20000, 45536)
		g.lead(true) // and back: what was under way of lb2 does not count
		settle()
		e.OfferVector(vector(9, 2, 1, 65535))
		settle()
		g.lead(false)
		settle()
		if got := k.get("web"); got[0] < 20000 {
			t.Errorf("slots %v: of a vector that is older than the own lead", got)
		}
		e.OfferVector(vector(11, 1, 30000, 35536))
		settle()
		want(t, k, "web", 30000, 35536)
	})
}

// The last vector of who led before may be unread when this node begins to lead. It is
// what that goes on from, and nothing to come back to.
func TestLastVectorBeforeATakeOver(t *testing.T) {
	k, g := &kernel{}, newGroup(false)
	even := func(_ context.Context, s core.Snapshot) core.Result {
		return core.Result{Weights: []float64{1, 1}}
	}
	engineTestWith(t, k, policies{"even": even}, setupOf(web("web", "even", 1, 1)), Config{Cluster: g}, func(t *testing.T, e *Engine, l *log) {
		e.sayAll(true, "b1", "b2")
		if err := e.do(t.Context(), func() {
			e.OfferVector(vector(9, 1, 6554, 58982))
			g.lead(true)
			e.takeLeads()
		}); err != nil {
			t.Fatal(err)
		}
		settle()
		want(t, k, "web", 6554, 58982)
		time.Sleep(time.Minute)
		want(t, k, "web", 32768, 32768)
		g.lead(false)
		settle()
		want(t, k, "web", 32768, 32768)
	})
}

// A command that waits for the policy is answered although the lead goes and a reload comes.
func TestWaiterOverYieldAndReload(t *testing.T) {
	k, g := &kernel{}, newGroup(true)
	setup := setupOf(web("web", "weighted", 1, 1))
	engineTestWith(t, k, policies{"weighted": weighted}, setup, Config{Cluster: g}, func(t *testing.T, e *Engine, l *log) {
		e.sayAll(true, "b1", "b2")
		time.Sleep(10 * time.Second)
		k.slow(time.Second)
		reloaded := make(chan error, 1)
		go func() {
			_, err := e.Reload(t.Context(), setup)
			reloaded <- err
		}()
		settle()
		began, answered := time.Now(), make(chan time.Duration, 1)
		go func() {
			e.command(t, "web", "b1", core.OverrideRequest{Kind: core.OverrideWeight, Weight: 3, Author: "alice"})
			answered <- time.Since(began)
		}()
		synctest.Wait() // no tick, and so no policy
		for range 2 {
			e.say("web", "b2", false) // so that a commit is due
		}
		synctest.Wait()
		g.lead(false)
		if err := <-reloaded; err != nil {
			t.Error(err)
		}
		if took := <-answered; took >= commitPatience {
			t.Errorf("the command was answered after %s", took)
		}
	})
}

// A vector that comes before the word that this node leads no more is kept for then.
func TestVectorBeforeTheYield(t *testing.T) {
	k, g := &kernel{}, newGroup(true)
	engineTestWith(t, k, policies{"weighted": weighted}, setupOf(web("web", "weighted", 1, 1)), Config{Cluster: g}, func(t *testing.T, e *Engine, l *log) {
		e.sayAll(true, "b1", "b2")
		e.offer(vector(9, 1, 10000, 55536))
		e.offer(vector(9, 2, 20000, 45536))
		want(t, k, "web", 32768, 32768)
		g.lead(false)
		settle()
		want(t, k, "web", 20000, 45536)
	})
}

// A new node serves before it has heard anything, and one that was there goes on.
func TestNoVectorYet(t *testing.T) {
	followTest(t, 2, func(t *testing.T, e *Engine, k *kernel, g *group, l *log) {
		want(t, k, "web", 32768, 32768)
		e.sayAll(false, "b1")
		want(t, k, "web", 0, 65536)
		e.sayAll(true, "b1")
		want(t, k, "web", 32768, 32768)
	})
	s := web("web", "weighted", 1, 1)
	held := core.ServicePlan{Name: "web", Traffic: &s.Traffic}
	for i, b := range s.Backends {
		held.Backends = append(held.Backends, core.BackendPlan{Name: b.Name, Addr: b.Addr, Slots: []uint32{15335, 50201}[i], Alive: true})
	}
	k := &kernel{left: core.Plan{Services: []core.ServicePlan{held}}}
	engineTestWith(t, k, policies{}, setupOf(s), Config{Cluster: newGroup(false)}, func(t *testing.T, e *Engine, l *log) {
		want(t, k, "web", 15335, 50201)
		time.Sleep(2 * time.Minute)
		e.sayAll(false, "b2")
		want(t, k, "web", 65536, 0)
		e.sayAll(true, "b2")
		want(t, k, "web", 15335, 50201)
		e.offer(vector(9, 1, 40000, 25536))
		want(t, k, "web", 40000, 25536)
	})
}

// A vector speaks for backends that were not probed here yet.
func TestVectorBeforeTheFirstSample(t *testing.T) {
	k := &kernel{}
	engineTestWith(t, k, policies{}, setupOf(web("web", "weighted", 1, 1, 1)), Config{Cluster: newGroup(false)}, func(t *testing.T, e *Engine, l *log) {
		want(t, k, "web", 0, 0, 0)
		v := vector(9, 1, 20000, 45536, 0)
		v.Backends[2].Health = core.Down
		e.offer(v)
		want(t, k, "web", 20000, 45536, 0)
		e.sayAll(false, "b1")
		want(t, k, "web", 0, 65536, 0)
	})
}

// A service without connection tracking waits for its backends, unless a leader knows them.
func TestVectorEndsTheGathering(t *testing.T) {
	k, setup := &kernel{}, setupOf(web("web", "weighted", 1, 1))
	setup.Services[0].Forwarding = core.Stateless
	engineTestWith(t, k, policies{}, setup, Config{Cluster: newGroup(false)}, func(t *testing.T, e *Engine, l *log) {
		e.sayAll(true, "b1")
		want(t, k, "web", 0, 0)
		e.offer(vector(9, 1, 20000, 45536))
		want(t, k, "web", 20000, 45536)
	})
}

func TestVectorsOfOtherBackends(t *testing.T) {
	followTest(t, 2, func(t *testing.T, e *Engine, k *kernel, g *group, l *log) {
		v := vector(9, 1, 32768, 16384, 16384) // b3 is not configured here
		e.offer(v)
		want(t, k, "web", 43691, 21845)
		if why := e.latest(t, "web").Backends[0].Why; why != "lb2 gives 50.0 % (decision 4001), more here without those that are not configured here" {
			t.Errorf("why: %q", why)
		}
		e.offer(core.Vector{Service: "web", Node: "lb2", Epoch: 9, Seq: 2, Backends: []core.VectorBackend{{Name: "b2", Slots: 65536, Health: core.Up}}})
		want(t, k, "web", 0, 65536)
		if why := e.latest(t, "web").Backends[0].Why; why != "lb2 does not know it (decision 0)" {
			t.Errorf("why: %q", why)
		}
		e.sayAll(false, "b2") // nobody else
		want(t, k, "web", 65536, 0)
		e.offer(core.Vector{Service: "web", Node: "lb2", Epoch: 9, Seq: 3})
		want(t, k, "web", 65536, 0)
	})
}

// What an operator does with a backend on a follower.
func TestCommandsOnAFollower(t *testing.T) {
	followTest(t, 2, func(t *testing.T, e *Engine, k *kernel, g *group, l *log) {
		e.offer(vector(9, 1, 16384, 49152))
		id := core.BackendID{Service: "web", Backend: "b1"}
		_, err := e.Override(t.Context(), id, core.OverrideRequest{Kind: core.OverrideWeight, Weight: 5, Author: "alice"})
		if !errors.Is(err, ErrNotLeading) || !strings.Contains(err.Error(), "web is led by lb2; set the weight there") {
			t.Errorf("weight: %v", err)
		}
		res, err := e.Override(t.Context(), id, core.OverrideRequest{Kind: core.OverrideDrain, Author: "alice"})
		if err != nil || res.Outcome != core.Applied || res.NotInForce != "" {
			t.Errorf("drain: %+v, %v", res, err)
		}
		if res.Warning != "on this node only: web is led by lb2, and a drain there is for all nodes" {
			t.Errorf("drain: warning %q", res.Warning)
		}
		want(t, k, "web", 0, 65536)
		if d := e.latest(t, "web"); d.Backends[0].Why != "drain by alice" || !slices.Equal(d.Leader.Gated, []string{"b1"}) {
			t.Errorf("why %q, leader %+v", d.Backends[0].Why, d.Leader)
		}
		began := time.Now()
		res, err = e.Override(t.Context(), id, core.OverrideRequest{Kind: core.OverrideReady, Author: "alice"})
		if err != nil || res.Outcome != core.Applied || time.Since(began) > time.Second {
			t.Errorf("ready: %+v, %v after %s", res, err, time.Since(began))
		}
		want(t, k, "web", 16384, 49152)
	})
}

// A weight by command does not wait for a policy that is not called any more.
func TestWeightOutlivesTheLead(t *testing.T) {
	k, g := &kernel{}, newGroup(true)
	engineTestWith(t, k, policies{"weighted": weighted}, setupOf(web("web", "weighted", 1, 1)), Config{Cluster: g}, func(t *testing.T, e *Engine, l *log) {
		e.sayAll(true, "b1", "b2")
		id := core.BackendID{Service: "web", Backend: "b1"}
		if _, err := e.Override(t.Context(), id, core.OverrideRequest{Kind: core.OverrideWeight, Weight: 3, Author: "alice"}); err != nil {
			t.Fatal(err)
		}
		want(t, k, "web", 49152, 16384)
		if v := g.handed(); len(v) == 0 || v[len(v)-1].Backends[0].Slots != 49152 {
			t.Errorf("handed over %+v", v)
		}
		g.lead(false)
		settle()
		e.offer(vector(9, 1, 32768, 32768))
		want(t, k, "web", 32768, 32768)
		if why := e.latest(t, "web").Backends[0].Why; why != "weight 3 by alice (counts when this node leads); lb2 gives 50.0 % (decision 4001)" {
			t.Errorf("why: %q", why)
		}
		began := time.Now()
		if _, err := e.Override(t.Context(), id, core.OverrideRequest{Kind: core.OverrideReady, Author: "alice"}); err != nil || time.Since(began) > time.Second {
			t.Errorf("ready: %v after %s", err, time.Since(began))
		}
	})
}

// A drain on the leader is in its vector.
func TestLeaderTellsOfADrain(t *testing.T) {
	k, g := &kernel{took: time.Second}, newGroup(true)
	engineTestWith(t, k, policies{"weighted": weighted}, setupOf(web("web", "weighted", 1, 1)), Config{Cluster: g}, func(t *testing.T, e *Engine, l *log) {
		e.sayAll(true, "b1", "b2")
		time.Sleep(10 * time.Second)
		g.handed()
		go e.Override(t.Context(), core.BackendID{Service: "web", Backend: "b1"}, core.OverrideRequest{Kind: core.OverrideDrain, Author: "alice"})
		settle()
		if v := g.handed(); len(v) != 1 || v[0].Backends[0].Slots != 0 || v[0].Backends[1].Slots != core.Slots {
			t.Errorf("before the commit: handed over %+v", v)
		}
		want(t, k, "web", 32768, 32768)
		time.Sleep(10 * time.Second)
		want(t, k, "web", 0, 65536)
		if v := g.handed(); len(v) != 0 {
			t.Errorf("handed over %+v without a change", v)
		}
	})
}

// The numbers of what is handed over go up, through reloads too, and what is not in force
// is not handed over.
func TestReloadOfALeader(t *testing.T) {
	k, g := &kernel{}, newGroup(true)
	one := setupOf(web("web", "weighted", 1, 1))
	engineTestWith(t, k, policies{"weighted": weighted}, one, Config{Cluster: g}, func(t *testing.T, e *Engine, l *log) {
		e.sayAll(true, "b1", "b2")
		time.Sleep(time.Second)
		before := g.handed()
		k.mu.Lock()
		k.refuse = map[string]error{"web": errors.New("no")}
		k.mu.Unlock()
		if _, err := e.Reload(t.Context(), setupOf(web("web", "weighted", 1, 1, 1))); err == nil {
			t.Fatal("the reload was not refused")
		}
		if v := g.handed(); len(v) != 0 {
			t.Errorf("handed over %+v of a setup that is not in force", v)
		}
		k.mu.Lock()
		k.refuse = nil
		k.mu.Unlock()
		if _, err := e.Reload(t.Context(), setupOf(web("web", "weighted", 1, 1, 1))); err != nil {
			t.Fatal(err)
		}
		after := g.handed()
		if len(after) == 0 || len(after[0].Backends) != 3 {
			t.Fatalf("handed over %+v", after)
		}
		all := append(before, after...)
		for i := range all[1:] {
			if all[i+1].Seq <= all[i].Seq {
				t.Errorf("number %d after %d", all[i+1].Seq, all[i].Seq)
			}
		}
	})
}

func TestReloadOfAFollower(t *testing.T) {
	followTest(t, 2, func(t *testing.T, e *Engine, k *kernel, g *group, l *log) {
		e.offer(vector(9, 1, 16384, 49152))
		setup := setupOf(web("web", "weighted", 1, 1, 1), web("api", "weighted", 1, 3))
		k.slow(50 * time.Millisecond)
		go func() {
			time.Sleep(20 * time.Millisecond) // while the reload is in the kernel
			e.OfferVector(vector(9, 2, 32768, 16384, 16384))
		}()
		if _, err := e.Reload(t.Context(), setup); err != nil {
			t.Fatal(err)
		}
		k.slow(0)
		time.Sleep(200 * time.Millisecond)
		want(t, k, "web", 32768, 16384, 16384) // b3 is not known to be up, but lb2 says so
		for _, b := range []string{"b1", "b2"} {
			e.say("api", b, true)
		}
		settle()
		want(t, k, "api", 16384, 49152) // nobody was heard of: by configured weight
		v := vector(9, 1, 1, 65535)
		v.Service = "api"
		e.offer(v)
		want(t, k, "api", 1, 65535)
		if _, err := e.Reload(t.Context(), setupOf(web("web", "weighted", 1, 1))); err != nil {
			t.Fatal(err)
		}
		e.offer(v) // of a service that is gone
		want(t, k, "web", 43691, 21845)
	})
}

// A commit names the decision that it made real of each service.
func TestCommitNamesItsDecisions(t *testing.T) {
	k := &kernel{took: time.Millisecond}
	setup := setupOf(web("api", "weighted", 1, 1), web("web", "weighted", 1, 1))
	engineTest(t, k, policies{"weighted": weighted}, setup, func(t *testing.T, e *Engine, l *log) {
		e.sayAll(true, "b1", "b2")
		time.Sleep(5 * time.Second)
		if _, err := e.Reload(t.Context(), setup); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		l.mu.Lock()
		defer l.mu.Unlock()
		applied := map[uint64]string{}
		for _, d := range l.decisions {
			if d.Outcome == core.Applied {
				applied[d.Seq] = d.Service
			}
		}
		named := 0
		for _, c := range l.commits {
			if len(c.Decisions) != len(c.Services) {
				t.Fatalf("%d services and %d decisions", len(c.Services), len(c.Decisions))
			}
			for i, seq := range c.Decisions {
				if seq == 0 {
					continue
				}
				if named++; applied[seq] != c.Services[i] {
					t.Errorf("decision %d of %s is in a commit of %s", seq, applied[seq], c.Services[i])
				}
			}
		}
		if named != len(applied) || named < 4 {
			t.Errorf("commits name %d decisions, %d were applied", named, len(applied))
		}
	})
}
