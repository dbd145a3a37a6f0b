// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core"
)

// A table is connection tracking that the test fills.
type table struct {
	mu    sync.Mutex
	open  map[core.BackendID]uint64 // guarded by mu
	calls []string                  // guarded by mu; of SetDown and SetUp
	k     *kernel                   // nil, or asked for its slots at each call
}

func (f *table) Counts() map[core.BackendID]core.FlowCount {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[core.BackendID]core.FlowCount{}
	for id, n := range f.open {
		out[id] = core.FlowCount{Open: n, Opened: n}
	}
	return out
}

func (f *table) AsOf() (time.Time, bool) { return time.Time{}, true }

func (f *table) set(backend string, n uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open == nil {
		f.open = map[core.BackendID]uint64{}
	}
	f.open[core.BackendID{Service: "web", Backend: backend}] = n
}

func (f *table) SetIdle(core.BackendID, bool) {}

func (f *table) SetDown(id core.BackendID, onDown core.OnDown) {
	f.note("down " + id.Backend + " " + string(onDown))
}
func (f *table) SetUp(id core.BackendID) { f.note("up " + id.Backend) }

func (f *table) note(s string) {
	if f.k != nil && strings.HasPrefix(s, "down b1") && f.k.get("web")[0] != 0 {
		s += " too early"
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, s)
}

func (f *table) called() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// A full backend leaves the weights within a count, and is back when it has room
// for a tenth of its limit.
func TestMaxConnections(t *testing.T) {
	k, f := &kernel{}, &table{}
	s := web("web", "weighted", 1, 1)
	s.Backends[0].MaxConnections = 100
	engineTestWith(t, k, policies{"weighted": weighted}, setupOf(s), Config{Flows: f}, func(t *testing.T, e *Engine, l *log) {
		e.up("b1", "b2")
		for _, step := range []struct {
			open  uint64
			slots uint32
			state core.BackendState
		}{
			{99, 32768, core.StateUp}, {100, 0, core.StateFull}, {95, 0, core.StateFull}, {90, 0, core.StateFull},
			{89, 32768, core.StateUp}, {99, 32768, core.StateUp}, {1000, 0, core.StateFull},
		} {
			f.set("b1", step.open)
			time.Sleep(meterEvery)
			synctest.Wait()
			b := e.backend(t, 0)
			if got := k.get("web")[0]; got != step.slots || b.State != step.state {
				t.Errorf("%d open: %d slots, %s; want %d, %s (%s)", step.open, got, b.State, step.slots, step.state, b.Why)
			}
			if !k.alive("web")[0] {
				t.Errorf("%d open: its clients are sent away", step.open)
			}
		}
		d, err := e.Decisions(t.Context(), "web", 1)
		if err != nil || d[0].Trigger != "b1 is full: 1000 of 100 connections" {
			t.Errorf("trigger %q, %v", d[0].Trigger, err)
		}
		f.set("b1", 0)
		time.Sleep(meterEvery)
		synctest.Wait()
		want(t, k, "web", 32768, 32768)
	})
}

// The second group serves once too few of the first are up, and no longer.
func TestPriorityGroups(t *testing.T) {
	k := &kernel{}
	s := web("web", "weighted", 1, 1, 1)
	s.MinUp, s.Backends[2].Priority = 2, 1
	engineTest(t, k, policies{"weighted": weighted}, setupOf(s), func(t *testing.T, e *Engine, l *log) {
		e.up("b1", "b2", "b3")
		want(t, k, "web", 32768, 32768, 0)
		if b := e.backend(t, 2); b.State != core.StateReserve || b.Priority != 1 {
			t.Errorf("b3 is %s of %d: %s", b.State, b.Priority, b.Why)
		}
		e.say("web", "b1", false)
		e.say("web", "b1", false)
		synctest.Wait()
		want(t, k, "web", 0, 32768, 32768)
		if b := e.backend(t, 2); b.State != core.StateUp {
			t.Errorf("b3 is %s: %s", b.State, b.Why)
		}
		e.say("web", "b1", true)
		e.say("web", "b1", true)
		synctest.Wait()
		want(t, k, "web", 32768, 32768, 0)
		e.command(t, "web", "b1", drain) // a drained one counts for nothing
		want(t, k, "web", 0, 32768, 32768)
	})
}

