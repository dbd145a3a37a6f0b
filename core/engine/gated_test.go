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

// Whatever probes, clients, agents, operators and reloads do: as long as one backend
// that is wanted has good probes, somebody serves; who serves has good probes and is
// wanted; and health, state and slots in the kernel agree.
func TestSomebodyAlwaysServes(t *testing.T) {
	for seed := range uint64(8) {
		k, c := &kernel{}, &clients{}
		setup := withAgent()
		s := &setup.Services[0]
		s.Backends = web("web", "weighted", 100, 100, 100, 100, 100).Backends
		s.Health = core.HealthRule{Need: 2, FlapLimit: 2, FlapWindow: 10 * time.Minute, FlapHold: time.Minute, FlapMax: time.Hour}
		s.Passive = core.PassiveRule{Unanswered: 2, Resets: 2, Eject: time.Minute, Max: time.Hour, MaxRatio: 0.9}
		setup.Maintenance = []core.Maintenance{
			once(5*time.Minute, 5*time.Minute, "web/b1", "web/b2"), once(12*time.Minute, 20*time.Minute, "*/b3"),
		}
		engineTestWith(t, k, policies{"weighted": weighted}, setup, Config{Flows: c}, func(t *testing.T, e *Engine, l *log) {
			noise := rand.New(rand.NewPCG(seed, 1))
			for step := range 400 {
				act(t, e, c, noise, setup)
				time.Sleep(time.Duration(noise.IntN(3000)) * time.Millisecond)
				synctest.Wait()
				var wrong string
				_ = e.do(t.Context(), func() { wrong = e.services["web"].wrong(k.get("web")) })
				if wrong != "" {
					t.Fatalf("seed %d, step %d: %s", seed, step, wrong)
				}
			}
		})
	}
}

// act does something to a backend.
func act(t *testing.T, e *Engine, c *clients, noise *rand.Rand, setup Setup) {
	name := fmt.Sprintf("b%d", 1+noise.IntN(5))
	switch n := noise.IntN(20); {
	case n < 6:
		e.repeat(name, 2, true)
	case n < 9:
		e.repeat(name, 2, false)
	case n < 11:
		c.meet(name, uint32(noise.IntN(4)), uint32(noise.IntN(4)))
	case n < 13:
		e.Offer(core.Sample{
			Backend: core.BackendID{Service: "web", Backend: name}, Probe: "agent", Role: core.HealthRole, OK: noise.IntN(3) > 0, Code: core.AgentOK,
			TakenAt: time.Now(), Node: "test", Admin: []core.AdminState{"", core.AdminReady, core.AdminMaint}[noise.IntN(3)],
			Metrics: []core.Metric{ask(core.MetricWeightRatio, float64(noise.IntN(3))/2)},
		})
	case n < 16:
		r := []core.OverrideRequest{drain, {Kind: core.OverrideReady, Author: "bob"}, {Kind: core.OverrideWeight, Weight: uint32(noise.IntN(3)), Author: "bob"}}[noise.IntN(3)]
		e.command(t, "web", name, r)
	case n == 16:
		if _, err := e.Reload(t.Context(), setup); err != nil {
			t.Fatal(err)
		}
	}
}

// wrong says what does not fit together, with the slots in the kernel; empty if all
// does.
func (s *service) wrong(slots []uint32) string {
	serving, could := 0, 0
	for i, b := range s.backends {
		if b.wanted() && b.probed == core.Up {
			could++
		}
		if slots[i] > 0 {
			serving++
			if !b.wanted() || b.probed != core.Up || b.health != core.Up {
				return fmt.Sprintf("%s is fed: wanted %t, probes %s, health %s", b.spec.Name, b.wanted(), b.probed, b.health)
			}
		}
		if b.health == core.Up && (b.probed != core.Up || b.ejected() || b.held(&s.spec)) || b.health == core.Down && b.probed == core.Up && !b.ejected() && !b.held(&s.spec) {
			return fmt.Sprintf("%s is %s: probes %s, ejected %t, held %t", b.spec.Name, b.health, b.probed, b.ejected(), b.held(&s.spec))
		}
		if ejected := b.state(false) == core.StateEjected; ejected && slices.Contains([]bool{b.drained(), b.probed != core.Up}, true) {
			return fmt.Sprintf("%s is shown as ejected", b.spec.Name)
		}
	}
	if could > 0 && serving == 0 {
		return fmt.Sprintf("nobody serves although %d could", could)
	}
	return ""
}
