// SPDX-License-Identifier: Apache-2.0

package builtin_test

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/steelyard-lb/steelyard/core"
)

// shares turns weights into shares; held backends have none.
func shares(w []float64) []float64 {
	sum := 0.0
	for _, v := range w {
		sum += max(v, 0)
	}
	out := make([]float64, len(w))
	for i, v := range w {
		if sum > 0 {
			out[i] = max(v, 0) / sum
		}
	}
	return out
}

// TestGates: what is down or has weight 0 gets nothing; all else gets a weight
// above zero or is held, but for failover, of which the others are in reserve.
func TestGates(t *testing.T) {
	for _, n := range natives() {
		t.Run(n.p.Name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				clear(n.state)
				s := snapshots(rt)
				for i, w := range n.schedule(rt, s) {
					b := s.Backends[i]
					out := b.Health == core.Down || b.Weight == 0
					if out != (w == 0) && (out || n.p.Name != "failover") {
						rt.Fatalf("%s is %s with weight %d and got %g", b.Name, b.Health, b.Weight, w)
					}
				}
			})
		})
	}
}

// TestPermutation: the order of the backends changes no weight.
func TestPermutation(t *testing.T) {
	for _, n := range natives() {
		t.Run(n.p.Name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				clear(n.state)
				s := snapshots(rt)
				order := rapid.Permutation(indices(len(s.Backends))).Draw(rt, "order")
				p := *s
				p.Backends = nil
				for _, i := range order {
					p.Backends = append(p.Backends, s.Backends[i])
				}
				for round := range 3 { // so that state is in it
					want, got := shares(n.schedule(rt, s)), shares(find(t, n.p.Name).with(n, round).schedule(rt, &p))
					for k, i := range order {
						if math.Abs(got[k]-want[i]) > 1e-6 {
							rt.Fatalf("round %d: %s has %g, permuted %g", round, s.Backends[i].Name, want[i], got[k])
						}
					}
				}
			})
		})
	}
}

func indices(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// with gives a copy of a policy the state that another had before its latest
// call; in the first round that is none.
func (n *native) with(other *native, round int) *native {
	if round > 0 {
		for id, st := range other.before {
			n.state[id] = st
		}
	}
	return n
}

// TestScale: weights in another scale give the same shares.
func TestScale(t *testing.T) {
	for _, name := range []string{"weighted", "least-conn", "least-response", "maglev", "failover"} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				s := snapshots(rt)
				k := uint32(rapid.IntRange(2, 900).Draw(rt, "factor"))
				want := shares(find(t, name).schedule(rt, s))
				for i := range s.Backends {
					s.Backends[i].Weight *= k
				}
				got := shares(find(t, name).schedule(rt, s))
				for i := range got {
					if math.Abs(got[i]-want[i]) > 1e-6 {
						rt.Fatalf("%s: %g, times %d %g", s.Backends[i].Name, want[i], k, got[i])
					}
				}
			})
		})
	}
}

// TestMonotone: more CPU, more connections or a slower answer never raise a
// backend's share, all else being equal.
func TestMonotone(t *testing.T) {
	worse := map[string]func(*core.BackendInput) *core.Reading{
		"least-cpu":      func(b *core.BackendInput) *core.Reading { return &b.CPU },
		"least-conn":     func(b *core.BackendInput) *core.Reading { return &b.Conns },
		"least-response": func(b *core.BackendInput) *core.Reading { return &b.Response },
	}
	for name, reading := range worse {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				s := snapshots(rt)
				if len(s.Backends) == 0 {
					return
				}
				for k := range s.Backends { // less is no news to least-cpu
					s.Backends[k].CPU.Value = max(s.Backends[k].CPU.Value, 0.05)
				}
				i := rapid.IntRange(0, len(s.Backends)-1).Draw(rt, "which")
				calm, loaded := find(t, name), find(t, name)
				for range 4 { // past the blackout, into one state
					for k := range s.Backends {
						s.Backends[k].CPUSeq++
					}
					calm.schedule(rt, s)
					loaded.schedule(rt, s)
				}
				for k := range s.Backends {
					s.Backends[k].CPUSeq++
				}
				before := shares(calm.schedule(rt, s))[i]
				r := reading(&s.Backends[i])
				r.Value += rapid.Float64Range(0, 1).Draw(rt, "more") * (1 + r.Value)
				if after := shares(loaded.schedule(rt, s))[i]; after > before+1e-6 {
					rt.Fatalf("%s: share rose from %g to %g", s.Backends[i].Name, before, after)
				}
			})
		})
	}
}
