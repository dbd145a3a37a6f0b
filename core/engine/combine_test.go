// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A fate is a service with every rule that takes backends out, to which anything
// happens.
type fate struct {
	t    *testing.T
	e    *Engine
	c    *clients
	dice *rand.Rand
	done []string // what has happened
}

// fateful is a service of four backends, of which one is in reserve, and a sorry server.
func fateful() Setup {
	s := web("web", "weighted", 100, 100, 100, 100, 100)
	s.Probes = []string{"alive", "agent"}
	s.Health = core.HealthRule{FlapLimit: 2, FlapWindow: 5 * time.Minute, FlapHold: time.Minute, FlapMax: 10 * time.Minute}
	s.Passive = core.PassiveRule{Unanswered: 5, Resets: 5, Eject: time.Minute, Max: 5 * time.Minute, MaxRatio: 1}
	s.Shaping = core.Shaping{StaleAfter: 10 * time.Second, Hold: 20 * time.Second, Panic: 0.5, SlowStart: 10 * time.Second, SlowStartMin: 0.1}
	for i := range s.Backends {
		s.Backends[i].MaxConnections = 50
	}
	s.Backends[3].Priority, s.Backends[4].Sorry = 1, true
	setup := setupOf(s)
	alive, agent := setup.Probes["alive"], core.ProbeSpec{Name: "agent", Type: core.ProbeAgent, Role: core.HealthRole, Rise: 1, Fall: 1}
	alive.Role, alive.Rise, alive.Fall = core.HealthRole, 2, 2
	setup.Probes = map[string]core.ProbeSpec{"alive": alive, "agent": agent}
	setup.Probing = core.Probing{SuspectRatio: 0.8, SuspectMin: 3, SuspectFor: 2 * time.Minute}
	return setup
}

func (f *fate) pick(n int) int { return f.dice.IntN(n) }

func (f *fate) backend() string { return fmt.Sprintf("b%d", 1+f.pick(4)) }

func (f *fate) sample(b string, s core.Sample) {
	s.Backend, s.Role, s.Node, s.TakenAt = core.BackendID{Service: "web", Backend: b}, core.HealthRole, "test", time.Now()
	f.e.Offer(s)
	synctest.Wait()
}

// strike has one thing happen.
func (f *fate) strike() string {
	b := f.backend()
	switch f.pick(8) {
	case 0, 1:
		ok := f.pick(2) == 0
		for range 2 {
			f.sample(b, core.Sample{Probe: "alive", OK: ok, Code: map[bool]core.Code{true: core.L4OK, false: core.L4Timeout}[ok]})
		}
		return fmt.Sprintf("%s ok %t", b, ok)
	case 2:
		s := core.Sample{Probe: "agent", Type: core.ProbeAgent, OK: true, Code: core.AgentOK, Admin: []core.AdminState{"", core.AdminReady, core.AdminDrain, core.AdminMaint}[f.pick(4)]}
		if f.pick(2) == 0 {
			s.Metrics = append(s.Metrics, ask(core.MetricWeightRatio, []float64{0, 0.01, 1}[f.pick(3)]))
		}
		if f.pick(3) == 0 {
			s.Metrics = append(s.Metrics, ask(core.MetricMaxConnections, float64(f.pick(40))))
		}
		f.sample(b, s)
		return fmt.Sprintf("agent of %s %q %v", b, s.Admin, s.Metrics)
	case 3:
		r := []core.OverrideRequest{drain, weigh(0), weigh(70), {Kind: core.OverrideReady, Author: "alice"}}[f.pick(4)]
		if f.e.has(f.t, b) {
			f.e.command(f.t, "web", b, r)
		}
		return fmt.Sprintf("%s %s %d", r.Kind, b, r.Weight)
	case 4:
		f.c.meet(b, 6, 0)
		return "nobody answers at " + b
	case 5:
		f.c.meet(b, 0, 0)
		open := uint64(f.pick(2) * 100)
		f.c.mu.Lock()
		id := core.BackendID{Service: "web", Backend: b}
		n := f.c.counts[id]
		n.Open = open
		f.c.counts[id] = n
		f.c.mu.Unlock()
		return fmt.Sprintf("%d connections at %s", open, b)
	case 6:
		f.reload()
		return "reload"
	default:
		d := time.Duration(f.pick(90)) * time.Second
		time.Sleep(d)
		return d.String()
	}
}

