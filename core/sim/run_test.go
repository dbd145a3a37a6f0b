// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// equal weighs all alike, and shows what it was asked to look.
type equal struct{ look func(core.Snapshot) }

func (e equal) Schedule(_ context.Context, calls []core.Call) []core.Result {
	out := make([]core.Result, len(calls))
	for i, c := range calls {
		if e.look != nil {
			e.look(c.Snapshot)
		}
		for range c.Snapshot.Backends {
			out[i].Weights = append(out[i].Weights, 1)
		}
	}
	return out
}

// small is a pool of two alike, for a few minutes.
func small(change func(*Scenario)) Scenario {
	sc := Default()
	sc.Name, sc.Duration, sc.Measure = "small", 300*time.Second, 60*time.Second
	sc.Backends = []Backend{{Name: "a", Cores: 8}, {Name: "b", Cores: 8}}
	if change != nil {
		change(&sc)
	}
	return sc
}

func mustRun(t *testing.T, sc Scenario, look func(core.Snapshot)) Outcome {
	t.Helper()
	o, err := Run(t.Context(), sc, Policy{Name: "equal", Scheduler: equal{look}}, Options{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// TestSameSeed: a seed is all that an outcome depends on.
func TestSameSeed(t *testing.T) {
	for _, sc := range []Scenario{small(nil), small(func(sc *Scenario) { sc.Connections.Life, sc.Balancers = 30*time.Second, 3 })} {
		run := func(seed uint64) Outcome {
			o, err := Run(t.Context(), sc, Policy{Name: "equal", Scheduler: equal{}}, Options{Seed: seed, Record: true})
			if err != nil {
				t.Fatal(err)
			}
			return o
		}
		if a, b := run(1), run(1); !reflect.DeepEqual(a, b) {
			t.Errorf("two runs of one seed differ:\n%+v\n%+v", a, b)
		}
		if a, b := run(1), run(2); reflect.DeepEqual(a, b) {
			t.Error("two seeds gave the same outcome")
		}
	}
}

// TestReadingsAreTrue: what a policy sees says what the world is like: over
// any window, with short connections and lasting ones, closed per second ÷ CPU is
// what a backend can do, and all adds up over several balancers.
func TestReadingsAreTrue(t *testing.T) {
	for name, change := range map[string]func(*Scenario){
		"short":         func(*Scenario) {},
		"window of 60s": func(sc *Scenario) { sc.Sensor.Window = time.Minute },
		"lasting":       func(sc *Scenario) { sc.Connections = Connections{Life: 20 * time.Second, Requests: 1} },
		"two balancers": func(sc *Scenario) { sc.Balancers = 2 },
	} {
		t.Run(name, func(t *testing.T) {
			sc := small(change)
			perRequest := 1.0
			if sc.Connections.Life > 0 {
				perRequest = sc.Connections.Requests * sc.Connections.Life.Seconds()
			}
			var capacity, cpu, opened, open mean
			mustRun(t, sc, func(s core.Snapshot) {
				if s.Seq < 120 {
					return
				}
				for _, b := range s.Backends {
					if !b.CPU.Known || !b.Done.Known || b.CPU.Window != b.Done.Window || b.Cores.Value != 8 || !b.Response.Known {
						t.Fatalf("at %s %s has %+v", s.Now, b.Name, b)
					}
					capacity.add(b.Done.Value / b.CPU.Value)
					cpu.add(b.CPU.Value)
					opened.add(b.New.Value)
					open.add(b.Conns.Value)
				}
			})
			of := perRequest * float64(sc.Balancers)
			near(t, "closed/s ÷ cpu", capacity.value(), 400/of, 0.05)
			near(t, "cpu", cpu.value(), 0.65, 0.03)
			near(t, "opened/s", opened.value(), 0.65*400/of, 0.05)
			if sc.Connections.Life > 0 {
				near(t, "open", open.value(), 0.65*400/sc.Connections.Requests, 0.05)
			}
		})
	}
}

// TestCPULag: after a backend lost half its speed, its CPU is told over the
// window, and not before.
func TestCPULag(t *testing.T) {
	sc := small(func(sc *Scenario) {
		sc.Load.Utilisation, sc.Sensor.Window = 0.3, time.Minute
		sc.Events = []Event{{At: 100 * time.Second, Backend: "a", Kind: Speed, Value: 0.5}}
	})
	seen := map[int]float64{}
	mustRun(t, sc, func(s core.Snapshot) { seen[int(s.Now.Sub(epoch).Seconds())] = s.Backends[0].CPU.Value })
	near(t, "before", seen[99], 0.3, 0.06)
	if v := seen[135]; v < 0.36 || v > 0.5 { // half of the window, some seconds old
		t.Errorf("after 35 s: %.2f", v)
	}
	near(t, "after", seen[180], 0.6, 0.06)
}

// TestWindowsMatch: while the load changes, CPU and closed connections speak of the
// same time, but for what the agent is late.
func TestWindowsMatch(t *testing.T) {
	sc := small(func(sc *Scenario) {
		sc.Load.Utilisation, sc.Sensor.Window = 0.3, time.Minute
		sc.Load.Profile = []Point{{100 * time.Second, 1}, {101 * time.Second, 3}}
	})
	mustRun(t, sc, func(s core.Snapshot) {
		b := s.Backends[0]
		if when := s.Now.Sub(epoch); when > 70*time.Second && math.Abs(b.Done.Value/b.CPU.Value/400-1) > 0.25 {
			t.Fatalf("at %s %.0f were closed a second at a CPU of %.2f: want 400 at 1", when, b.Done.Value, b.CPU.Value)
		}
	})
}

// TestEventsHappen: each kind does what it says, to the backend it names.
func TestEventsHappen(t *testing.T) {
	const s = time.Second
	with := func(e Event) Scenario {
		e.At, e.Backend = 100*s, "a"
		return small(func(sc *Scenario) { sc.Events, sc.Load.Utilisation = []Event{e}, 0.3 })
	}
	type sight struct{ a, b core.BackendInput }
	at := func(sc Scenario, when int) (got sight, o Outcome) {
		o = mustRun(t, sc, func(s core.Snapshot) {
			if int(s.Now.Sub(epoch).Seconds()) == when {
				got = sight{s.Backends[0], s.Backends[1]}
			}
		})
		return got, o
	}
	if got, o := at(with(Event{Kind: Dead}), 120); got.a.Health != core.Down || got.a.Share != 0 || got.b.Health != core.Up || o.Failed == 0 || o.Failed > 0.05 {
		t.Errorf("down: %+v, failed %g", got.a, o.Failed)
	}
	if got, _ := at(with(Event{Kind: Dead, Until: 120 * s}), 140); got.a.Health != core.Up || got.a.Share < 0.4 {
		t.Errorf("up again: %+v", got.a)
	}
	if got, o := at(with(Event{Kind: Sinkhole}), 130); got.a.CPU.Value > 0.01 || got.a.Done.Value < 100 || got.a.Health != core.Up || o.Failed < 0.3 {
		t.Errorf("sinkhole: %+v, failed %g", got.a, o.Failed)
	}
	before, _ := at(with(Event{Kind: Stuck}), 120)
	if got, _ := at(with(Event{Kind: Stuck}), 290); got.a.CPU.Value != before.a.CPU.Value || got.a.CPUSeq == before.a.CPUSeq || got.b.CPU.Value == before.b.CPU.Value {
		t.Errorf("stuck: %+v, was %+v", got.a.CPU, before.a.CPU)
	}
	slow := with(Event{Kind: Restart})
	slow.Sensor.Window = 45 * s
	if got, _ := at(slow, 145); got.a.CPU.Known || !got.b.CPU.Known {
		t.Errorf("agent restart: %+v beside %+v", got.a.CPU, got.b.CPU)
	}
	if got, _ := at(with(Event{Kind: Antagonist, Value: 0.5}), 150); math.Abs(got.a.CPU.Value-0.8) > 0.06 {
		t.Errorf("antagonist: cpu %.2f, want 0.5 and 0.3", got.a.CPU.Value)
	}
}

// TestConnectionsLeaveTheDead: lasting connections of a backend that went down go to
// the others.
func TestConnectionsLeaveTheDead(t *testing.T) {
	sc := small(func(sc *Scenario) {
		sc.Connections, sc.Load.Utilisation = Connections{Life: time.Hour, Requests: 1}, 0.3
		sc.Events = []Event{{At: 100 * time.Second, Backend: "a", Kind: Dead}}
	})
	mustRun(t, sc, func(s core.Snapshot) {
		a, b := s.Backends[0].Conns.Value, s.Backends[1].Conns.Value
		if when := s.Now.Sub(epoch); when > 120*time.Second && (a != 0 || b < 200) {
			t.Fatalf("at %s %g and %g connections are open", when, a, b)
		}
	})
}

// TestShapingIsTheDaemons: the step limit bounds every move, the first is free of
// it, and slow start comes after a death.
func TestShapingIsTheDaemons(t *testing.T) {
	sc := small(func(sc *Scenario) {
		sc.Shaping.SlowStart = 60 * time.Second
		sc.Events = []Event{{At: 100 * time.Second, Until: 130 * time.Second, Backend: "a", Kind: Dead}}
	})
	var after []float64
	mustRun(t, sc, func(s core.Snapshot) {
		if when := s.Now.Sub(epoch); when > 136*time.Second && when < 160*time.Second {
			after = append(after, s.Backends[0].Share)
		}
	})
	if len(after) == 0 || after[0] > 0.2 || after[len(after)-1] <= after[0] {
		t.Errorf("shares in the slow start: %.3f", after)
	}
}

// TestRefusedAnswers: a policy that answers nonsense ends the run with its name.
func TestRefusedAnswers(t *testing.T) {
	for name, weights := range map[string][]float64{"short": {1}, "not a number": {math.NaN(), 1}, "negative": {-3, 1}} {
		_, err := Run(t.Context(), small(nil), Policy{Name: "bad", Scheduler: fixed{weights}}, Options{})
		if err == nil || !strings.Contains(err.Error(), "policy bad in scenario small") {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, small(nil), Best(), Options{}); err == nil {
		t.Error("a run went on after its context had ended")
	}
}

type fixed struct{ weights []float64 }

func (f fixed) Schedule(context.Context, []core.Call) []core.Result {
	return []core.Result{{Weights: f.weights}}
}

// TestCheck: what cannot be run is said, with its key.
func TestCheck(t *testing.T) {
	for want, change := range map[string]func(*Scenario){
		"$.duration":                        func(sc *Scenario) { sc.Duration, sc.Measure = time.Second, 0 },
		"$.backends[1].cores":               func(sc *Scenario) { sc.Backends[1].Cores = 0 },
		"$.backends[1].name":                func(sc *Scenario) { sc.Backends[1].Name = "a" },
		"$.backends":                        func(sc *Scenario) { sc.Backends = nil },
		"$.load.utilisation":                func(sc *Scenario) { sc.Load.Utilisation = 0 },
		"$.sensor.window":                   func(sc *Scenario) { sc.Sensor.Window = 2 * time.Minute },
		"$.events[0].kind":                  func(sc *Scenario) { sc.Events = []Event{{Kind: "quake"}} },
		"$.events[0].backend":               func(sc *Scenario) { sc.Events = []Event{{Kind: Dead, Backend: "z"}} },
		"$.events[0].value":                 func(sc *Scenario) { sc.Events = []Event{{Kind: Antagonist, Value: 1}} },
		"$.load.profile[1].at":              func(sc *Scenario) { sc.Load.Profile = []Point{{time.Second, 1}, {time.Second, 2}} },
		"$.connections.requests_per_second": func(sc *Scenario) { sc.Connections = Connections{Life: time.Minute} },
		"$.balancers":                       func(sc *Scenario) { sc.Balancers = 0 },
		"$.shaping.step":                    func(sc *Scenario) { sc.Shaping.Step = math.NaN() },
		"$.shaping.ceiling":                 func(sc *Scenario) { sc.Shaping.Ceiling = -1 },
		"$.shaping.hold":                    func(sc *Scenario) { sc.Shaping.Hold = -time.Second },
		"$.backends[0].count": func(sc *Scenario) {
			sc.Backends[0].Count = math.MaxInt
			sc.Events = []Event{{Kind: Dead, Backend: "b"}} // whose name is looked for among all
		},
	} {
		sc := small(change)
		ps, _ := sc.Check().(Problems)
		if len(ps) != 1 || ps[0].Path != want {
			t.Errorf("want a problem of %s, got %v", want, ps)
		}
	}
	sc := small(func(sc *Scenario) { sc.Service.Mean, sc.Duration = 10*time.Microsecond, time.Hour })
	if err := sc.Check(); err == nil {
		t.Error("a run of billions of requests is let through")
	}
}

// TestStandstill: machines that hardly work any more serve hardly anything.
func TestStandstill(t *testing.T) {
	o := mustRun(t, small(func(sc *Scenario) { sc.Events = []Event{{At: 100 * time.Second, Kind: Speed, Value: 1e-300}} }), nil)
	if o.P99 < 100 {
		t.Errorf("%+v: want requests that wait for the end", o)
	}
}

// TestLibrary: the names are words for a command line, and every scenario has
// something to say.
func TestLibrary(t *testing.T) {
	seen := map[string]bool{}
	for _, sc := range Library() {
		if seen[sc.Name] || sc.About == "" || strings.ContainsAny(sc.Name, "./ ") {
			t.Errorf("scenario %q: %q", sc.Name, sc.About)
		}
		seen[sc.Name] = true
	}
}

// TestBestAndNaive: the reference converges at once where equal shares never do.
func TestBestAndNaive(t *testing.T) {
	sc := small(func(sc *Scenario) { sc.Backends[1].Cores = 24 })
	best, err := Run(t.Context(), sc, Best(), Options{Seed: 1})
	if err != nil || best.Convergence == nil || *best.Convergence != 0 || best.Oscillation != 0 {
		t.Errorf("best: %+v, %v", best, err)
	}
	for _, p := range Naive() {
		if p.Name != "naive-equal" && p.Name != "naive-argmin" {
			continue
		}
		o, err := Run(t.Context(), sc, p, Options{Seed: 1})
		if err != nil || p.Name == "naive-equal" && o.Convergence != nil || o.P99 < 10*best.P99 {
			t.Errorf("%s: %+v, %v", p.Name, o, err)
		}
	}
}

// BenchmarkRun is one run of 1,200 s at 2,600 requests a second.
func BenchmarkRun(b *testing.B) {
	sc := Library()[0]
	for b.Loop() {
		o, err := Run(b.Context(), sc, Policy{Name: "equal", Scheduler: equal{}}, Options{Seed: 1})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(o.Requests), "requests")
	}
}
