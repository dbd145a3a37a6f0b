// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core"
)

// notes are those of the latest vector that was handed over; nil if none was since.
func (g *group) notes() []string {
	handed := g.handed()
	if len(handed) == 0 {
		return nil
	}
	var out []string
	for _, b := range handed[len(handed)-1].Backends {
		out = append(out, b.Note)
	}
	return out
}

// noted is a service of four backends, one in reserve, and a sorry server.
func noted() Setup {
	s := web("web", "weighted", 1, 1, 1, 1, 1)
	s.Backends[0].MaxConnections = 100
	s.Backends[3].Priority, s.Backends[4].Sorry = 1, true
	s.Passive = core.PassiveRule{Unanswered: 5, Eject: time.Hour, Max: time.Hour, MaxRatio: 1}
	return setupOf(s)
}

// notedTest runs an engine that leads it, with all backends up.
func notedTest(t *testing.T, setup Setup, f func(t *testing.T, e *Engine, g *group, c *clients)) {
	t.Helper()
	g, c := newGroup(true), &clients{}
	engineTestWith(t, &kernel{}, policies{"weighted": weighted}, setup, Config{Cluster: g, Flows: c}, func(t *testing.T, e *Engine, l *log) {
		for _, b := range []string{"b1", "b2", "b3", "b4"} {
			e.sayAll(true, b)
		}
		time.Sleep(5 * time.Second)
		f(t, e, g, c)
	})
}

const inReserve, sorryWaits = "in reserve: 3 of 3 backends of priority 0 are up", "sorry server: in wait"