// reload brings other rules, and fewer or more backends, in force.
func (f *fate) reload() {
	s := fateful()
	w := &s.Services[0]
	if f.pick(3) == 0 {
		w.Health.FlapLimit = 0
	}
	if f.pick(3) == 0 {
		w.Passive = core.PassiveRule{}
	}
	if f.pick(3) == 0 {
		s.Probing = core.Probing{}
	}
	if f.pick(3) == 0 {
		w.Probes = []string{"alive"}
	}
	if f.pick(3) == 0 {
		w.Health.Need = 1
	}
	if f.pick(2) == 0 {
		s.Maintenance = []core.Maintenance{once(time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC))-time.Second, time.Minute, "web/"+f.backend())}
	}
	w.MinUp = f.pick(3)
	w.Shaping.Panic = float64(f.pick(2)) / 2
	if f.pick(2) == 0 {
		i := f.pick(4)
		w.Backends = slices.Delete(slices.Clone(w.Backends), i, i+1)
	}
	reloadTo(f.t, f.e, s)
}

// has reports whether a backend is configured now.
func (e *Engine) has(t *testing.T, backend string) (has bool) {
	_ = e.do(t.Context(), func() { has = e.services["web"].find(backend) != nil })
	return has
}

// check compares what the kernel has with who could serve.
func (f *fate) check(k *kernel) {
	time.Sleep(3 * time.Second)
	wrong := f.wrong(k)
	if wrong != "" { // unless a time was up a moment ago, and the commit is under way
		time.Sleep(100 * time.Millisecond)
		wrong = f.wrong(k)
	}
	v, err := f.e.View(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	for _, b := range v.Services[0].Backends {
		if b.Why == "" {
			wrong += fmt.Sprintf("; %s is %s, and nothing says why", b.Name, b.State)
		}
	}
	if wrong != "" {
		f.t.Fatalf("%s, after %q", wrong, f.done)
	}
}

func (f *fate) wrong(k *kernel) (text string) {
	slots := k.get("web")
	_ = f.e.do(f.t.Context(), func() {
		s := f.e.services["web"]
		able, given := 0, 0
		for i, b := range s.backends {
			switch {
			case b.spec.Sorry:
				continue
			case b.probed == core.Up && b.wanted():
				able++
			}
			if given += int(slots[i]); slots[i] > 0 && !b.wanted() {
				text += fmt.Sprintf("; %s is not wanted and has %d slots", b.spec.Name, slots[i])
			}
			if b.health == core.Up && b.probed != core.Up || b.health == core.Down && b.probed == core.Up && !b.held(&s.spec) && !b.ejected() {
				text += fmt.Sprintf("; %s is %s, by its probes %s", b.spec.Name, b.health, b.probed)
			}
		}
		if (able > 0) != (given > 0) {
			text += fmt.Sprintf("; %d backends could serve, and the slots are %v", able, slots)
		}
	})
	return text
}

// Whatever comes together, a service is never without backends while one could serve,
// and nobody serves who is not to.
func TestRulesTogether(t *testing.T) {
	for _, seed := range []uint64{1, 13, 32, 33} {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			k, c, setup := &kernel{took: 5 * time.Millisecond}, &clients{}, fateful()
			engineTestWith(t, k, policies{"weighted": weighted}, setup, Config{Flows: c}, func(t *testing.T, e *Engine, l *log) {
				e.up("b1", "b2", "b3", "b4")
				f := &fate{t: t, e: e, c: c, dice: rand.New(rand.NewPCG(seed, 5))}
				for range 120 {
					f.done = append(f.done, f.strike())
					f.check(k)
				}
			})
		})
	}
}
