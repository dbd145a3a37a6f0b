// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core"
)

// clients are connection tracking whose counts the test sets.
type clients struct {
	table
	mu     sync.Mutex
	counts map[core.BackendID]core.FlowCount // guarded by mu
}

func (c *clients) Counts() map[core.BackendID]core.FlowCount {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[core.BackendID]core.FlowCount{}
	for id, n := range c.counts {
		out[id] = n
	}
	return out
}

// meet has clients make connections to a backend that go wrong, or one that goes well
// if there are none of these.
func (c *clients) meet(backend string, unanswered, refused uint32) {
	c.mu.Lock()
	if c.counts == nil {
		c.counts = map[core.BackendID]core.FlowCount{}
	}
	id := core.BackendID{Service: "web", Backend: backend}
	n := c.counts[id]
	n.Opened += uint64(max(1, unanswered+refused))
	n.Unanswered, n.Refused = n.Unanswered+uint64(unanswered), n.Refused+uint64(refused)
	if n.UnansweredRow += unanswered; unanswered == 0 {
		n.UnansweredRow = 0
	}
	if n.RefusedRow += refused; refused == 0 {
		n.RefusedRow = 0
	}
	c.counts[id] = n
	c.mu.Unlock()
	time.Sleep(meterEvery)
	synctest.Wait()
}

// passiveTest runs a service of n backends with passive health.
func passiveTest(t *testing.T, n int, ratio float64, f func(t *testing.T, e *Engine, l *log, k *kernel, c *clients)) {
	t.Helper()
	k, c := &kernel{}, &clients{}
	s := web("web", "weighted", slices.Repeat([]uint32{1}, n)...)
	s.OnDown = core.Reset
	s.Shaping.SlowStart, s.Shaping.SlowStartMin, s.Shaping.Step = 10*time.Second, 0.1, 0
	s.Passive = core.PassiveRule{Unanswered: 5, Resets: 3, Eject: time.Minute, Max: 5 * time.Minute, MaxRatio: ratio}
	engineTestWith(t, k, policies{"weighted": weighted}, setupOf(s), Config{Flows: c}, func(t *testing.T, e *Engine, l *log) {
		for _, b := range s.Backends {
			e.say("web", b.Name, true)
		}
		time.Sleep(20 * time.Second)
		l.changes()
		f(t, e, l, k, c)
	})
}

func TestPassiveEjects(t *testing.T) {
	passiveTest(t, 2, 0.5, func(t *testing.T, e *Engine, l *log, k *kernel, c *clients) {
		c.meet("b1", 4, 0)
		c.meet("b1", 0, 0)
		c.meet("b1", 4, 0)
		want(t, k, "web", 32768, 32768) // one in between was answered
		c.meet("b1", 1, 0)
		want(t, k, "web", 0, 65536)
		const note = "5 connections in a row unanswered; ejected for 1m (1st time)"
		if diff := cmp.Diff([]string{"b1 up→down passive SYNLOST: " + note}, l.changes()); diff != "" {
			t.Errorf("changes (-want +got):\n%s", diff)
		}
		b := e.backend(t, 0)
		if left := time.Until(b.OutUntil); b.State != core.StateEjected || b.Why != note || left > time.Minute || left < 59*time.Second {
			t.Errorf("b1 is %s for another %s: %s", b.State, left, b.Why)
		}
		if diff := cmp.Diff([]bool{false, true}, k.alive("web")); diff != "" {
			t.Errorf("clients bound to it stay there (-want +got):\n%s", diff)
		}
		time.Sleep(50 * time.Second)
		if calls := c.called(); len(calls) > 0 {
			t.Errorf("its open connections are cleared away: %v", calls)
		}
		want(t, k, "web", 0, 65536)
		time.Sleep(11 * time.Second)
		if got := k.get("web")[0]; got == 0 || got > 16384 {
			t.Errorf("it begins again with %d slots", got)
		}
		if b := e.backend(t, 0); !b.OutUntil.IsZero() {
			t.Errorf("it serves, and is out until %s", b.OutUntil)
		}
		if diff := cmp.Diff([]string{"b1 down→up passive RETRY: " + core.PassiveOver.Explain()}, l.changes()); diff != "" {
			t.Errorf("changes (-want +got):\n%s", diff)
		}
		c.meet("b1", 4, 0) // those of before the retry do not count
		time.Sleep(15 * time.Second)
		want(t, k, "web", 32768, 32768)
		c.meet("b1", 1, 3)
		if b := e.backend(t, 0); b.Why != "3 connections in a row refused; ejected for 2m (2nd time)" {
			t.Errorf("b1 is %s: %s", b.State, b.Why)
		}
	})
}