// A sorry server is not probed, and is fed only while nobody else is left; its
// clients are not kept then.
func TestSorryServer(t *testing.T) {
	k := &kernel{}
	s := web("web", "weighted", 1, 1)
	s.Backends[1].Sorry = true
	engineTest(t, k, policies{"weighted": weighted}, setupOf(s), func(t *testing.T, e *Engine, l *log) {
		want(t, k, "web", 0, 65536)
		e.up("b1")
		want(t, k, "web", 65536, 0)
		if diff := cmp.Diff([]bool{true, false}, k.alive("web")); diff != "" {
			t.Errorf("alive (-want +got):\n%s", diff)
		}
		b := e.backend(t, 1)
		if b.State != core.StateSorry || b.Health != core.Up || len(b.Probes) != 0 || !b.Sorry {
			t.Errorf("the sorry server: %+v", b)
		}
		e.command(t, "web", "b1", drain)
		want(t, k, "web", 0, 65536)
	})
}

// In a panic even those that are down serve, and keep their clients.
func TestPanic(t *testing.T) {
	k, f := &kernel{}, &table{}
	s := web("web", "mine", 1, 1, 1, 1)
	s.Shaping.Panic = 0.5
	p := policies{"mine": func(context.Context, core.Snapshot) core.Result { return core.Result{Weights: []float64{5, 1, 1, 1}} }}
	engineTestWith(t, k, p, setupOf(s), Config{Flows: f}, func(t *testing.T, e *Engine, l *log) {
		e.up("b1", "b2", "b3", "b4")
		time.Sleep(10 * time.Second)
		want(t, k, "web", 40960, 8192, 8192, 8192)
		_ = e.do(t.Context(), func() { // so that all are taken as one burst
			for _, b := range []string{"b1", "b2", "b3"} {
				e.say("web", b, false)
				e.say("web", b, false)
			}
		})
		synctest.Wait()
		want(t, k, "web", 16384, 16384, 16384, 16384)
		if diff := cmp.Diff([]bool{true, true, true, true}, k.alive("web")); diff != "" {
			t.Errorf("alive (-want +got):\n%s", diff)
		}
		if calls := f.called(); len(calls) > 0 {
			t.Errorf("their connections are cleared away: %v", calls)
		}
	})
}

// What a dead backend leaves behind is cleared away once the kernel sends it
// nobody any more, as on_down says.
func TestOnDown(t *testing.T) {
	for _, onDown := range []core.OnDown{core.Keep, core.Reset} {
		k := &kernel{took: 10 * time.Millisecond}
		f := &table{k: k}
		s := web("web", "weighted", 1, 1)
		s.OnDown = onDown
		engineTestWith(t, k, policies{"weighted": weighted}, setupOf(s), Config{Flows: f}, func(t *testing.T, e *Engine, l *log) {
			e.up("b1", "b2")
			e.command(t, "web", "b2", drain) // idle, but not dead
			e.say("web", "b1", false)
			e.say("web", "b1", false)
			time.Sleep(time.Second)
			if diff := cmp.Diff([]string{"down b1 " + string(onDown)}, f.called()); diff != "" {
				t.Errorf("after its death (-want +got):\n%s", diff)
			}
			if _, err := e.Reload(t.Context(), setupOf(s)); err != nil {
				t.Fatal(err)
			}
			e.say("web", "b1", true)
			e.say("web", "b1", true)
			e.say("web", "b2", false) // it dies while it drains
			e.say("web", "b2", false)
			time.Sleep(time.Second)
			if diff := cmp.Diff([]string{"down b1 " + string(onDown), "up b1", "down b2 " + string(onDown)}, f.called()); diff != "" {
				t.Errorf("after it came back (-want +got):\n%s", diff)
			}
		})
	}
}

