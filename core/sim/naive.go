// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"math"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// naiveEvery is how often the products that naive policies stand for set weights.
const naiveEvery = 5 * time.Second

// Naive are policies that others use and that look right. They are here to be
// compared with; none is offered for use.
func Naive() []Policy {
	var out []Policy
	for _, n := range []naive{
		{name: "naive-equal", about: "the same share for every backend", weigh: func(*core.BackendInput, *float64) float64 { return 1 }},
		{name: "naive-idle", about: "idle CPU, as agents of HAProxy and keepalived give: 1 - cpu", weigh: func(b *core.BackendInput, _ *float64) float64 {
			return idle(b)
		}},
		{name: "naive-idle-cores", about: "idle cores: cores × (1 - cpu)", weigh: func(b *core.BackendInput, _ *float64) float64 {
			if !b.CPU.Known {
				return core.Hold
			}
			return max(1, b.Cores.Value) * idle(b)
		}},
		{name: "naive-inverse-response", about: "1 / response time", weigh: func(b *core.BackendInput, _ *float64) float64 {
			if !b.Response.Known {
				return core.Hold
			}
			return 1 / max(b.Response.Value, 0.001)
		}},
		{name: "naive-argmin", about: "everything to the backend with the least CPU", argmin: true, weigh: func(b *core.BackendInput, _ *float64) float64 {
			return idle(b)
		}},
		{name: "naive-lvs-feedback", about: "LVS dynamic feedback: w += 5·cbrt(0.95 - cpu), 1 to 1000", weigh: func(b *core.BackendInput, w *float64) float64 {
			if !b.CPU.Known {
				return core.Hold
			}
			if *w == 0 {
				*w = float64(b.Weight)
			}
			*w = min(1000, max(1, *w+5*math.Cbrt(0.95-b.CPU.Value)))
			return *w
		}},
	} {
		out = append(out, Policy{Name: n.name, About: n.about, Scheduler: &n, Raw: true, Every: naiveEvery})
	}
	return out
}

// idle is the idle part of the CPU, a hundredth at least.
func idle(b *core.BackendInput) float64 {
	if !b.CPU.Known {
		return core.Hold
	}
	return max(0.01, 1-b.CPU.Value)
}

// A naive policy weighs each backend by itself. It keeps its state between the
// calls of one service, and is for one run at a time.
type naive struct {
	name, about string
	argmin      bool // the largest weight takes all
	weigh       func(b *core.BackendInput, state *float64) float64
	state       map[uint64]*float64
}

// Schedule implements Scheduler.
func (n *naive) Schedule(_ context.Context, calls []core.Call) []core.Result {
	out := make([]core.Result, len(calls))
	for c := range calls {
		if n.state == nil {
			n.state = map[uint64]*float64{}
		}
		bs := calls[c].Snapshot.Backends
		weights, best := make([]float64, len(bs)), -1
		for i := range bs {
			if n.state[bs[i].ID] == nil {
				n.state[bs[i].ID] = new(float64)
			}
			weights[i] = n.weigh(&bs[i], n.state[bs[i].ID])
			if bs[i].Health != core.Up {
				weights[i] = 0
			} else if best < 0 || weights[i] > weights[best] {
				best = i
			}
		}
		for i := range weights {
			if n.argmin && i != best && weights[i] != core.Hold {
				weights[i] = 0
			}
		}
		out[c].Weights = weights
	}
	return out
}
