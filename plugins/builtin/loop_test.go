// SPDX-License-Identifier: Apache-2.0

package builtin_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A toy is a closed loop: backends of unequal capacity get connections by the
// shares that the policy chose, and the policy sees what that did to them.
type toy struct {
	n        *native
	capacity []float64 // connections per second at full CPU
	rate     float64   // of all connections per second
	life     float64   // of a connection, seconds; 0 is as long as its response
	noise    float64   // relative error of every reading
	rng      *rand.Rand

	share, conns []float64
	seq          uint64
}

func newToy(t *testing.T, policy string, life float64, capacity ...float64) *toy {
	sum := 0.0
	for _, c := range capacity {
		sum += c
	}
	y := &toy{n: find(t, policy), capacity: capacity, rate: 0.65 * sum, life: life, noise: 0.05,
		rng: rand.New(rand.NewPCG(1, 2)), conns: make([]float64, len(capacity))}
	for range capacity {
		y.share = append(y.share, 1/float64(len(capacity)))
	}
	return y
}

// load is the utilisation of a backend, over 1 if it cannot keep up.
func (y *toy) load(i int) float64 { return y.share[i] * y.rate / y.capacity[i] }

// response is that of a server with a queue, in seconds; 20 ms when idle.
func (y *toy) response(i int) float64 { return 0.02 / max(1-y.load(i), 0.01) }

// second lets a second pass, with a decision at its end. CPU samples are fresh
// every five seconds.
func (y *toy) second(t *testing.T) {
	y.seq++
	s := &core.Snapshot{Service: "toy", ID: 1, Seq: y.seq, Now: time.Unix(int64(y.seq), 0), Since: time.Second}
	for i := range y.capacity {
		known := func(v float64) core.Reading {
			return core.Reading{Value: v * (1 + y.noise*(2*y.rng.Float64()-1)), Window: 5 * time.Second, Known: true}
		}
		life := max(y.life, y.response(i))
		steady := y.share[i] * y.rate * life
		y.conns[i] = steady + (y.conns[i]-steady)*math.Exp(-1/life)
		s.Backends = append(s.Backends, core.BackendInput{
			ID: uint64(i + 1), Name: fmt.Sprint("b", i), Weight: 1, Health: core.Up, CPUSeq: uint32(y.seq/5) + 1,
			CPU: known(min(y.load(i), 1)), Done: known(min(y.share[i]*y.rate, y.capacity[i])),
			Response: known(y.response(i)), Conns: known(y.conns[i]),
		})
	}
	weights := y.n.schedule(t, s)
	for i, w := range shares(weights) {
		y.share[i] = w
	}
}

// settle runs the loop and returns what a value of each backend is at the end,
// as the largest over the mean, and how much shares still move: the standard
// deviation over the mean of the last 100 s, at worst.
func (y *toy) settle(t *testing.T, seconds int, value func(i int) float64) (imbalance, osc float64) {
	n := len(y.share)
	mean, square := make([]float64, n), make([]float64, n)
	for k := range seconds {
		y.second(t)
		if k < seconds-100 {
			continue
		}
		for i, s := range y.share {
			mean[i] += s / 100
			square[i] += s * s / 100
		}
	}
	top, sum := 0.0, 0.0
	for i := range n {
		osc = max(osc, math.Sqrt(max(square[i]-mean[i]*mean[i], 0))/mean[i])
		top, sum = max(top, value(i)), sum+value(i)
	}
	return top / (sum / float64(n)), osc
}

// TestLoopsSettle: every policy with feedback makes its measure equal and then
// keeps still, from equal shares, and again after a backend lost half of its
// capacity. With equal shares the imbalance of these pools is 1.6 and more.
func TestLoopsSettle(t *testing.T) {
	pool := []float64{100, 100, 200, 400}
	tests := []struct {
		name, policy string
		life         float64
		value        func(*toy) func(int) float64
		imbalance    float64
		osc          float64
	}{
		{"least-cpu, short connections", "least-cpu", 0, func(y *toy) func(int) float64 { return y.load }, 1.1, 0.05},
		{"least-conn, short connections", "least-conn", 0, func(y *toy) func(int) float64 { return func(i int) float64 { return y.conns[i] } }, 1.15, 0.06},
		{"least-conn, of 10 s", "least-conn", 10, func(y *toy) func(int) float64 { return func(i int) float64 { return y.conns[i] } }, 1.1, 0.06},
		{"least-conn, of 60 s", "least-conn", 60, func(y *toy) func(int) float64 { return func(i int) float64 { return y.conns[i] } }, 1.1, 0.06},
		{"least-response, short connections", "least-response", 0, func(y *toy) func(int) float64 { return y.response }, 1.1, 0.06},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			y := newToy(t, tt.policy, tt.life, pool...)
			check := func(when string) {
				imbalance, osc := y.settle(t, 600, tt.value(y))
				t.Logf("%s: imbalance %.3f, oscillation %.3f", when, imbalance, osc)
				if imbalance > tt.imbalance || osc > tt.osc {
					t.Errorf("%s: imbalance %.3f, at most %g; oscillation %.3f, at most %g; shares %.3f",
						when, imbalance, tt.imbalance, osc, tt.osc, y.share)
				}
			}
			check("from equal shares")
			y.capacity[3], y.rate = 200, 0.65*600
			check("after half of a backend was lost")
		})
	}
}

// TestLeastCPUSeeds: cores steer the first shares, before there is an estimate.
func TestLeastCPUSeeds(t *testing.T) {
	n := find(t, "least-cpu")
	s := &core.Snapshot{Service: "web", ID: 1, Since: time.Second}
	for i, cores := range []float64{2, 6} {
		s.Backends = append(s.Backends, core.BackendInput{ID: uint64(i + 1), Weight: 10, Health: core.Up, CPUSeq: 1,
			CPU:   core.Reading{Value: 0.5, Known: true, Window: 5 * time.Second},
			Cores: core.Reading{Value: cores, Known: true}, Done: core.Reading{Value: 100, Known: true}})
	}
	got := shares(n.schedule(t, s))
	if math.Abs(got[0]-0.25) > 1e-6 {
		t.Errorf("first shares %v, want 0.25 and 0.75", got)
	}
	// Two samples of blackout, then the estimate: equal work at equal CPU.
	for seq := uint32(2); seq <= 4; seq++ {
		for i := range s.Backends {
			s.Backends[i].CPUSeq = seq
		}
		got = shares(n.schedule(t, s))
		if want := map[uint32]float64{2: 0.25, 3: 0.5, 4: 0.5}[seq]; math.Abs(got[0]-want) > 1e-6 {
			t.Errorf("sample %d: shares %v, want the first %g", seq, got, want)
		}
	}
	// CPU goes stale: it is held, as is a newcomer without CPU.
	known := s.Backends[0].CPU
	s.Backends[0].CPU = core.Reading{}
	s.Backends = append(s.Backends, core.BackendInput{ID: 3, Weight: 10, Health: core.Up})
	if w := n.schedule(t, s); w[0] != core.Hold || w[1] <= 0 || w[2] != core.Hold {
		t.Errorf("weights %v, want hold, a weight, and hold", w)
	}
	// When it is back, so is its estimate.
	s.Backends[0].CPU = known
	if w := n.schedule(t, s); w[0] <= 0 || w[1] != w[0] || w[2] != core.Hold {
		t.Errorf("weights %v, want two equal ones and hold", w)
	}
}
