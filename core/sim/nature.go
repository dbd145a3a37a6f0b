// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"math"
	"time"
)

// ticksPerSecond is the engine's: it looks at its counters every half second.
const ticksPerSecond = 2

// ticks is a time in ticks, rounded.
func ticks(d time.Duration) int { return int(math.Round(d.Seconds() * ticksPerSecond)) }

// tickOf is the tick of a time in seconds, but last if that is later: a machine
// that hardly works is done with a request after more ticks than an int counts.
func tickOf(seconds float64, last int) int {
	if k := seconds * ticksPerSecond; k < float64(last) {
		return int(k)
	}
	return last
}

// at is the time of a tick.
func at(tick int) time.Duration { return time.Duration(tick) * time.Second / ticksPerSecond }

// machines are the backends of a scenario with all that will happen to them.
func (sc *Scenario) machines() []*machine {
	var out []*machine
	n := ticks(sc.Duration)
	for _, b := range sc.Backends {
		for k := range max(1, b.Count) {
			m := &machine{name: b.Name, cores: b.Cores, weight: b.Weight,
				nature: make([]condition, n+1), free: make([]float64, b.Cores), busy: make([]float64, n+1)}
			if b.Count > 1 {
				m.name = fmt.Sprintf("%s%d", b.Name, k+1)
			}
			if m.weight == 0 {
				m.weight = defaultWeight
			}
			for t := range m.nature {
				m.nature[t] = condition{speed: float32(speedOr1(b.Speed))}
			}
			for _, e := range sc.Events {
				if e.Backend == "" || e.Backend == m.name || e.Backend == b.Name {
					m.suffer(e, sc.Sensor)
				}
			}
			out = append(out, m)
		}
	}
	return out
}

const defaultWeight = 100

func speedOr1(v float64) float64 {
	if v == 0 {
		return 1
	}
	return v
}

// suffer puts an event into a machine's nature.
func (m *machine) suffer(e Event, s Sensor) {
	until := e.Until
	if e.Kind == Restart {
		until = e.At + s.Refresh + s.Window
	}
	last := ticks(until)
	if until == 0 {
		last = len(m.nature)
	}
	for k := ticks(e.At); k < min(last, len(m.nature)); k++ {
		c, since := &m.nature[k], at(k)-e.At
		switch e.Kind {
		case Speed:
			c.speed *= float32(e.Value)
		case Antagonist:
			a := e.Value
			if e.Period > 0 {
				a *= (1 - math.Cos(2*math.Pi*since.Seconds()/e.Period.Seconds())) / 2
			}
			c.antagonist = float32(1 - (1-float64(c.antagonist))*(1-a))
			c.speed *= float32(1 - a)
		case Dead:
			c.dead = c.dead || e.Period == 0 || since%e.Period < e.For
		case Sinkhole:
			c.sink = true
		case Stuck:
			c.stuck = true
		case Restart:
			c.mute = true
		}
	}
}

// rate is how many requests come per second in each tick.
func (sc *Scenario) rate(ms []*machine) []float64 {
	total := 0.0
	for _, m := range ms {
		c := m.nature[0]
		total += float64(m.cores) * float64(c.speed)
	}
	out := make([]float64, ticks(sc.Duration))
	for k := range out {
		out[k] = sc.Load.Utilisation * total / sc.Service.Mean.Seconds() * factorAt(sc.Load.Profile, at(k))
	}
	return out
}

func factorAt(ps []Point, t time.Duration) float64 {
	if len(ps) == 0 {
		return 1
	}
	if t <= ps[0].At {
		return ps[0].Factor
	}
	for i := 1; i < len(ps); i++ {
		a, b := ps[i-1], ps[i]
		if t <= b.At && b.At > a.At {
			return a.Factor + (b.Factor-a.Factor)*float64(t-a.At)/float64(b.At-a.At)
		}
	}
	return ps[len(ps)-1].Factor
}
