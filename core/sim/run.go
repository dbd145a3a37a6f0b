// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
)

// Options of a run.
type Options struct {
	Seed   uint64
	Record bool // keep what a plot needs
	// State tells runs apart to the Scheduler, which keeps states by the name of the
	// service. It is part of what a policy's random numbers come from.
	State string
}

// Run plays a scenario under a policy. It ends early only if ctx does, or if the
// policy's answers cannot be used.
func Run(ctx context.Context, sc Scenario, p Policy, o Options) (Outcome, error) {
	if err := sc.Check(); err != nil {
		return Outcome{}, err
	}
	w := newWorld(&sc, p, o)
	for w.tick = 0; w.tick < len(w.rates); {
		if w.tick%64 == 0 && ctx.Err() != nil {
			return Outcome{}, ctx.Err()
		}
		w.traffic()
		w.tick++
		w.changes()
		if err := w.balance(ctx); err != nil {
			return Outcome{}, fmt.Errorf("run policy %s in scenario %s at %s: %w", p.Name, sc.Name, at(w.tick), err)
		}
		w.score.look(w)
	}
	return w.score.outcome(w), nil
}

// A world is one run.
type world struct {
	sc       *Scenario
	policy   Policy
	machines []*machine
	rates    []float64 // of requests, at each tick
	tick     int       // that is played, or has just ended

	balancers []*balancer
	conns     []conn // open, of scenarios whose connections have a life
	opening   float64

	arrivals, noise *rand.Rand // of requests, and of probes
	mu              float64    // mean of the logarithm of service times
	score           score
}

// A conn is an open connection.
type conn struct{ balancer, backend uint16 }

// The streams of random numbers: what sensors draw must not change the requests.
const (
	streamArrivals = 1
	streamNoise    = 2
)

func newWorld(sc *Scenario, p Policy, o Options) *world {
	w := &world{sc: sc, policy: p, machines: sc.machines(),
		arrivals: rand.New(rand.NewPCG(o.Seed, streamArrivals)), noise: rand.New(rand.NewPCG(o.Seed, streamNoise)),
		mu: math.Log(sc.Service.Mean.Seconds()) - sc.Service.Sigma*sc.Service.Sigma/2}
	w.rates = sc.rate(w.machines)
	for k := range sc.Balancers {
		w.balancers = append(w.balancers, newBalancer(w, fmt.Sprintf("%s.%s.lb%d", sc.Name, o.State, k+1)))
	}
	if sc.Connections.Life > 0 {
		open := w.rates[0] / sc.Connections.Requests
		w.opening = open / sc.Connections.Life.Seconds()
		for range int(open) {
			w.open(w.arrivals.IntN(len(w.balancers)))
		}
	}
	w.score = newScore(w, o.Record)
	return w
}

// now is the start of the tick in seconds.
func (w *world) now() float64 { return float64(w.tick) / ticksPerSecond }

// traffic plays the requests of a tick.
func (w *world) traffic() {
	t, end := w.now(), w.now()+1.0/ticksPerSecond
	if w.sc.Connections.Life > 0 {
		w.lasting(t, end)
		return
	}
	gap := 1 / w.rates[w.tick]
	for t += gap * w.arrivals.ExpFloat64(); t < end; t += gap * w.arrivals.ExpFloat64() {
		b := w.anyBalancer()
		lb := w.balancers[b]
		i := lb.slots.pick(w.arrivals.Uint64())
		if i < 0 {
			w.score.fail(t)
			continue
		}
		lb.flows[i].opened[w.tick]++
		if k := tickOf(w.request(i, t), len(w.rates)); k < len(w.rates) {
			lb.flows[i].closed[k]++
		}
	}
}

func (w *world) anyBalancer() int {
	if len(w.balancers) == 1 {
		return 0
	}
	return w.arrivals.IntN(len(w.balancers))
}

// lasting plays a tick of connections with a life: one is opened, one is closed,
// or one sends a request, whichever comes first.
func (w *world) lasting(t, end float64) {
	life := w.sc.Connections.Life.Seconds()
	// What changes with the load is how much each connection asks.
	each := w.sc.Connections.Requests * w.rates[w.tick] / w.rates[0]
	for {
		n := float64(len(w.conns))
		total := w.opening + n*(each+1/life)
		if t += w.arrivals.ExpFloat64() / total; t >= end {
			return
		}
		switch u := w.arrivals.Float64() * total; {
		case u < w.opening:
			w.open(w.anyBalancer())
		case u < w.opening+n/life:
			k := w.arrivals.IntN(len(w.conns))
			c := w.conns[k]
			w.balancers[c.balancer].flows[c.backend].closed[w.tick]++
			w.conns[k] = w.conns[len(w.conns)-1]
			w.conns = w.conns[:len(w.conns)-1]
		default:
			w.request(int(w.conns[w.arrivals.IntN(len(w.conns))].backend), t)
		}
	}
}

// open opens a connection through a balancer.
func (w *world) open(b int) {
	lb := w.balancers[b]
	if i := lb.slots.pick(w.arrivals.Uint64()); i >= 0 {
		lb.flows[i].opened[w.tick]++
		w.conns = append(w.conns, conn{uint16(b), uint16(i)})
	}
}

// request serves one and returns when it ended.
func (w *world) request(i int, t float64) (done float64) {
	m := w.machines[i]
	if c := m.nature[w.tick]; c.dead || c.sink {
		w.score.fail(t)
		return t
	}
	done = m.serve(t, w.work())
	w.score.serve(t, done)
	return done
}

// work is the time that a request keeps a core of speed 1 busy, seconds.
func (w *world) work() float64 {
	return math.Exp(w.mu + w.sc.Service.Sigma*w.arrivals.NormFloat64())
}

// probeWork is the same of a probe.
func (w *world) probeWork() float64 {
	return w.sc.Service.Mean.Seconds() * math.Exp(probeSigma*w.noise.NormFloat64()-probeSigma*probeSigma/2)
}

// changes brings about what the end of a tick changes by itself.
func (w *world) changes() {
	if w.tick >= len(w.rates) {
		return
	}
	for _, m := range w.machines {
		if before, c := m.nature[w.tick-1], m.nature[w.tick]; before.dead && !c.dead {
			m.reset(w.now())
		}
	}
}

// reconnect moves the connections of a balancer away from a backend that died.
func (w *world) reconnect(b, i int) {
	var gone int
	kept := w.conns[:0]
	for _, c := range w.conns {
		if int(c.balancer) == b && int(c.backend) == i {
			gone++
			continue
		}
		kept = append(kept, c)
	}
	w.conns = kept
	if gone > 0 {
		w.balancers[b].flows[i].closed[min(w.tick, len(w.rates)-1)] += uint32(gone)
	}
	for range gone {
		if w.tick < len(w.rates) {
			w.open(b)
		}
	}
}
