// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"slices"
	"time"
)

// mixed is the pool of most scenarios: eight backends of 4 to 16 cores, all with
// the same configured weight, as an operator leaves them who does not know.
func mixed() []Backend {
	return []Backend{{Name: "b1", Cores: 4}, {Name: "b2", Cores: 4}, {Name: "b3", Cores: 8}, {Name: "b4", Cores: 8},
		{Name: "b5", Cores: 12}, {Name: "b6", Cores: 12}, {Name: "b7", Cores: 16}, {Name: "b8", Cores: 16}}
}

// weighed is the same pool with the right weights.
func weighed() []Backend {
	bs := mixed()
	for i := range bs {
		bs[i].Weight = uint32(bs[i].Cores)
	}
	return bs
}

// Library are the scenarios that come with steelyard.
func Library() []Scenario {
	out := slices.Concat(steps(), sensors(), troubles(), loads(), pools())
	for i := range out {
		if err := out[i].Check(); err != nil {
			panic(out[i].Name + ": " + err.Error()) // a bug of the library
		}
	}
	return out
}

// scenario begins with the defaults.
func scenario(name, about string, change func(*Scenario)) Scenario {
	sc := Default()
	sc.Name, sc.About = name, about
	sc.Backends = mixed()
	change(&sc)
	return sc
}

// halved has b6 lose half of its speed at 400 s.
func halved(sc *Scenario) {
	sc.Events = append(sc.Events, Event{At: 400 * time.Second, Backend: "b6", Kind: Speed, Value: 0.5})
	sc.Settle, sc.Measure = 400*time.Second, 650*time.Second
}

// steps are the four cases of the gate and their neighbours.
func steps() []Scenario {
	step := func(name, about string, life, window time.Duration) Scenario {
		return scenario(name, about, func(sc *Scenario) {
			halved(sc)
			sc.Connections.Life, sc.Sensor.Window = life, window
		})
	}
	const s = time.Second
	return []Scenario{
		step("step", "b6 loses half its speed at 400 s; short connections, CPU over 5 s", 0, 5*s),
		step("step-lag30", "b6 loses half its speed at 400 s; short connections, CPU over 30 s", 0, 30*s),
		step("step-lag60", "b6 loses half its speed at 400 s; short connections, CPU over 60 s", 0, 60*s),
		step("step-conn60", "b6 loses half its speed at 400 s; connections of 60 s, CPU over 5 s", 60*s, 5*s),
		step("step-conn60-lag60", "b6 loses half its speed at 400 s; connections of 60 s, CPU over 60 s", 60*s, 60*s),
		scenario("conn600", "b6 loses half its speed at 400 s; connections of 10 min, CPU over 10 s; right weights", func(sc *Scenario) {
			halved(sc)
			sc.Connections.Life, sc.Sensor.Window, sc.Duration, sc.Measure = 600*s, 10*s, 3600*s, 1800*s
			sc.Backends, sc.Load.Utilisation = weighed(), 0.5
		}),
	}
}

// sensors are the ways in which what is known is late, wrong or missing.
func sensors() []Scenario {
	const s = time.Second
	return []Scenario{
		scenario("loss", "one CPU sample in ten gets lost; right weights", func(sc *Scenario) {
			sc.Backends, sc.Sensor.Loss = weighed(), 0.1
		}),
		scenario("stuck", "the agent of b6 says for 300 s what it said at 400 s; right weights", func(sc *Scenario) {
			sc.Backends = weighed()
			sc.Events = []Event{{At: 400 * s, Until: 700 * s, Backend: "b6", Kind: Stuck}}
		}),
		scenario("agent-restart", "the agents of b1 and b8 begin anew at 400 s, CPU over 30 s; right weights", func(sc *Scenario) {
			sc.Backends, sc.Sensor.Window = weighed(), 30*s
			sc.Events = []Event{{At: 400 * s, Backend: "b1", Kind: Restart}, {At: 400 * s, Backend: "b8", Kind: Restart}}
		}),
		scenario("no-cores", "no agent tells its cores, and the weights are equal", func(sc *Scenario) {
			sc.Sensor.Cores, sc.Measure = false, 400*s
		}),
	}
}

