// SPDX-License-Identifier: Apache-2.0

package suite

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// Snapshot is a service with n unequal backends, all up and measured, and with
// these custom metrics. The same arguments give the same snapshot.
func Snapshot(service string, n int, metrics ...string) core.Snapshot {
	s := core.Snapshot{Service: service, ID: core.BackendID{Service: service}.Hash(), Seq: 1,
		Now: time.Unix(1_700_000_000, 0), Metrics: slices.Clone(metrics)}
	slices.Sort(s.Metrics)
	for i := range n {
		s.Backends = append(s.Backends, backend(service, i, n, len(metrics)))
	}
	return s
}

func backend(service string, i, n, custom int) core.BackendInput {
	name := fmt.Sprintf("b%d", i)
	rng := rand.New(rand.NewPCG(uint64(i), 1))
	known := func(v float64) core.Reading {
		return core.Reading{Value: v, Age: time.Second, Window: 5 * time.Second, Known: true}
	}
	b := core.BackendInput{
		ID: core.BackendID{Service: service, Backend: name}.Hash(), Name: name,
		Weight: uint32(1 + rng.IntN(100)), Health: core.Up, Since: time.Minute, Share: 1 / float64(n), CPUSeq: 1,
		CPU: known(rng.Float64()), Cores: known(float64(1 + rng.IntN(16))), Response: known(rng.Float64()),
		Conns: known(float64(rng.IntN(1000))), New: known(rng.Float64() * 100), Done: known(rng.Float64() * 100),
	}
	for range custom {
		b.Custom = append(b.Custom, known(rng.Float64()*20))
	}
	return b
}

// tick is the next decision of the same service, a second later, with fresh
// readings.
func tick(s *core.Snapshot) {
	s.Seq++
	s.Now = s.Now.Add(time.Second)
	s.Since = time.Second
	for i := range s.Backends {
		s.Backends[i].CPUSeq = uint32(s.Seq)
	}
}

// each calls f for every reading of a backend.
func each(b *core.BackendInput, f func(*core.Reading)) {
	for _, r := range []*core.Reading{&b.CPU, &b.Cores, &b.Response, &b.Conns, &b.New, &b.Done} {
		f(r)
	}
	for i := range b.Custom {
		f(&b.Custom[i])
	}
}

// Shares are weights as parts of all that were given; NaN where the policy
// holds.
func Shares(weights []float64) []float64 {
	sum, out := 0.0, make([]float64, len(weights))
	for _, w := range weights {
		if w != core.Hold {
			sum += w
		}
	}
	for i, w := range weights {
		switch {
		case w == core.Hold:
			out[i] = math.NaN()
		case sum > 0:
			out[i] = w / sum
		}
	}
	return out
}

// shareText is a share as people say it.
func shareText(v float64) string {
	if math.IsNaN(v) {
		return "hold"
	}
	return fmt.Sprintf("%.2f%%", v*100)
}

// apart is the difference of two shares; of a share and a hold it is 1.
func apart(a, b float64) float64 {
	switch {
	case math.IsNaN(a) && math.IsNaN(b):
		return 0
	case math.IsNaN(a) || math.IsNaN(b):
		return 1
	}
	return math.Abs(a - b)
}
