// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"math"
	"math/rand/v2"
	"testing"
)

// near fails if got is not within a ratio of want.
func near(t *testing.T, what string, got, want, within float64) {
	t.Helper()
	if math.Abs(got-want) > within*math.Abs(want) {
		t.Errorf("%s: %.5g, want %.5g ± %.1f %%", what, got, want, 100*within)
	}
}

// play sends n requests a second to a machine, for many seconds, and returns the
// times that they took, and how long they waited on average.
func play(m *machine, rate float64, work func(*rand.Rand) float64) (took histogram, wait float64) {
	r := rand.New(rand.NewPCG(1, 2))
	n, t := 0, 0.0
	for end := float64(len(m.busy)-1) / ticksPerSecond; ; n++ {
		if t += r.ExpFloat64() / rate; t >= end {
			return took, wait / float64(n)
		}
		w := work(r)
		done := m.serve(t, w)
		took.add(done - t)
		wait += done - t - w
	}
}

func testMachine(cores, seconds int) *machine {
	n := seconds*ticksPerSecond + 1
	m := &machine{name: "a", cores: cores, nature: make([]condition, n), free: make([]float64, cores), busy: make([]float64, n)}
	for i := range m.nature {
		m.nature[i].speed = 1
	}
	return m
}

// TestQueueIsMM1: of one core with exponential work, response times are exponential
// with rate μ-λ.
func TestQueueIsMM1(t *testing.T) {
	const mu, lambda = 50.0, 35.0
	m := testMachine(1, 40000)
	took, wait := play(m, lambda, func(r *rand.Rand) float64 { return r.ExpFloat64() / mu })
	near(t, "p50", took.quantile(0.5), math.Ln2/(mu-lambda), 0.02)
	near(t, "p99", took.quantile(0.99), math.Log(100)/(mu-lambda), 0.03)
	near(t, "mean wait", wait, lambda/mu/(mu-lambda), 0.03)
	near(t, "cpu", m.cpu(0, len(m.busy)-1), lambda/mu, 0.01)
}

// TestQueueIsMMc: of c cores, the wait is Erlang's C over cμ-λ.
func TestQueueIsMMc(t *testing.T) {
	const mu, lambda, c = 50.0, 320.0, 8
	a := lambda / mu
	term, sum := 1.0, 0.0 // a^k/k!
	for k := range c {
		sum += term
		term *= a / float64(k+1)
	}
	erlang := term / (1 - a/c) / (sum + term/(1-a/c))
	m := testMachine(c, 20000)
	_, wait := play(m, lambda, func(r *rand.Rand) float64 { return r.ExpFloat64() / mu })
	near(t, "mean wait", wait, erlang/(c*mu-lambda), 0.03)
	near(t, "cpu", m.cpu(0, len(m.busy)-1), a/c, 0.01)
}

// TestQueueIsMG1: of lognormal work, the wait is that of Pollaczek and Khinchine,
// λ·E[s²]/(2(1-ρ)).
func TestQueueIsMG1(t *testing.T) {
	sc := Default()
	const lambda = 30.0
	mean, sigma := sc.Service.Mean.Seconds(), sc.Service.Sigma
	w := &world{sc: &sc, mu: math.Log(mean) - sigma*sigma/2}
	m := testMachine(1, 60000)
	_, wait := play(m, lambda, func(r *rand.Rand) float64 {
		w.arrivals = r
		return w.work()
	})
	near(t, "mean wait", wait, lambda*mean*mean*math.Exp(sigma*sigma)/(2*(1-lambda*mean)), 0.03)
	near(t, "cpu", m.cpu(0, len(m.busy)-1), lambda*mean, 0.01)
}

// TestAntagonistTakesItsPart: with half of the CPU gone, half as much is served and
// the whole CPU is busy all the same.
func TestAntagonistTakesItsPart(t *testing.T) {
	m := testMachine(4, 2000)
	for i := range m.nature {
		m.nature[i].antagonist, m.nature[i].speed = 0.5, 0.5
	}
	const work = 0.02
	_, _ = play(m, 60, func(*rand.Rand) float64 { return work })
	near(t, "cpu", m.cpu(0, len(m.busy)-1), 0.5+60*work/4, 0.02)
}

// TestDispatcherDealsSlots: every slot belongs to the backend that Quantize gave
// it to.
func TestDispatcherDealsSlots(t *testing.T) {
	slots := []uint32{0, 1, 255, 0, 30000, 35279, 1, 0}
	d := newDispatcher(slots)
	got := make([]uint32, len(slots))
	for s := range uint64(65536) {
		i := d.pick(s << 48)
		if i < 0 {
			t.Fatalf("slot %d has no backend", s)
		}
		got[i]++
	}
	for i := range slots {
		if got[i] != slots[i] {
			t.Errorf("backend %d has %d slots, want %d", i, got[i], slots[i])
		}
	}
	if newDispatcher(make([]uint32, 3)).pick(1) != -1 {
		t.Error("a backend was picked of none")
	}
}

// TestHistogram: quantiles are right to 1 %, from microseconds to hours.
func TestHistogram(t *testing.T) {
	for _, scale := range []float64{1e-5, 1e-2, 1, 1e4} {
		var h histogram
		for i := range 10000 {
			h.add(scale * float64(i+1) / 10000)
		}
		for _, q := range []float64{0.5, 0.99, 0.999} {
			near(t, "quantile", h.quantile(q), scale*q, 0.01)
		}
	}
}