// Each reason other than the policy's opinion is in the vector, and nothing where there is
// none.
func TestVectorSaysWhy(t *testing.T) {
	agent := func(e *Engine, admin core.AdminState, why string) {
		e.Offer(core.Sample{Backend: core.BackendID{Service: "web", Backend: "b1"}, Probe: "agent", Type: core.ProbeAgent, Role: core.HealthRole, Node: "test",
			OK: true, Code: core.AgentOK, Admin: admin, Detail: why, TakenAt: time.Now()})
	}
	drained := core.OverrideRequest{Kind: core.OverrideDrain, Author: "alice", Reason: "disk swap"}
	weight := core.OverrideRequest{Kind: core.OverrideWeight, Weight: 3, Author: "bob"}
	long := core.OverrideRequest{Kind: core.OverrideDrain, Author: "alice", Reason: strings.Repeat("ä", 100)}
	for name, tt := range map[string]struct {
		act  func(t *testing.T, e *Engine, c *clients)
		want string // the note of b1
		rest []string
	}{
		"drain": {func(t *testing.T, e *Engine, _ *clients) { e.command(t, "web", "b1", drained) }, "drained by alice, disk swap", nil},
		"a long reason": {func(t *testing.T, e *Engine, _ *clients) { e.command(t, "web", "b1", long) },
			"drained by alice, " + strings.Repeat("ä", 49) + "…", nil},
		"weight":   {func(t *testing.T, e *Engine, _ *clients) { e.command(t, "web", "b1", weight) }, "weight 3 by bob", []string{"", "", inReserve, sorryWaits}},
		"weight 0": {func(t *testing.T, e *Engine, _ *clients) { e.command(t, "web", "b1", weigh(0)) }, "weight 0 by alice", nil},
		"down":     {func(t *testing.T, e *Engine, _ *clients) { e.sayAll(false, "b1") }, "down: alive L4CON at test: ", nil},
		"ejected":  {func(t *testing.T, e *Engine, c *clients) { c.meet("b1", 6, 0) }, "6 connections in a row unanswered; ejected for 1h (1st time)", nil},
		"full":     {func(t *testing.T, e *Engine, c *clients) { c.open("b1", 100) }, "full, of 100 connections", nil},
		"agent":    {func(t *testing.T, e *Engine, _ *clients) { agent(e, core.AdminMaint, "kernel update, load 3.1") }, "its agent asks for maint: kernel update, load 3.1", nil},
	} {
		t.Run(name, func(t *testing.T) {
			setup := noted()
			if name == "agent" {
				setup.Probes = map[string]core.ProbeSpec{"alive": setup.Probes["alive"], "agent": {Name: "agent", Type: core.ProbeAgent, Role: core.HealthRole, Rise: 1, Fall: 1}}
				setup.Services[0].Probes = []string{"alive", "agent"}
			}
			notedTest(t, setup, func(t *testing.T, e *Engine, g *group, c *clients) {
				if diff := cmp.Diff([]string{"", "", "", inReserve, sorryWaits}, g.notes()); diff != "" {
					t.Fatalf("all are well (-want +got):\n%s", diff)
				}
				tt.act(t, e, c)
				time.Sleep(3 * time.Second)
				if tt.rest == nil {
					tt.rest = []string{"", "", "in reserve: 2 of 3 backends of priority 0 are up, 1 is needed", sorryWaits}
					if name == "full" {
						tt.rest[2] = "in reserve: 2 of 3 backends of priority 0 are up and not full, 1 is needed"
					} else if name == "drain" || name == "a long reason" || name == "weight 0" || name == "agent" {
						tt.rest[2] = "in reserve: 2 of 2 backends of priority 0 are up"
					}
				}
				got := g.notes()
				if len(got) == 0 || !strings.HasPrefix(got[0], tt.want) {
					t.Fatalf("notes %q, want %q at first", got, tt.want)
				}
				if diff := cmp.Diff(tt.rest, got[1:]); diff != "" {
					t.Errorf("the others (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// open has so many connections at a backend.
func (c *clients) open(backend string, n uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil {
		c.counts = map[core.BackendID]core.FlowCount{}
	}
	id := core.BackendID{Service: "web", Backend: backend}
	f := c.counts[id]
	f.Open = n
	c.counts[id] = f
}

// Another reason for the same slots is sent, once; numbers that move by themselves are not.
func TestVectorOfAnotherReason(t *testing.T) {
	setup := noted()
	setup.Services[0].Shaping = core.Shaping{StaleAfter: 10 * time.Second, Hold: 20 * time.Second}
	notedTest(t, setup, func(t *testing.T, e *Engine, g *group, c *clients) {
		e.command(t, "web", "b1", drain)
		time.Sleep(time.Minute)
		first := g.handed()
		e.command(t, "web", "b1", core.OverrideRequest{Kind: core.OverrideDrain, Author: "bob", Reason: "disk swap"})
		time.Sleep(time.Minute)
		second := g.handed()
		if len(second) != 1 || second[0].Backends[0].Note != "drained by bob, disk swap" {
			t.Fatalf("%d vectors after another reason: %+v", len(second), second)
		}
		was := first[len(first)-1].Backends
		if !slices.EqualFunc(was, second[0].Backends, func(a, b core.VectorBackend) bool { return a.Slots == b.Slots }) {
			t.Errorf("the slots moved, which proves nothing: %+v and %+v", was, second[0].Backends)
		}
		e.command(t, "web", "b1", core.OverrideRequest{Kind: core.OverrideReady, Author: "bob"})
		c.open("b1", 200)
		time.Sleep(10 * time.Second)
		g.handed()
		for n := range 20 {
			c.open("b1", uint64(150+n))
			e.Offer(core.Sample{Backend: core.BackendID{Service: "web", Backend: "b2"}, Probe: "alive", Type: core.ProbeTCP, Role: core.HealthRole, Node: "test",
				Code: core.L4Refused, OK: n%2 == 0, Detail: fmt.Sprintf("after %d ms", n), TakenAt: time.Now()})
			time.Sleep(2 * time.Second)
			synctest.Wait()
		}
		if v := g.handed(); len(v) != 0 {
			t.Errorf("%d vectors for numbers that moved, as %+v", len(v), v[0].Backends)
		}
	})
}

// A share that nobody has an opinion of has no age in its note.
func TestVectorOfOldOpinions(t *testing.T) {
	b := &backend{spec: &core.Backend{}}
	for step, want := range map[core.Step]string{
		{Name: "freshness", Note: "the policy has had no opinion for 12s: decaying to the configured weight"}: "the policy has no opinion: decaying to the configured weight",
		{Name: "freshness", Note: "no cpu: SNMPTOUT, share held"}:                                             "no cpu: SNMPTOUT, share held",
		{Name: "slow_start", Note: "up for 3.2s of 10s"}:                                                      "slow start",
		{Name: "full", Note: "full: at its limit"}:                                                            "full",
		{Name: "panic", Note: "only 1 of 4 backends are up"}:                                                  "panic: only 1 of 4 backends are up",
		{Name: "step", Note: "at most 25 % in one decision"}:                                                  "",
	} {
		if got := b.stepNote(step); got != want {
			t.Errorf("%s %q: %q, want %q", step.Name, step.Note, got, want)
		}
	}
	shaped := core.Shape(core.Shaping{Hold: time.Second}, 1, []core.ShapeBackend{
		{Weight: 1, Health: core.Up, Opinion: core.Hold, HeldFor: time.Minute, Prev: 0.3, UpFor: -1}, {Weight: 1, Health: core.Up, Opinion: 1, Prev: 0.7, UpFor: -1}}, core.Steady)
	held := core.Shape(core.Shaping{Hold: time.Minute}, 1, []core.ShapeBackend{{Weight: 1, Health: core.Up, Opinion: core.Hold, Prev: 1, UpFor: -1}}, core.Steady)
	if got := b.stepNote(held[0].Steps[0]); held[0].Steps[0].Name != "freshness" || got != "" {
		t.Errorf("of %+v: %q, want nothing", held[0].Steps[0], got)
	}
	if got := b.stepNote(shaped[0].Steps[0]); got != "the policy has no opinion: decaying to the configured weight" {
		t.Errorf("of %+v: %q", shaped[0].Steps[0], got)
	}
}

// TestVectorOfHolding: a policy that has an opinion now and then, such as where there is a new
// sample, makes no vector of each call.
func TestVectorOfHolding(t *testing.T) {
	g := newGroup(true)
	var calls atomic.Int64
	holding := func(ctx context.Context, s core.Snapshot) core.Result {
		r := weighted(ctx, s)
		if calls.Add(1)%2 == 0 {
			r.Weights[0] = core.Hold
		}
		return r
	}
	setup := setupOf(web("web", "holding", 1, 1, 1, 1)) // of equal shares, which are whole slots
	setup.Services[0].Shaping.Hold = time.Minute
	engineTestWith(t, &kernel{}, policies{"holding": holding}, setup, Config{Cluster: g}, func(t *testing.T, e *Engine, _ *log) {
		for _, b := range []string{"b1", "b2", "b3", "b4"} {
			e.sayAll(true, b)
		}
		time.Sleep(5 * time.Second)
		g.handed()
		before := calls.Load()
		time.Sleep(30 * time.Second)
		if v, n := g.handed(), calls.Load()-before; len(v) != 0 || n < 20 {
			t.Errorf("%d vectors of %d calls whose slots are the same: %+v; want none of some 30", len(v), n, v)
		}
	})
}

// A follower says what the leader says, also when that alone has changed.
func TestFollowerSaysWhatTheLeaderSays(t *testing.T) {
	followTest(t, 3, func(t *testing.T, e *Engine, k *kernel, g *group, l *log) {
		v := vector(9, 1, 0, 32768, 32768)
		e.offer(v)
		if why := e.latest(t, "web").Backends[0].Why; why != "lb2 gives 0.0 % (decision 4001)" {
			t.Errorf("of an older node: %q", why)
		}
		v = vector(9, 2, 0, 32768, 32768)
		v.Backends[0].Note, v.Backends[1].Note = "drained by alice, disk swap", "weight 50 by bob"
		e.offer(v)
		d := e.latest(t, "web")
		if d.Outcome != core.Unchanged {
			t.Errorf("outcome %s of the same slots", d.Outcome)
		}
		e.sayAll(false, "b3")
		d = e.latest(t, "web")
		for i, want := range []string{
			"lb2 gives 0.0 %: drained by alice, disk swap (decision 4002)",
			"lb2 gives 50.0 %: weight 50 by bob (decision 4002), more here without b3",
		} {
			if why := d.Backends[i].Why; why != want {
				t.Errorf("why b%d: %q, want %q", i+1, why, want)
			}
		}
		if view := e.backend(t, 0); view.Why != d.Backends[0].Why {
			t.Errorf("show says %q", view.Why)
		}
	})
}
