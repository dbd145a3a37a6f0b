// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// responseAlpha smooths response times as the engine does.
const responseAlpha = 0.3

// rateWindow is the window of closed-per-second where there is no CPU sample.
const rateWindow = 5 * time.Second

// openedWindow is about what the engine takes the rate of new connections over.
const openedWindow = 6 * time.Second

// sinkResponse is how fast a sinkhole fails, seconds.
const sinkResponse = 0.001

// probeSigma is how much the work of a probe varies: it asks for one page, always
// the same.
const probeSigma = 0.25

// A sensor is the probes that one balancer sends to one backend, and the agent
// there. All times are ticks.
type sensor struct {
	phase    int // of the agent's refreshes
	poll     int // the next
	health   int
	response int
	seen     int     // the refresh that was seen last; -1 if none
	frozen   float64 // what a stuck agent says
}

// newSensor spreads the probes at random, as the daemon does.
func newSensor(w *world) sensor {
	r := w.noise
	return sensor{
		phase: r.IntN(max(1, ticks(w.sc.Sensor.Refresh))), poll: r.IntN(max(1, ticks(w.sc.Sensor.Poll))),
		health: r.IntN(max(1, ticks(w.sc.Health.Interval))), response: r.IntN(max(1, ticks(w.sc.Sensor.Poll))), seen: -1,
	}
}

// again is the tick of the next poll, ±10 %.
func (w *world) again(interval time.Duration) int {
	return w.tick + max(1, ticks(time.Duration(float64(interval)*(0.9+0.2*w.noise.Float64()))))
}

// count follows the connections of the tick that has ended.
func (f *flow) count(now int) {
	f.open += int64(f.opened[now-1]) - int64(f.closed[now-1])
	if now%4 == 0 {
		from := max(0, now-ticks(openedWindow))
		f.fresh = reading{perSecond(f.opened, from, now), now, at(now - from), true}
	}
}

// perSecond is a rate over ticks.
func perSecond(counts []uint32, from, to int) float64 {
	sum := uint64(0)
	for _, n := range counts[from:to] {
		sum += uint64(n)
	}
	return float64(sum) / at(to-from).Seconds()
}

// probe asks a backend whether it is there, and how fast.
func (lb *balancer) probe(i int) {
	w, f, m := lb.world, lb.flows[i], lb.world.machines[i]
	c := m.nature[w.tick]
	if w.tick >= f.sensor.health {
		f.sensor.health = w.again(w.sc.Health.Interval)
		if f.health.Add(!c.dead) {
			f.since, lb.tipped = w.tick, true
			if f.health.State == core.Up {
				f.cameUp, f.opinion, f.opinionFrom = w.tick, core.Hold, w.tick
			}
		}
	}
	if w.tick < f.sensor.response {
		return
	}
	f.sensor.response = w.again(w.sc.Sensor.Poll)
	took := sinkResponse
	switch {
	case c.dead:
		return
	case !c.sink:
		took = max(0, m.free[0]-w.now()) + w.probeWork()/float64(c.speed)
	}
	if f.response.known {
		took = responseAlpha*took + (1-responseAlpha)*f.response.value
	}
	f.response = reading{took, w.tick, 0, true}
}

// sense polls the agent. The connections closed are counted over the window that
// ends when the sample came, as in core/engine: an agent does not say when it
// refreshed.
func (f *flow) sense(w *world, m *machine) {
	if w.tick >= f.sensor.poll {
		f.sensor.poll = w.again(w.sc.Sensor.Poll)
		if w.noise.Float64() >= w.sc.Sensor.Loss {
			f.poll(w, m)
		}
	}
	if !f.cpu.known {
		from := max(0, w.tick-ticks(rateWindow))
		f.done = reading{perSecond(f.closed, from, w.tick), w.tick, at(w.tick - from), true}
	}
}

func (f *flow) poll(w *world, m *machine) {
	s := w.sc.Sensor
	refresh := max(1, ticks(s.Refresh))
	last := (w.tick-f.sensor.phase)/refresh*refresh + f.sensor.phase
	if c := m.nature[w.tick]; c.dead || c.mute || last < refresh || last == f.sensor.seen {
		return
	}
	f.sensor.seen = last
	window := min(ticks(s.Window), last)
	v := m.cpu(last-window, last)
	if m.nature[w.tick].stuck {
		v = f.sensor.frozen
	}
	f.sensor.frozen = v
	f.cpu = reading{v, w.tick, at(window), true}
	f.cpuSeq++
	f.done = reading{}
	if from := w.tick - window; from >= 0 {
		f.done = reading{perSecond(f.closed, from, w.tick), w.tick, at(window), true}
	}
	if s.Cores {
		f.cores = reading{float64(m.cores), w.tick, 0, true}
	}
}
