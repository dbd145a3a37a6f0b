// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// TestFaults has every kind of fault strike groups again and again, at random times, and
// prints the longest time for which some service had no leader that ran. What must hold
// at any moment is checked by worldNode.apply, and what must hold at rest by wantPeace.
func TestFaults(t *testing.T) {
	for _, test := range []struct {
		name  string
		limit time.Duration // of the gap
		fault func(*world)
	}{
		{"killed", 1500 * time.Millisecond, func(w *world) {
			n := w.any()
			n.kill()
			w.pass(w.upTo(8 * time.Second))
		}},
		{"killed and restarted at once", 1500 * time.Millisecond, func(w *world) {
			n := w.any()
			n.kill()
			w.pass(w.upTo(400 * time.Millisecond))
			n.start()
			w.pass(w.upTo(6 * time.Second))
		}},
		{"restarted with its disk empty", 1500 * time.Millisecond, func(w *world) {
			n := w.any()
			n.kill()
			n.kept = 0
			n.skew -= 2 * time.Minute
			n.start()
			w.pass(w.upTo(6 * time.Second))
		}},
		// At once, unless who is next is less than settled.
		{"leaving", 1500 * time.Millisecond, func(w *world) {
			w.any().leave()
			w.pass(w.upTo(8 * time.Second))
		}},
		{"frozen", 1500 * time.Millisecond, func(w *world) {
			n := w.any()
			n.frozen = w.now.Add(time.Second + w.upTo(20*time.Second))
			w.pass(n.frozen.Sub(w.now) + w.upTo(4*time.Second))
		}},
		{"cut off, messages lost", 1500 * time.Millisecond, func(w *world) { w.isolate(w.any(), false) }},
		{"cut off, messages late", 1500 * time.Millisecond, func(w *world) { w.isolate(w.any(), true) }},
		{"halves", 1500 * time.Millisecond, func(w *world) {
			w.hold = w.rnd.IntN(2) == 0
			for _, a := range w.nodes[:len(w.nodes)/2] {
				for _, b := range w.nodes[len(w.nodes)/2:] {
					w.sever(a, b)
					w.sever(b, a)
				}
			}
			w.pass(w.upTo(20 * time.Second))
			clear(w.cut)
			w.pass(w.upTo(5 * time.Second))
		}},
		{"deaf", 1500 * time.Millisecond, func(w *world) {
			n := w.any()
			for _, o := range w.nodes {
				w.sever(o, n)
			}
			w.pass(w.upTo(10 * time.Second))
			clear(w.cut)
			w.pass(w.upTo(3 * time.Second))
		}},
		{"dumb", 1500 * time.Millisecond, func(w *world) {
			n := w.any()
			for _, o := range w.nodes {
				w.sever(n, o)
			}
			w.pass(w.upTo(10 * time.Second))
			clear(w.cut)
			w.pass(w.upTo(3 * time.Second))
		}},
		// Whoever is first in the eyes of the one that is deaf for the leader hears it.
		{"one link cut in one direction", 10 * time.Second, func(w *world) {
			w.sever(w.any(), w.any())
			w.pass(w.upTo(10 * time.Second))
			clear(w.cut)
			w.pass(w.upTo(3 * time.Second))
		}},
		{"clock set", 1500 * time.Millisecond, func(w *world) {
			w.any().skew = w.upTo(4*time.Minute) - 2*time.Minute
			w.pass(w.upTo(3 * time.Second))
		}},
		{"all killed", 1500 * time.Millisecond, func(w *world) {
			for _, n := range w.nodes {
				n.kill()
			}
			w.revive()
			w.pass(w.upTo(6 * time.Second))
		}},
		{"a third of all messages lost, some doubled", 1500 * time.Millisecond, func(w *world) {
			w.loss, w.twice = 0.3, 0.2
			w.pass(w.upTo(10 * time.Second))
			w.loss, w.twice = 0, 0
		}},
		{"anything at once", 12 * time.Second, func(w *world) {
			w.loss, w.twice, w.hold = w.rnd.Float64()/3, w.rnd.Float64()/3, w.rnd.IntN(2) == 0
			switch n := w.any(); w.rnd.IntN(8) {
			case 0:
				n.kill()
			case 1:
				n.leave()
			case 2:
				n.frozen = w.now.Add(w.upTo(10 * time.Second))
			case 3, 4:
				w.sever(n, w.any())
			case 5:
				clear(w.cut)
			case 6:
				n.skew = w.upTo(4*time.Minute) - 2*time.Minute
			case 7:
				w.revive()
			}
			w.pass(w.upTo(2 * time.Second))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var gap time.Duration
			for seed := range uint64(seeds()) {
				w := newWorld(t, seed, 2+int(seed*3+1)%4, 12)
				w.pass(6 * time.Second)
				w.gap = 0
				for range 4 {
					test.fault(w)
					if test.name != "anything at once" {
						w.revive()
						w.pass(time.Second + w.upTo(5*time.Second))
					}
				}
				w.calm()
				w.wantPeace(test.name)
				gap = max(gap, w.gap)
			}
			t.Logf("longest time without a leader: %v", gap)
			if gap > test.limit {
				t.Errorf("a service had no leader for %v, want at most %v", gap, test.limit)
			}
		})
	}
}