// link is a network whose link addresses the test sets.
type link struct {
	mu      sync.Mutex
	hops    map[netip.Addr]core.Hop // guarded by mu
	watched []netip.Addr            // guarded by mu
	changed chan struct{}
}

func (n *link) Watch(addrs []netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.watched = addrs
}

func (n *link) Hop(a netip.Addr) (core.Hop, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h, ok := n.hops[a]
	return h, ok
}

func (n *link) Why(netip.Addr) string { return "it does not answer" }

// Changed is called in the bubble, to which the channel has to belong.
func (n *link) Changed() <-chan struct{} {
	n.changed = make(chan struct{}, 1)
	return n.changed
}

func (n *link) set(a netip.Addr, mac byte) {
	n.mu.Lock()
	if n.hops == nil {
		n.hops = map[netip.Addr]core.Hop{}
	}
	n.hops[a] = core.Hop{MAC: [6]byte{2, 0, 0, 0, 0, mac}, Device: "eth0"}
	n.mu.Unlock()
	n.changed <- struct{}{}
	synctest.Wait()
}

// A backend of dsr gets nobody until its link address is known, and follows it.
func TestHops(t *testing.T) {
	k := &kernel{}
	s := web("web", "weighted", 1, 1)
	s.Forwarding = core.DSR
	n := &link{}
	engineTestWith(t, k, policies{"weighted": weighted}, setupOf(s), Config{Neighbours: n}, func(t *testing.T, e *Engine, l *log) {
		e.up("b1", "b2")
		want(t, k, "web", 0, 0)
		if diff := cmp.Diff([]string{"10.0.0.1", "10.0.0.2"}, texts(n.watched)); diff != "" {
			t.Errorf("watched (-want +got):\n%s", diff)
		}
		if why := e.backend(t, 0).Why; why != "no link address of 10.0.0.1 yet: it does not answer" {
			t.Errorf("why: %q", why)
		}
		n.set(s.Backends[0].Addr.Addr(), 1)
		want(t, k, "web", 65536, 0)
		n.set(s.Backends[1].Addr.Addr(), 2)
		time.Sleep(3 * time.Second)
		want(t, k, "web", 32768, 32768)
		n.set(s.Backends[1].Addr.Addr(), 3) // another machine has the address now
		k.mu.Lock()
		mac := k.plans["web"].Backends[1].Hop.MAC[5]
		k.mu.Unlock()
		if mac != 3 {
			t.Errorf("the kernel sends to %d, want 3", mac)
		}
		d, err := e.Decisions(t.Context(), "web", 1)
		if err != nil || d[0].Trigger != "the link address of b2 changed" {
			t.Errorf("trigger %q, %v", d[0].Trigger, err)
		}
	})
}

func texts(addrs []netip.Addr) []string {
	var out []string
	for _, a := range addrs {
		out = append(out, a.String())
	}
	return out
}

// While the kernel does not answer, decisions do not pile up.
func TestWaitingIsBounded(t *testing.T) {
	k := &kernel{}
	engineTest(t, k, policies{"weighted": weighted}, setupOf(web("web", "weighted", 1, 1)), func(t *testing.T, e *Engine, l *log) {
		e.up("b1", "b2")
		k.slow(time.Hour)
		for range 3 * maxWaiting {
			for _, ok := range []bool{false, false, true, true} {
				e.say("web", "b1", ok)
				synctest.Wait()
			}
		}
		var n int
		e.do(t.Context(), func() { n = len(e.services["web"].waiting) })
		if n > maxWaiting+1 {
			t.Errorf("%d decisions wait, want at most %d", n, maxWaiting+1)
		}
		k.slow(0)
		time.Sleep(2 * time.Hour)
		want(t, k, "web", 32768, 32768)
		l.mu.Lock()
		defer l.mu.Unlock()
		outcomes := map[core.Outcome]int{}
		for _, d := range l.decisions {
			if strings.HasPrefix(d.Trigger, "b1 went") {
				outcomes[d.Outcome]++
			}
		}
		if outcomes[core.Superseded] < 2*maxWaiting || outcomes[core.Pending] > 0 {
			t.Errorf("outcomes: %v", outcomes)
		}
	})
}

