// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// epoch is when every run begins. Policies may go by the time of day.
var epoch = time.Date(2026, time.January, 1, 12, 0, 0, 0, time.UTC)

// A balancer decides for the connections that come to it.
type balancer struct {
	service string
	n       int // which one it is
	world   *world
	flows   []*flow
	slots   *dispatcher
	sent    []uint32 // slots in force

	every, next    int // ticks
	seq            uint64
	lastCall       int // tick; -1 before the first
	free, cutShort bool
	commits        int
	moved          float64 // part of all new connections that commits sent elsewhere, summed
	tipped         bool
}

// A flow is what a balancer knows of a backend.
type flow struct {
	hash           uint64
	opened, closed []uint32 // in each tick; closed may be of ticks to come
	open           int64

	health core.Health
	since  int // tick
	cameUp int // tick; -1 if never

	opinion     float64
	opinionFrom int
	share       float64
	held        float64 // the share that it decays from

	cpu, done, cores, response, fresh reading
	cpuSeq                            uint32
	sensor                            sensor
}

// A reading is a value with the tick that it is of.
type reading struct {
	value  float64
	at     int
	window time.Duration
	known  bool
}

// seen is the reading as a policy may see it now, as in core/engine.
func (r reading) seen(now int, stale time.Duration) core.Reading {
	if !r.known {
		return core.Reading{}
	}
	age := at(now - r.at)
	return core.Reading{Value: r.value, Age: age, Window: r.window, Known: stale == 0 || age <= stale}
}

func newBalancer(w *world, service string) *balancer {
	lb := &balancer{service: service, n: len(w.balancers), world: w, lastCall: -1, free: true, every: ticks(w.sc.Every)}
	if w.policy.Every > 0 {
		lb.every = ticks(w.policy.Every)
	}
	lb.next = 1 + w.noise.IntN(lb.every)
	for _, m := range w.machines {
		id := core.BackendID{Service: service, Backend: m.name}
		f := &flow{hash: id.Hash(), cameUp: -1, opinion: core.Hold,
			opened: make([]uint32, len(w.rates)), closed: make([]uint32, len(w.rates)),
			health: core.Health{Rise: w.sc.Health.Rise, Fall: w.sc.Health.Fall, State: core.Up}}
		f.sensor = newSensor(w)
		lb.flows = append(lb.flows, f)
	}
	if w.policy.Scheduler == nil {
		lb.best()
	} else {
		lb.decide()
	}
	lb.commits, lb.moved = 0, 0
	return lb
}

// balance is what the balancers do at the end of a tick.
func (w *world) balance(ctx context.Context) error {
	for _, lb := range w.balancers {
		for i, f := range lb.flows {
			f.count(w.tick)
			lb.probe(i)
			f.sense(w, w.machines[i])
		}
		if w.policy.Scheduler == nil {
			lb.best()
			continue
		}
		if lb.tipped {
			lb.tipped, lb.next = false, w.tick
			lb.decide()
		}
		if w.tick >= lb.next {
			if err := lb.call(ctx); err != nil {
				return err
			}
		}
		lb.leave()
	}
	return nil
}

// call asks the policy and decides, as core/engine does.
func (lb *balancer) call(ctx context.Context) error {
	w := lb.world
	lb.seq++
	snap := lb.snapshot()
	lb.lastCall, lb.next = w.tick, w.tick+lb.every
	r := w.policy.Scheduler.Schedule(ctx, []core.Call{{Policy: w.policy.Name, Snapshot: snap}})
	switch {
	case len(r) != 1:
		return fmt.Errorf("%d results for one call", len(r))
	case r[0].Err != nil:
		return r[0].Err
	case len(r[0].Weights) != len(lb.flows):
		return fmt.Errorf("%d weights for %d backends", len(r[0].Weights), len(lb.flows))
	}
	for i, f := range lb.flows {
		f.opinion = r[0].Weights[i]
		if f.opinion != core.Hold && !(f.opinion >= 0 && !math.IsInf(f.opinion, 1)) {
			return errors.New("a weight is no number from 0 upward")
		}
		if f.opinion != core.Hold {
			f.opinionFrom = w.tick
		}
	}
	lb.decide()
	lb.free = false
	return nil
}