// seeds is how many groups each kind of fault strikes: STEELYARD_SEEDS, or a few.
func seeds() int {
	if n, err := strconv.Atoi(os.Getenv("STEELYARD_SEEDS")); err == nil {
		return n
	}
	return 3
}

// any is a node that lives, started if need be.
func (w *world) any() *worldNode {
	n := w.nodes[w.rnd.IntN(len(w.nodes))]
	if n.s == nil {
		n.start()
		w.pass(6 * time.Second)
	}
	return n
}

func (w *world) upTo(d time.Duration) time.Duration { return time.Duration(w.rnd.Int64N(int64(d))) }

func (w *world) sever(from, to *worldNode) { w.cut[[2]string{from.name, to.name}] = true }

// isolate cuts a node off for a while; late says that what was sent comes afterwards.
func (w *world) isolate(n *worldNode, late bool) {
	w.hold = late
	for _, o := range w.nodes {
		w.sever(n, o)
		w.sever(o, n)
	}
	w.pass(w.upTo(20 * time.Second))
	clear(w.cut)
	w.pass(w.upTo(5 * time.Second))
}

// TestFrozen: a node that runs again takes nothing over, whatever it is told first: that
// time has passed, or what the others said in it.
func TestFrozen(t *testing.T) {
	for seed := range uint64(8) {
		w := newWorld(t, seed, 3, 12)
		w.pass(6 * time.Second)
		n := w.nodes[0]
		n.frozen = w.now.Add(10 * time.Second)
		w.pass(10*time.Second - worldStep)
		before := n.s.takeovers
		others := w.nodes[1].s.takeovers + w.nodes[2].s.takeovers
		w.pass(time.Second)
		if got := n.s.takeovers - before; got > 0 {
			t.Errorf("seed %d: it took %d services over", seed, got)
		}
		if got := w.nodes[1].s.takeovers + w.nodes[2].s.takeovers - others; got > 0 {
			t.Errorf("seed %d: the others took %d services over again", seed, got)
		}
		w.calm()
		w.wantPeace("thawed")
	}
}

// TestLateWordOfTheDead: all have heard a vector of a node that is gone, with an epoch
// above that of the leader, which must go above it or it is not heard any more.
func TestLateWordOfTheDead(t *testing.T) {
	w := newWorld(t, 1, 3, 12)
	w.pass(6 * time.Second)
	w.nodes[0].kill()
	w.pass(3 * time.Second)
	w.hush()
	w.pass(6 * time.Second)
	w.wantPeace("before")
	for _, name := range w.names {
		w.send("lb1", packet{vector: &core.Vector{Service: name, Node: "lb1", Seq: 1, Epoch: core.NextEpoch(w.nodes[1].s.seen+1000, w.now, "lb1")}})
	}
	w.pass(time.Second)
	w.wantPeace("late words")
}

// TestHealed: whoever was cut off follows at once those who were not, and nobody follows
// what it decided alone.
func TestHealed(t *testing.T) {
	for seed := range uint64(8) {
		w := newWorld(t, seed, 3, 12)
		w.pass(6 * time.Second)
		alone := w.nodes[0]
		for _, o := range w.nodes[1:] {
			w.sever(alone, o)
			w.sever(o, alone)
		}
		w.pass(10 * time.Second)
		clear(w.cut)
		w.pass(700 * time.Millisecond)
		for _, name := range w.names {
			if alone.s.services[name].ballot.Leads() {
				t.Errorf("seed %d: it still leads %s", seed, name)
			}
			for _, o := range w.nodes[1:] {
				if o.applied[name].Node == alone.name {
					t.Errorf("seed %d: %s follows it for %s", seed, o.name, name)
				}
			}
		}
	}
}
