// SPDX-License-Identifier: Apache-2.0

package plugintest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/plugins"
)

// Run puts a policy that h has loaded through the suite. Services of earlier
// runs on the same host must not begin with "plugintest".
func Run(t *testing.T, h *plugins.Host, policy string) {
	for _, c := range cases() {
		t.Run(c.name, func(t *testing.T) {
			s := Snapshot("plugintest-"+c.name, c.n)
			for i := range s.Backends {
				c.change(i, &s.Backends[i])
			}
			for round := range 5 {
				s.Seq++
				s.Now = s.Now.Add(time.Second)
				s.Since = time.Duration(min(round, 1)) * time.Second
				Schedule(t, h, policy, s)
			}
		})
	}
	t.Run("permuted", func(t *testing.T) { permuted(t, h, policy) })
	t.Run("backends come and go", func(t *testing.T) { comeAndGo(t, h, policy) })
}

type testCase struct {
	name   string
	n      int
	change func(i int, b *core.BackendInput)
}

func cases() []testCase {
	same := func(int, *core.BackendInput) {}
	all := func(f func(*core.BackendInput)) func(int, *core.BackendInput) {
		return func(_ int, b *core.BackendInput) { f(b) }
	}
	return []testCase{
		{"no backend", 0, same},
		{"one backend", 1, same},
		{"two backends", 2, same},
		{"2000 backends", 2000, same},
		{"all down", 3, all(func(b *core.BackendInput) { b.Health = core.Down })},
		{"all unknown health", 3, all(func(b *core.BackendInput) { b.Health = core.Unknown })},
		{"one up", 4, func(i int, b *core.BackendInput) {
			if i != 2 {
				b.Health = core.Down
			}
		}},
		{"all of weight 0", 3, all(func(b *core.BackendInput) { b.Weight = 0 })},
		{"no reading", 3, all(func(b *core.BackendInput) {
			b.CPU, b.Cores, b.Response, b.Conns, b.New, b.Done = core.Reading{}, core.Reading{}, core.Reading{}, core.Reading{}, core.Reading{}, core.Reading{}
		})},
		{"every reading 0", 3, all(func(b *core.BackendInput) { each(b, func(r *core.Reading) { r.Value = 0 }) })},
		{"every reading huge", 3, all(func(b *core.BackendInput) { each(b, func(r *core.Reading) { r.Value = 1e300 }) })},
		{"every reading old", 3, all(func(b *core.BackendInput) { each(b, func(r *core.Reading) { r.Age = 1000 * time.Hour }) })},
		{"saturated", 3, all(func(b *core.BackendInput) { b.CPU.Value = 1 })},
	}
}

func each(b *core.BackendInput, f func(*core.Reading)) {
	for _, r := range []*core.Reading{&b.CPU, &b.Cores, &b.Response, &b.Conns, &b.New, &b.Done} {
		f(r)
	}
}

// Snapshot is a service with n unequal backends, all up and measured. The same
// arguments give the same snapshot.
func Snapshot(service string, n int) core.Snapshot {
	s := core.Snapshot{Service: service, ID: core.BackendID{Service: service}.Hash(), Seq: 1, Now: time.Unix(1_700_000_000, 0)}
	for i := range n {
		name := fmt.Sprintf("b%d", i)
		rng := rand.New(rand.NewPCG(uint64(i), 1))
		known := func(v float64) core.Reading {
			return core.Reading{Value: v, Age: time.Second, Window: 5 * time.Second, Known: true}
		}
		s.Backends = append(s.Backends, core.BackendInput{
			ID: core.BackendID{Service: service, Backend: name}.Hash(), Name: name,
			Weight: uint32(1 + rng.IntN(100)), Health: core.Up, Since: time.Minute, Share: 1 / float64(n), CPUSeq: 1,
			CPU: known(rng.Float64()), Cores: known(float64(1 + rng.IntN(16))), Response: known(rng.Float64()),
			Conns: known(float64(rng.IntN(1000))), New: known(rng.Float64() * 100), Done: known(rng.Float64() * 100),
		})
	}
	return s
}

// Schedule asks the policy once and checks what holds for every answer. It
// returns shares; that of a backend which is held is NaN.
func Schedule(t *testing.T, h *plugins.Host, policy string, s core.Snapshot) []float64 {
	t.Helper()
	r := h.Schedule(t.Context(), []core.Call{{Policy: policy, Snapshot: s}})[0]
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	if len(r.Weights) != len(s.Backends) {
		t.Fatalf("%d weights for %d backends", len(r.Weights), len(s.Backends))
	}
	sum, out := 0.0, make([]float64, len(r.Weights))
	for i, w := range r.Weights {
		if w != core.Hold && (!(w >= 0) || math.IsInf(w, 0)) {
			t.Fatalf("weight of %s is %g", s.Backends[i].Name, w)
		}
		sum += max(w, 0)
	}
	for i, w := range r.Weights {
		switch {
		case w == core.Hold:
			out[i] = math.NaN()
		case sum > 0:
			out[i] = w / sum
		}
	}
	return out
}

// permuted: the order of the backends changes no share. It needs services whose
// state is new, so each order is a service of its own.
func permuted(t *testing.T, h *plugins.Host, policy string) {
	want := map[string]float64{}
	for round := range 4 {
		s := Snapshot("plugintest-permuted", 7)
		s.ID += uint64(round) // another service with the same backends
		rng := rand.New(rand.NewPCG(uint64(round), 2))
		rng.Shuffle(len(s.Backends), func(i, k int) { s.Backends[i], s.Backends[k] = s.Backends[k], s.Backends[i] })
		for i, share := range Schedule(t, h, policy, s) {
			name := s.Backends[i].Name
			if w, ok := want[name]; ok && math.Abs(w-share) > 1e-5 {
				t.Errorf("share of %s is %g in one order and %g in another", name, w, share)
			}
			want[name] = share
		}
	}
}

// comeAndGo changes the backends of one service from call to call.
func comeAndGo(t *testing.T, h *plugins.Host, policy string) {
	rng := rand.New(rand.NewPCG(3, 3))
	all := Snapshot("plugintest-come-and-go", 20)
	for range 50 {
		s := all
		s.Seq, s.Now, s.Since = all.Seq+1, all.Now.Add(time.Second), time.Second
		all.Seq, all.Now = s.Seq, s.Now
		s.Backends = nil
		for _, b := range all.Backends {
			if rng.IntN(3) > 0 {
				b.CPUSeq = uint32(s.Seq)
				b.CPU.Value, b.Conns.Value, b.Response.Value = rng.Float64(), float64(rng.IntN(500)), rng.Float64()
				b.Health = core.HealthState(rng.IntN(3))
				s.Backends = append(s.Backends, b)
			}
		}
		Schedule(t, h, policy, s)
	}
}