// snapshot is what the policy sees, as in core/engine.
func (lb *balancer) snapshot() core.Snapshot {
	w := lb.world
	now, stale := w.tick, w.sc.Shaping.StaleAfter
	s := core.Snapshot{Service: lb.service, ID: core.BackendID{Service: lb.service}.Hash(), Seq: lb.seq,
		Now: epoch.Add(at(now)), Params: w.policy.Params, Backends: make([]core.BackendInput, len(lb.flows))}
	if lb.lastCall >= 0 {
		s.Since = at(now - lb.lastCall)
	}
	for i, f := range lb.flows {
		s.Backends[i] = core.BackendInput{
			ID: f.hash, Name: w.machines[i].name, Weight: w.machines[i].weight, Health: f.health.State,
			Since: at(now - f.since), Share: f.share, CPUSeq: f.cpuSeq,
			CPU: f.cpu.seen(now, stale), Cores: f.cores.seen(now, stale), Response: f.response.seen(now, stale),
			Conns: core.Reading{Value: float64(f.open), Known: true}, New: f.fresh.seen(now, stale), Done: f.done.seen(now, stale),
		}
	}
	return s
}

// decide turns the latest opinions into slots.
func (lb *balancer) decide() {
	if lb.world.policy.Raw {
		lb.commit(lb.rawShares())
		return
	}
	w := lb.world
	in := make([]core.ShapeBackend, len(lb.flows))
	for i, f := range lb.flows {
		in[i] = core.ShapeBackend{Weight: w.machines[i].weight, Health: f.health.State, Opinion: f.opinion,
			HeldFor: at(w.tick - f.opinionFrom), Held: f.held, Prev: f.share, UpFor: -1}
		if f.cameUp >= 0 {
			in[i].UpFor = at(w.tick - f.cameUp)
		}
	}
	rules := w.sc.Shaping.rules().Under(w.policy.Name)
	shaped := core.Shape(rules, 1, in, core.NextPace(lb.free, lb.cutShort))
	lb.cutShort = core.CutShort(shaped)
	shares := make([]float64, len(shaped))
	for i := range shaped {
		shares[i] = shaped[i].Share
		lb.flows[i].held = core.HeldFrom(lb.flows[i].held, shares[i], in[i].HeldFor, rules)
	}
	lb.commit(shares)
}

// rawShares are the opinions as they are; whoever is held keeps the share it has.
func (lb *balancer) rawShares() []float64 {
	shares := make([]float64, len(lb.flows))
	sum, held := 0.0, 0.0
	for _, f := range lb.flows {
		switch {
		case f.health.State != core.Up:
		case f.opinion == core.Hold && f.share > 0:
			held += f.share
		case f.opinion == core.Hold:
			held += 1 / float64(len(lb.flows))
		default:
			sum += f.opinion
		}
	}
	for i, f := range lb.flows {
		switch {
		case f.health.State != core.Up:
		case f.opinion == core.Hold && f.share > 0:
			shares[i] = f.share
		case f.opinion == core.Hold:
			shares[i] = 1 / float64(len(lb.flows))
		case sum > 0:
			shares[i] = max(0, 1-held) * f.opinion / sum
		}
	}
	return shares
}

// best gives every backend its part of the true capacity.
func (lb *balancer) best() {
	w := lb.world
	shares, sum := make([]float64, len(lb.flows)), 0.0
	for i, m := range w.machines {
		shares[i] = m.capacity(min(w.tick, len(w.rates)))
		sum += shares[i]
	}
	for i := range shares {
		if sum > 0 {
			shares[i] /= sum
		}
	}
	lb.commit(shares)
}

// commit puts shares into force.
func (lb *balancer) commit(shares []float64) {
	slots := core.Quantize(shares)
	for i, f := range lb.flows {
		if lb.sent != nil {
			lb.moved += math.Abs(float64(slots[i])-float64(lb.sent[i])) / 2 / core.Slots
		}
		f.share = shares[i]
	}
	if !slices.Equal(slots, lb.sent) {
		lb.sent, lb.slots = slots, newDispatcher(slots)
		lb.commits++
	}
}

// leave takes the connections away from backends that have gone down.
func (lb *balancer) leave() {
	for i, f := range lb.flows {
		if f.health.State == core.Down && f.since == lb.world.tick {
			lb.world.reconnect(lb.n, i)
		}
	}
}
