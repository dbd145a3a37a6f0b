// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/lab/bubbletest"
)

func TestConcurrency(t *testing.T) {
	own := map[string]int{core.ProbeTCP: 500, core.ProbeExec: 4, core.ProbeHTTP: 100_000, core.ProbePing: 0}
	tests := []struct {
		kind    string
		sockets int
		want    int
	}{
		{core.ProbeTCP, 10_000, 500},
		{core.ProbeExec, 10_000, 4},
		{core.ProbeHTTP, 10_000, 10_000}, // more would have no files
		{core.ProbePing, 10_000, 10_000},
		{core.ProbeSNMPCPU, 500_000, maxConcurrency},
	}
	for _, tt := range tests {
		if got, _ := concurrency(tt.kind, own, tt.sockets); got != tt.want {
			t.Errorf("%s with %d sockets: %d, want %d", tt.kind, tt.sockets, got, tt.want)
		}
	}
	for sockets, want := range map[int]int{10_000: execConcurrency, 512: 32, 128: 8, 16: leastCommands} {
		if got, holds := concurrency(core.ProbeExec, nil, sockets); got != want || holds {
			t.Errorf("exec with %d sockets: %d, holds them %t; want %d, false", sockets, got, holds, want)
		}
	}
	if got, _ := concurrency(core.ProbeExec, map[string]int{core.ProbeExec: 1000}, 512); got != 32 {
		t.Errorf("exec as configured with 512 sockets: %d, want 32: more would have no files", got)
	}
	if n := socketRuns(); n < leastConcurrency {
		t.Errorf("%d runs with sockets", n)
	}
}

// A hall is gates whose runs end when the test says so.
type hall struct {
	places
	mu   sync.Mutex
	in   []string          // guarded by mu; who is in, in the order they came
	done map[string]func() // guarded by mu; ends a run
}

func (h *hall) enter(g *gate, name string, slow bool) {
	g.enter(slow, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.in = append(h.in, name)
		if h.done == nil {
			h.done = make(map[string]func())
		}
		h.done[name] = func() { g.leave(slow) }
	})
}

func (h *hall) leave(name string) {
	h.mu.Lock()
	done := h.done[name]
	h.in = slices.DeleteFunc(h.in, func(s string) bool { return s == name })
	h.mu.Unlock()
	done()
	synctest.Wait()
}

// The slow fill three quarters and no more; a quick one that comes finds a place; and
// who waits goes by turns, the quick before the slow.
func TestGateKeepsPlacesForTheQuick(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		h := &hall{}
		h.open(100)
		g := h.at(core.ProbeTCP, 4, true)
		want := func(names ...string) {
			t.Helper()
			if !slices.Equal(h.in, names) {
				t.Errorf("%v are in, want %v", h.in, names)
			}
		}
		for i := range 6 {
			h.enter(g, fmt.Sprint("s", i), true)
		}
		want("s0", "s1", "s2")
		h.enter(g, "q0", false)
		want("s0", "s1", "s2", "q0")
		h.enter(g, "q1", false)
		h.enter(g, "q2", false)
		h.leave("q0")
		want("s0", "s1", "s2", "q1")
		h.leave("s1") // came before the slow ones that wait
		want("s0", "s2", "q1", "q2")
		h.leave("q1")
		want("s0", "s2", "q2", "s3")
		h.leave("s0")
		want("s2", "q2", "s3", "s4")
		h.leave("q2") // a fourth slow one has to wait though there is a place
		want("s2", "s3", "s4")
	})
}

// Where the quick leave no place free, the slow have theirs now and then.
func TestGateDoesNotStarveTheSlow(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		h := &hall{}
		h.open(100)
		g := h.at(core.ProbeExec, 1, false)
		h.enter(g, "q0", false)
		h.enter(g, "slow", true)
		for i := range 100 {
			h.enter(g, fmt.Sprint("q", i+1), false)
		}
		for range 2 * slowTurn {
			if h.in[0] == "slow" {
				return
			}
			h.leave(h.in[0])
		}
		t.Errorf("a slow one is not in after %d quick ones", 2*slowTurn)
	})
}

// The types share the files: one that takes all that it may leaves the others a
// quarter, and theirs is the next place that is given back.
func TestGatesShareFiles(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		h := &hall{}
		h.open(8)
		tcp, http, exec := h.at(core.ProbeTCP, 8, true), h.at(core.ProbeHTTP, 8, true), h.at(core.ProbeExec, 2, false)
		for i := range 20 {
			h.enter(tcp, fmt.Sprint("hang", i), true)
		}
		for i := range 3 {
			h.enter(http, fmt.Sprint("good", i), false)
		}
		h.enter(exec, "command", false)
		if got := fmt.Sprint(h.in); got != "[hang0 hang1 hang2 hang3 hang4 hang5 good0 good1 command]" {
			t.Errorf("%s are in", got)
		}
		h.leave("hang3")
		if last := h.in[len(h.in)-1]; last != "good2" {
			t.Errorf("%s came in next, want good2", last)
		}
	})
}