// Of four backends with a ratio of a half at most two are out, and never the last one
// that serves.
func TestPassiveLeavesSome(t *testing.T) {
	passiveTest(t, 4, 0.5, func(t *testing.T, e *Engine, l *log, k *kernel, c *clients) {
		for _, b := range []string{"b1", "b2", "b3"} {
			c.meet(b, 5, 0)
		}
		time.Sleep(2 * time.Second)
		want(t, k, "web", 0, 0, 32768, 32768)
		if told := l.told("probe"); !slices.ContainsFunc(told, func(s string) bool { return strings.Contains(s, "2 of 4 backends are ejected already") }) {
			t.Errorf("told %q", told)
		}
		l.changes()
		// The others die: what is only ejected is let in at once.
		for _, b := range []string{"b3", "b4"} {
			e.bad(b, 2)
		}
		time.Sleep(2 * time.Second)
		if got := k.get("web"); got[0] == 0 || got[1] == 0 || got[2] != 0 || got[3] != 0 {
			t.Errorf("slots %v", got)
		}
		if ch := l.changes(); !slices.Contains(ch, "b1 down→up  RETRY: no other backend is up: clients are sent there again") {
			t.Errorf("changes %q", ch)
		}
		c.meet("b1", 0, 0)
		c.meet("b1", 5, 0)
		c.meet("b2", 0, 0)
		c.meet("b2", 5, 0)
		time.Sleep(2 * time.Second)
		want(t, k, "web", 0, 65536, 0, 0)
	})
}

// The probes of an ejected backend go on: when they find it dead its connections are
// cleared away as on_down says, and it stays down after the time out.
func TestPassiveAndDeath(t *testing.T) {
	passiveTest(t, 2, 0.5, func(t *testing.T, e *Engine, l *log, k *kernel, c *clients) {
		c.meet("b1", 5, 0)
		e.bad("b1", 2)
		time.Sleep(2 * time.Second)
		if b := e.backend(t, 0); b.State != core.StateDown || !strings.HasPrefix(b.Why, "down: alive L4CON") {
			t.Errorf("b1 is %s: %s", b.State, b.Why)
		}
		if diff := cmp.Diff([]string{"down b1 reset"}, c.called()); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
		c.meet("b1", 20, 0) // stragglers
		time.Sleep(2 * time.Minute)
		want(t, k, "web", 0, 65536)
		e.good("b1", 2)
		time.Sleep(20 * time.Second)
		want(t, k, "web", 32768, 32768) // stragglers of its death do not eject it
	})
}

