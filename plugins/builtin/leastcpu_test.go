// SPDX-License-Identifier: Apache-2.0

package builtin_test

import (
	"math"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A cpuPool is a pool whose readings a test sets by hand.
type cpuPool struct {
	*core.Snapshot
	n *native
}

func newCPUPool(t *testing.T, weights ...uint32) *cpuPool {
	p := &cpuPool{Snapshot: &core.Snapshot{Service: "web", ID: 1, Since: time.Second}, n: find(t, "least-cpu")}
	for i, w := range weights {
		p.Backends = append(p.Backends, core.BackendInput{ID: uint64(i + 1), Name: string(rune('a' + i)), Weight: w, Health: core.Up})
		p.set(i, 0.5, 200, 10)
	}
	return p
}

// set gives a backend its readings: CPU, connections closed per second, open ones.
func (p *cpuPool) set(i int, cpu, closed, open float64) {
	known := func(v float64) core.Reading { return core.Reading{Value: v, Known: true, Window: 5 * time.Second} }
	b := &p.Backends[i]
	b.CPU, b.Done, b.Conns, b.Cores = known(cpu), known(closed), known(open), known(8)
}

// samples lets fresh samples come and returns the shares after the last.
func (p *cpuPool) samples(t *testing.T, n int) []float64 {
	t.Helper()
	var w []float64
	for range n {
		for i := range p.Backends {
			p.Backends[i].CPUSeq++
		}
		w = p.n.schedule(t, p.Snapshot)
	}
	return shares(w)
}

// TestLeastCPUDoesNotFeedASinkhole: a backend that fails all work at once, with an
// idle CPU, gets no more than it had.
func TestLeastCPUDoesNotFeedASinkhole(t *testing.T) {
	p := newCPUPool(t, 100, 100, 100)
	before := p.samples(t, 10)[0]
	p.set(0, 0.25, 200, 0) // the sample from the moment when it began
	p.samples(t, 1)
	p.set(0, 0.001, 200, 0)
	if got := p.samples(t, 60)[0]; got > 1.15*before {
		t.Errorf("the sinkhole's share went from %.3f to %.3f", before, got)
	}
}

// TestLeastCPUIdle: with hardly any load, counts are noise and the shares stay.
func TestLeastCPUIdle(t *testing.T) {
	p := newCPUPool(t, 100, 100)
	p.samples(t, 10)
	p.set(0, 0.01, 9, 0)
	p.set(1, 0.01, 3, 0)
	if got := p.samples(t, 50); math.Abs(got[0]-0.5) > 1e-6 {
		t.Errorf("shares %.3f of two idle backends", got)
	}
}

// TestLeastCPUForgetsWhatWasWrong: a backend whose estimate is far too low gets so
// little that its CPU tells nothing; it comes back all the same.
func TestLeastCPUForgetsWhatWasWrong(t *testing.T) {
	p := newCPUPool(t, 100, 100)
	p.set(0, 1, 5, 0)
	low := p.samples(t, 30)[0]
	p.set(0, 0.01, 5, 0)
	if got := p.samples(t, 100)[0]; low > 0.05 || got < 0.25 {
		t.Errorf("share %.3f after it was overloaded, %.3f later", low, got)
	}
}

// TestLeastCPULead: the less busy of two backends gets more than its estimate while
// connections live long, and as much as that with short ones.
func TestLeastCPULead(t *testing.T) {
	for _, tt := range []struct {
		name  string
		life  float64 // seconds
		share float64 // of the backend with 0.4 beside one with 0.6, alike but for that
	}{{"short", 0.02, 0.5}, {"long", 600, 0.6}} {
		p := newCPUPool(t, 100, 100)
		p.set(0, 0.4, 160, 160*tt.life)
		p.set(1, 0.6, 240, 240*tt.life)
		if got := p.samples(t, 20)[0]; math.Abs(got-tt.share) > 0.001 {
			t.Errorf("%s connections: share %.3f, want %.3f", tt.name, got, tt.share)
		}
	}
}

// TestLeastCPUBelievesWeights: before there is an estimate, weights that differ
// count and cores do not come on top.
func TestLeastCPUBelievesWeights(t *testing.T) {
	p := newCPUPool(t, 100, 300)
	p.Backends[0].Cores.Value = 4
	p.Backends[1].Cores.Value = 12
	if got := p.samples(t, 1)[0]; math.Abs(got-0.25) > 1e-6 {
		t.Errorf("first share %.4f, want 0.25", got)
	}
}