// Whatever happens, no room is overfull, nobody waits while there is a place for him,
// and in the end everybody was in and all places are free.
func TestGateNeverLosesAnybody(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		limits := rapid.SliceOfN(rapid.IntRange(1, 6), 3, 3).Draw(rt, "limits")
		steps := rapid.SliceOfN(rapid.IntRange(0, 9), 1, 60).Draw(rt, "steps")
		bubbletest.Run(t, func(*testing.T) {
			h := &hall{}
			h.open(limits[0])
			gates := []*gate{h.at("a", limits[1], true), h.at("b", limits[2], true)}
			entered := 0
			for _, step := range steps {
				if step < 6 {
					h.enter(gates[step%2], fmt.Sprint(entered), step < 3)
					entered++
				} else if n := len(h.in); n > 0 {
					h.leave(h.in[step%n])
				}
				h.check(rt, gates)
			}
			for len(h.in) > 0 {
				h.leave(h.in[0])
				h.check(rt, gates)
			}
			if len(h.done) != entered || h.sockets.taken != 0 || h.sockets.slow != 0 || h.waiting != 0 {
				rt.Fatalf("%d of %d were in, %+v, %d wait", len(h.done), entered, h.sockets, h.waiting)
			}
		})
	})
}

func (h *hall) check(t *rapid.T, gates []*gate) {
	taken := 0
	for i, g := range gates {
		taken += g.room.taken
		if g.room.taken > g.room.limit || h.sockets.taken > h.sockets.limit {
			t.Fatalf("gate %d is overfull: %+v of %+v", i, g.room, h.sockets)
		}
		if len(g.quick) > 0 && g.fits(false) || len(g.slow) > 0 && g.fits(true) {
			t.Fatalf("gate %d: somebody waits with a place free: %+v of %+v", i, g.room, h.sockets)
		}
	}
	if taken != h.sockets.taken || taken != len(h.in) {
		t.Fatalf("%d places are taken at the gates, %d in all, %d are in", taken, h.sockets.taken, len(h.in))
	}
}

// TestHangingDelaysNobody: a hundred good targets beside a thousand that hang and that
// want ten times the places there are. After the first round, in which nobody is known
// yet, a run of a good one waits for other good ones at most, of 5 ms each.
func TestHangingDelaysNobody(t *testing.T) {
	const good, hanging, limit = 100, 1000, 50
	bubbletest.Run(t, func(t *testing.T) {
		b := newBench(nil)
		b.Concurrency = map[string]int{core.ProbeTCP: limit}
		b.prepareFor = func(tgt Target) func(int) time.Duration {
			if tgt.ID.Service == "good" {
				return func(int) time.Duration { return 5 * time.Millisecond }
			}
			return func(int) time.Duration { return time.Hour }
		}
		ts := fleetOf(good+hanging, 2*time.Second)
		for i := range ts {
			ts[i].Spec.Timeout = time.Second
			if i < good {
				ts[i].ID.Service = "good"
			}
		}
		b.SetTargets(ts)
		b.start()
		time.Sleep(60 * time.Second)
		settled := time.Now()
		time.Sleep(60 * time.Second)
		b.stop()
		if p := b.peak.Load(); p != limit {
			t.Errorf("%d runs at once, want %d", p, limit)
		}
		last := map[string]time.Time{}
		runs, slowRuns := 0, 0
		for _, s := range b.samples {
			if s.TakenAt.Before(settled) {
				continue
			}
			if s.Backend.Service != "good" {
				slowRuns++
				continue
			}
			runs++
			before := last[s.Backend.Backend]
			if late := s.TakenAt.Sub(before) - 2*time.Second; !before.IsZero() && late.Abs() > 20*time.Millisecond {
				t.Fatalf("%s: a gap of %s, want 2s", s.Backend, s.TakenAt.Sub(before))
			}
			last[s.Backend.Backend] = s.TakenAt
		}
		if runs < 29*good {
			t.Errorf("%d runs of good targets in 60 s, want %d", runs, 30*good)
		}
		// 37 places, a second each; nearly all of a minute.
		if slowRuns < 37*50 || slowRuns > 37*61 {
			t.Errorf("%d runs of hanging targets in 60 s, want about %d", slowRuns, 37*60)
		}
		if s := b.Stats()[0]; s.Skipped < 10_000 || s.Limit != limit || s.Targets != good+hanging {
			t.Errorf("stats %+v: of 60,000 runs of hanging targets only 4,400 have a place", s)
		}
	})
}