// A policy never sees a new CPU reading beside the closed connections of the
// window before, and a decision names the snapshot that its opinions are of.
func TestCPUAndClosedAreOfOneWindow(t *testing.T) {
	k, f := &kernel{}, &table{}
	var mu sync.Mutex
	seen := map[uint64]core.Snapshot{}
	p := policies{"mine": func(ctx context.Context, s core.Snapshot) core.Result {
		mu.Lock()
		defer mu.Unlock()
		seen[s.Seq] = s
		if b := s.Backends[0]; b.CPU.Known && b.Done.Known && (b.CPU.Age != b.Done.Age || b.CPU.Window != b.Done.Window) {
			t.Errorf("cpu of %s over %s beside closed of %s over %s", b.CPU.Age, b.CPU.Window, b.Done.Age, b.Done.Window)
		}
		return weighted(ctx, s)
	}}
	s := web("web", "mine", 1, 1)
	s.Every = 50 * time.Millisecond
	engineTestWith(t, k, p, setupOf(s), Config{Flows: f}, func(t *testing.T, e *Engine, l *log) {
		f.set("b1", 5)
		e.up("b1", "b2")
		for range 10 {
			e.Offer(monitor("b1", time.Now(), core.Metric{Name: core.MetricCPU, Value: 0.4, Window: time.Second}))
			time.Sleep(730 * time.Millisecond)
		}
		d, err := e.Decisions(t.Context(), "web", 1)
		mu.Lock()
		defer mu.Unlock()
		if err != nil || seen[d[0].SnapshotSeq].Service != "web" || d[0].SnapshotSeq >= d[0].Seq {
			t.Errorf("decision %d is of snapshot %d, which the policy did not see", d[0].Seq, d[0].SnapshotSeq)
		}
	})
}

// A sample whose window is not counted to its end waits for the next count.
func TestCPUWaitsForItsCount(t *testing.T) {
	now := time.Now()
	b := &backend{cpu: reading{value: 0.1, at: now.Add(-time.Second)}}
	b.takeMetric(core.MetricCPU, reading{value: 0.5, at: now, window: time.Second}, origin{}, now)
	for _, step := range []struct {
		counted time.Duration
		want    float64
	}{{-time.Millisecond, 0.1}, {0, 0.5}} {
		if b.matchCPU(now.Add(step.counted)); b.cpu.value != step.want {
			t.Errorf("counted to %s of the sample: cpu is %v, want %v", step.counted, b.cpu.value, step.want)
		}
	}
}

// A reload that is refused, and whose undoing fails as well, promises nothing.
func TestReloadThatCannotBeUndone(t *testing.T) {
	k := &kernel{}
	engineTest(t, k, policies{"weighted": weighted}, setupOf(web("web", "weighted", 1, 1)), func(t *testing.T, e *Engine, l *log) {
		e.up("b1", "b2")
		k.mu.Lock()
		k.failSync = errors.New("no memory")
		k.mu.Unlock()
		_, err := e.Reload(t.Context(), setupOf(web("web", "weighted", 3, 1)))
		var n interface{ NotUndone() bool }
		if err == nil || strings.Contains(err.Error(), "is in force") || !errors.As(err, &n) || !strings.Contains(err.Error(), "tried again") {
			t.Errorf("Reload: %v", err)
		}
		k.mu.Lock()
		k.failSync, k.refuse = nil, map[string]error{"new": errors.New("file exists")}
		k.mu.Unlock()
		_, err = e.Reload(t.Context(), setupOf(web("web", "weighted", 3, 1), web("new", "weighted", 1)))
		if err == nil || !strings.Contains(err.Error(), "file exists; the one before is in force") {
			t.Errorf("Reload: %v", err)
		}
	})
}