// troubles are what befalls backends.
func troubles() []Scenario {
	const s = time.Second
	antagonist := func(name, about string, period time.Duration) Scenario {
		return scenario(name, about, func(sc *Scenario) {
			sc.Backends, sc.Load.Utilisation = weighed(), 0.6
			sc.Events = []Event{{Backend: "b6", Kind: Antagonist, Value: 0.5, Period: period}, {Backend: "b3", Kind: Antagonist, Value: 0.5, Period: period}}
		})
	}
	return []Scenario{
		antagonist("antagonist-fast", "other work takes up to half of b3 and b6, in waves of 30 s; right weights", 30*s),
		antagonist("antagonist", "other work takes up to half of b3 and b6, in waves of 300 s; right weights", 300*s),
		antagonist("antagonist-slow", "other work takes up to half of b3 and b6, in waves of 600 s; right weights", 600*s),
		scenario("flap", "b6 is down for 7 s of every 60; slow start of 10 s; right weights", func(sc *Scenario) {
			sc.Backends, sc.Shaping.SlowStart = weighed(), 10*s
			sc.Events = []Event{{At: 100 * s, Backend: "b6", Kind: Dead, Period: 60 * s, For: 7 * s}}
		}),
		scenario("recovery", "b6 has half its speed until 400 s, then all of it; right weights", func(sc *Scenario) {
			sc.Backends = weighed()
			sc.Events = []Event{{Until: 400 * s, Backend: "b6", Kind: Speed, Value: 0.5}}
			sc.Settle = 400 * s
		}),
		scenario("sinkhole", "b6 fails every request at once from 400 s to 700 s, with an idle CPU, unseen by its health probe; right weights", func(sc *Scenario) {
			sc.Backends = weighed()
			sc.Events = []Event{{At: 400 * s, Until: 700 * s, Backend: "b6", Kind: Sinkhole}}
			sc.Settle = 700 * s
		}),
	}
}

// loads are what clients do.
func loads() []Scenario {
	const s = time.Second
	return []Scenario{
		scenario("ramp", "the load goes from 0.3 to 0.9 of the capacity and back; right weights", func(sc *Scenario) {
			sc.Backends, sc.Load.Utilisation = weighed(), 0.3
			sc.Load.Profile = []Point{{200 * s, 1}, {600 * s, 3}, {800 * s, 3}, {1000 * s, 1}}
		}),
		scenario("surge", "the load doubles to 0.8 within a second at 400 s; right weights", func(sc *Scenario) {
			sc.Backends, sc.Load.Utilisation = weighed(), 0.4
			sc.Load.Profile = []Point{{400 * s, 1}, {401 * s, 2}}
		}),
		scenario("idle", "hardly any load: 0.02 of the capacity; right weights", func(sc *Scenario) {
			sc.Backends, sc.Load.Utilisation = weighed(), 0.02
		}),
	}
}

// pools are other pools, and other balancers on the same one.
func pools() []Scenario {
	const s = time.Second
	fleet := func(name string, count int, change func(*Scenario)) Scenario {
		return scenario(name, "", func(sc *Scenario) {
			sc.Backends = []Backend{{Name: "b", Count: count, Cores: 8, Weight: 100}}
			change(sc)
		})
	}
	alike := fleet("alike", 8, func(sc *Scenario) { sc.About = "eight backends of 8 cores, all alike" })
	two := fleet("two", 2, func(sc *Scenario) {
		sc.About = "two backends of 8 cores; b1 loses half its speed at 400 s"
		sc.Load.Utilisation = 0.5
	})
	two.Events = []Event{{At: 400 * s, Backend: "b1", Kind: Speed, Value: 0.5}}
	two.Settle, two.Measure = 400*s, 650*s
	many := fleet("two-hundred", 200, func(sc *Scenario) {
		sc.About = "200 backends of 8 cores; twenty lose half their speed at 200 s; requests of 200 ms"
		sc.Service.Mean, sc.Duration = 200*time.Millisecond, 700*s
		for k := range 20 {
			sc.Events = append(sc.Events, Event{At: 200 * s, Backend: "b" + string(rune('1'+k%9)) + string(rune('0'+k/9)), Kind: Speed, Value: 0.5})
		}
		sc.Settle, sc.Measure = 200*s, 450*s
	})
	return []Scenario{
		alike, two, many,
		scenario("cold", "a cold start: speeds of 0.5, 1 and 2 beside 4 to 16 cores, equal weights", func(sc *Scenario) {
			for i := range sc.Backends {
				sc.Backends[i].Speed = []float64{1, 0.5, 2}[i%3]
			}
			sc.Load.Utilisation = 0.5
		}),
		scenario("herd2", "two balancers that do not know of each other; b6 loses half its speed at 400 s", func(sc *Scenario) { halved(sc); sc.Balancers = 2 }),
		scenario("herd5", "five balancers that do not know of each other; b6 loses half its speed at 400 s", func(sc *Scenario) { halved(sc); sc.Balancers = 5 }),
	}
}