// An ejection survives a reload; one without the rule ends it.
func TestPassiveAndReload(t *testing.T) {
	passiveTest(t, 2, 0.5, func(t *testing.T, e *Engine, l *log, k *kernel, c *clients) {
		c.meet("b1", 5, 0)
		setup, err := e.Setup(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Reload(t.Context(), setup); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		want(t, k, "web", 0, 65536)
		setup.Services = slices.Clone(setup.Services)
		setup.Services[0].Passive = core.PassiveRule{}
		l.changes()
		if _, err := e.Reload(t.Context(), setup); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if diff := cmp.Diff([]string{"b1 down→up passive RETRY: passive health is switched off: clients are sent there again"}, l.changes()); diff != "" {
			t.Errorf("changes (-want +got):\n%s", diff)
		}
		time.Sleep(20 * time.Second)
		want(t, k, "web", 32768, 32768)
	})
}

// While we suspect ourselves nobody is ejected, and what clients met then does not
// count afterwards.
func TestPassiveUnderSuspicion(t *testing.T) {
	k, c := &kernel{}, &clients{}
	s := web("web", "weighted", 1, 1, 1, 1)
	s.Passive = core.PassiveRule{Unanswered: 5, Eject: time.Minute, Max: time.Minute, MaxRatio: 0.5}
	setup := setupOf(s)
	setup.Probing = core.Probing{SuspectRatio: 0.5, SuspectMin: 4, SuspectFor: time.Minute}
	engineTestWith(t, k, policies{"weighted": weighted}, setup, Config{Flows: c}, func(t *testing.T, e *Engine, l *log) {
		all := []string{"b1", "b2", "b3", "b4"}
		e.up(all...)
		for _, b := range all {
			e.bad(b, 1)
		}
		c.meet("b1", 5, 0)
		for _, b := range all {
			e.good(b, 1)
		}
		time.Sleep(2 * time.Second)
		want(t, k, "web", 16384, 16384, 16384, 16384)
		c.meet("b1", 5, 0)
		want(t, k, "web", 0, 21846, 21845, 21845)
	})
}

// In a panic an ejected backend serves with all others, and keeps its clients.
func TestPassiveInPanic(t *testing.T) {
	k, c := &kernel{}, &clients{}
	s := web("web", "weighted", 1, 1, 1, 1)
	s.Shaping.Panic = 0.6
	s.Passive = core.PassiveRule{Unanswered: 5, Eject: time.Minute, Max: time.Minute, MaxRatio: 0.5}
	engineTestWith(t, k, policies{"weighted": weighted}, setupOf(s), Config{Flows: c}, func(t *testing.T, e *Engine, l *log) {
		e.up("b1", "b2", "b3", "b4")
		c.meet("b1", 5, 0)
		time.Sleep(2 * time.Second)
		want(t, k, "web", 0, 21846, 21845, 21845)
		e.bad("b2", 2)
		time.Sleep(2 * time.Second)
		want(t, k, "web", 16384, 16384, 16384, 16384)
		if !k.alive("web")[0] || len(c.called()) > 0 {
			t.Errorf("alive %v, calls %v", k.alive("web"), c.called())
		}
	})
}

// A policy that asks for it sees how many connections go wrong; nobody else pays for
// it.
func TestPolicyReadsWhatGoesWrong(t *testing.T) {
	see := &seeing{}
	k, c := &kernel{}, &clients{}
	setup := setupOf(web("web", "mine", 1, 1))
	setup.Metrics = map[string][]string{"mine": {core.MetricResets, core.MetricUnanswered}}
	engineTestWith(t, k, policies{"mine": see.schedule}, setup, Config{Flows: c}, func(t *testing.T, e *Engine, l *log) {
		e.up("b1", "b2")
		for range 20 {
			c.meet("b1", 1, 0)
			c.meet("b1", 0, 0)
			c.meet("b1", 0, 0)
			c.meet("b1", 0, 1)
		}
		time.Sleep(2 * time.Second)
		in := see.last().Backends[0].Custom
		for i, r := range in {
			if !r.Known || r.Value < 0.1 || r.Value > 0.4 || r.Window < 4*time.Second {
				t.Errorf("%s: %+v, want about a quarter", see.last().Metrics[i], r)
			}
		}
		d, err := e.Decisions(t.Context(), "web", 1)
		if err != nil || !slices.ContainsFunc(d[0].Backends[0].Inputs, func(in core.Input) bool { return in.Metric == core.MetricUnanswered && in.Unit == "ratio" }) {
			t.Errorf("inputs %+v, %v", d[0].Backends[0].Inputs, err)
		}
		if r := see.last().Backends[1].Custom[0]; r.Known {
			t.Errorf("of b2, which nobody asked: %+v", r)
		}
	})
	setup.Metrics = nil
	engineTestWith(t, k, policies{"mine": see.schedule}, setup, Config{Flows: c}, func(t *testing.T, e *Engine, l *log) {
		e.up("b1", "b2")
		c.meet("b1", 1, 0)
		_ = e.do(t.Context(), func() {
			if b := e.services["web"].backends[0]; b.rare != nil || b.custom != nil {
				t.Errorf("kept for nobody: %+v", b.rare)
			}
		})
	})
}
