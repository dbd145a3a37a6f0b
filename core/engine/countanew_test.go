// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core"
)

// A sum is connections of b1 that are those of this node, or of all while it leads.
type sum struct {
	*group
	mu       sync.Mutex
	own, all uint64    // open; guarded by mu
	begun    time.Time // of the lead; zero while there is none; guarded by mu
}

// Each second 10 connections are closed here and 90 elsewhere.
const closedHere, closedElsewhere = 10, 90

var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func (f *sum) Counts() map[core.BackendID]core.FlowCount {
	leads := f.group.Leads("web")
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	c := core.FlowCount{Open: f.own, Closed: uint64(closedHere * now.Sub(epoch).Seconds())}
	if !leads {
		f.begun = time.Time{}
	} else if c.Open, c.Abroad = f.all, f.all-f.own; f.begun.IsZero() {
		f.begun = now
	}
	if leads {
		c.Closed += uint64(closedElsewhere * now.Sub(f.begun).Seconds())
	}
	return map[core.BackendID]core.FlowCount{{Service: "web", Backend: "b1"}: c}
}

func (f *sum) AsOf() (time.Time, bool)      { return time.Time{}, true }
func (f *sum) SetIdle(core.BackendID, bool) {}

func (f *sum) set(own, all uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.own, f.all = own, all
}

// sumTest runs an engine that follows, b1 of whose service has room for 100 connections.
func sumTest(t *testing.T, p policies, f func(t *testing.T, e *Engine, k *kernel, g *group, c *sum)) {
	t.Helper()
	k, g := &kernel{}, newGroup(false)
	c := &sum{group: g}
	s := web("web", "p", 1, 1)
	s.Backends[0].MaxConnections = 100
	engineTestWith(t, k, p, setupOf(s), Config{Cluster: g, Flows: c}, func(t *testing.T, e *Engine, l *log) {
		e.sayAll(true, "b1", "b2")
		time.Sleep(10 * time.Second)
		f(t, e, k, g, c)
	})
}

// TestFullOverATakeover: a backend that is full by the connections of all nodes gets none
// from a node that begins to lead, and one that has room here is no gate on a follower.
func TestFullOverATakeover(t *testing.T) {
	sumTest(t, policies{"p": weighted}, func(t *testing.T, e *Engine, k *kernel, g *group, c *sum) {
		c.set(40, 120)
		e.offer(vector(9, 1, 0, 65536))
		time.Sleep(5 * time.Second)
		want(t, k, "web", 0, 65536)
		if b := e.backend(t, 0); b.State != core.StateUp || b.Connections == nil || *b.Connections != 40 || b.ConnectionsAbroad != 0 {
			t.Errorf("on a follower it is %s, want up with its own 40 connections: %+v", b.State, b)
		}
		for range 3 {
			g.handed()
			g.lead(true)
			settle()
			want(t, k, "web", 0, 65536)
			if b := e.backend(t, 0); b.State != core.StateFull || b.Connections == nil || *b.Connections != 120 || b.ConnectionsAbroad != 80 {
				t.Errorf("as the leader begins it is %s, want full with 120 connections, 80 of them elsewhere: %+v", b.State, b)
			}
			time.Sleep(5 * time.Second)
			for _, v := range g.handed() {
				if v.Backends[0].Slots > 0 {
					t.Errorf("the others were told to give it %d slots", v.Backends[0].Slots)
				}
			}
			g.lead(false)
			settle()
			want(t, k, "web", 0, 65536)
			time.Sleep(5 * time.Second)
			want(t, k, "web", 0, 65536)
		}
		e.offer(vector(9, 2, 32768, 32768))
		want(t, k, "web", 32768, 32768)
		c.set(100, 120) // full by its own: this node turns to others, whatever the leader says
		time.Sleep(meterEvery + 10*time.Millisecond)
		want(t, k, "web", 0, 65536)
	})
}

// TestFullOverATakeoverInAReload: the same where the lead begins while a reload is on its
// way to the kernel.
func TestFullOverATakeoverInAReload(t *testing.T) {
	sumTest(t, policies{"p": weighted}, func(t *testing.T, e *Engine, k *kernel, g *group, c *sum) {
		c.set(40, 120)
		e.offer(vector(9, 1, 0, 65536))
		time.Sleep(5 * time.Second)
		setup, err := e.Setup(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		k.mu.Lock()
		k.took = meterEvery * 41 / 10 // its end is nearly as far from a look as can be
		k.mu.Unlock()
		g.handed()
		done := make(chan error)
		go func() {
			_, err := e.Reload(t.Context(), setup)
			done <- err
		}()
		time.Sleep(meterEvery)
		g.lead(true)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		for _, v := range g.handed() {
			if v.Backends[0].Slots > 0 {
				t.Errorf("the others were told to give it %d slots", v.Backends[0].Slots)
			}
		}
		want(t, k, "web", 0, 65536)
	})
}

// TestClosedOverATakeover: no rate is of this node for one half of its window and of all for
// the other.
func TestClosedOverATakeover(t *testing.T) {
	var mu sync.Mutex
	var seen []float64
	p := policies{"p": func(_ context.Context, s core.Snapshot) core.Result {
		mu.Lock()
		defer mu.Unlock()
		if done := s.Backends[0].Done; done.Known {
			seen = append(seen, done.Value)
		}
		return core.Result{Weights: []float64{1, 1}}
	}}
	sumTest(t, p, func(t *testing.T, e *Engine, k *kernel, g *group, c *sum) {
		e.offer(vector(9, 1, 32768, 32768))
		for range 3 {
			g.lead(true)
			time.Sleep(8 * time.Second)
			g.lead(false)
			time.Sleep(8 * time.Second)
		}
		mu.Lock()
		defer mu.Unlock()
		if len(seen) < 10 {
			t.Fatalf("the policy was told of %d rates", len(seen))
		}
		rates := map[bool]int{}
		for _, r := range seen {
			const all = closedHere + closedElsewhere
			rates[r > all-5 && r < all+5]++
		}
		if diff := cmp.Diff(map[bool]int{true: len(seen)}, rates); diff != "" {
			t.Errorf("rates near 100 per second (-want +got):\n%s%v", diff, seen)
		}
	})
}
