// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core"
)

// withAgent is a service of two backends of weight 100 with an agent on each.
func withAgent() Setup {
	setup := probed(core.HealthRule{}, core.ProbeSpec{Name: "alive", Type: core.ProbeTCP}, core.ProbeSpec{Name: "agent", Type: core.ProbeAgent})
	s := &setup.Services[0]
	s.Backends[0].Weight, s.Backends[1].Weight = 100, 100
	s.Shaping = core.Shaping{StaleAfter: 10 * time.Second, Hold: 20 * time.Second}
	return setup
}

func ask(name string, v float64) core.Metric {
	unit := "count"
	if name == core.MetricWeightRatio {
		unit = "ratio"
	}
	return core.Metric{Name: name, Value: v, Unit: unit}
}

// agent is a sample of b1's agent.
func (e *Engine) agent(admin core.AdminState, metrics ...core.Metric) {
	e.Offer(core.Sample{
		Backend: core.BackendID{Service: "web", Backend: "b1"}, Probe: "agent", Type: core.ProbeAgent, Role: core.HealthRole, OK: true,
		Code: core.AgentOK, Detail: "the agent said so", TakenAt: time.Now(), Node: "test", Admin: admin, Metrics: metrics,
	})
	synctest.Wait()
}

// silent lets time pass in which the agent does not answer.
func (e *Engine) silent(d time.Duration) {
	for ; d > 0; d -= time.Second {
		e.sayBy("b1", "agent", false, core.AgentNone)
		time.Sleep(time.Second)
	}
}

func TestAgentWeight(t *testing.T) {
	k := &kernel{}
	engineTest(t, k, policies{"weighted": weighted}, withAgent(), func(t *testing.T, e *Engine, l *log) {
		e.up("b1", "b2")
		want(t, k, "web", 32768, 32768)
		e.agent("", ask(core.MetricWeightRatio, 0.25))
		time.Sleep(2 * time.Second)
		want(t, k, "web", 13107, 52429)
		b := e.backend(t, 0)
		if b.Configured != 100 || !strings.HasPrefix(b.Why, "agent: weight 25 of 100; ") {
			t.Errorf("b1 of weight %d: %s", b.Configured, b.Why)
		}
		d, err := e.Decisions(t.Context(), "web", 1)
		if err != nil || !slices.ContainsFunc(d[0].Backends[0].Inputs, func(in core.Input) bool {
			return in.Metric == core.MetricWeightRatio && in.Value == 0.25 && in.Unit == "ratio"
		}) {
			t.Errorf("inputs %+v, %v", d[0].Backends[0].Inputs, err)
		}
		e.agent("") // a word without a number leaves the one before
		e.silent(29 * time.Second)
		want(t, k, "web", 13107, 52429)
		l.told("probe")
		e.silent(5 * time.Second)
		want(t, k, "web", 32768, 32768)
		if told := l.told("probe"); len(told) != 1 || !strings.Contains(told[0], "the configured weight counts again") {
			t.Errorf("told %q", told)
		}

		e.agent("", ask(core.MetricWeight, 300), ask(core.MetricWeightRatio, 1))
		time.Sleep(2 * time.Second)
		want(t, k, "web", 49152, 16384)
		e.agent("", ask(core.MetricWeight, 1e6))
		if b := e.backend(t, 0); !strings.HasPrefix(b.Why, "agent: weight") {
			t.Errorf("why: %s", b.Why)
		}
		e.agent("", ask(core.MetricWeightRatio, 0)) // at once
		want(t, k, "web", 0, 65536)
		if b := e.backend(t, 0); b.State != core.StateUp || b.Why != "agent: weight 0 of 100" {
			t.Errorf("b1 is %s: %s", b.State, b.Why)
		}
		// What an operator says goes before it.
		e.command(t, "web", "b1", core.OverrideRequest{Kind: core.OverrideWeight, Weight: 100, Author: "alice"})
		time.Sleep(2 * time.Second)
		want(t, k, "web", 32768, 32768)
	})
}

// Drain and maint stay until the agent says ready, however long it is silent.
func TestAgentAdmin(t *testing.T) {
	k := &kernel{}
	engineTest(t, k, policies{"weighted": weighted}, withAgent(), func(t *testing.T, e *Engine, l *log) {
		e.up("b1", "b2")
		for admin, state := range map[core.AdminState]core.BackendState{core.AdminDrain: core.StateDrain, core.AdminMaint: core.StateMaint} {
			e.agent(admin)
			want(t, k, "web", 0, 65536)
			if diff := cmp.Diff([]bool{true, true}, k.alive("web")); diff != "" {
				t.Errorf("%s: alive (-want +got):\n%s", admin, diff)
			}
			e.silent(2 * time.Minute)
			e.agent("")
			want(t, k, "web", 0, 65536)
			b := e.backend(t, 0)
			if b.State != state || b.Health != core.Up || b.Why != "agent: "+string(admin)+" (the agent said so)" {
				t.Errorf("b1 is %s (%s): %s", b.State, b.Health, b.Why)
			}
			res := e.command(t, "web", "b1", core.OverrideRequest{Kind: core.OverrideReady, Author: "bob"})
			if !strings.HasPrefix(res.NotInForce, "it is drained: agent: ") || !strings.HasSuffix(res.NotInForce, "or with a weight by command") {
				t.Errorf("ready: %+v", res)
			}
			e.command(t, "web", "b1", core.OverrideRequest{Kind: core.OverrideWeight, Weight: 100, Author: "alice"})
			time.Sleep(2 * time.Second)
			want(t, k, "web", 32768, 32768)
			e.command(t, "web", "b1", core.OverrideRequest{Kind: core.OverrideReady, Author: "bob"})
			want(t, k, "web", 0, 65536)
			e.agent(core.AdminReady)
			time.Sleep(2 * time.Second)
			want(t, k, "web", 32768, 32768)
		}
		told := l.told("probe")
		if !slices.Contains(told, "agent agent asks for maint: the agent said so") || !slices.Contains(told, "agent agent asks for ready") {
			t.Errorf("told %q", told)
		}
	})
}

// A silent agent's numbers end although what it said last of drain or maint stays.
func TestAgentNumbersEndBesideMaint(t *testing.T) {
	k := &kernel{}
	engineTest(t, k, policies{"weighted": weighted}, withAgent(), func(t *testing.T, e *Engine, l *log) {
		e.up("b1", "b2")
		e.agent(core.AdminMaint, ask(core.MetricWeightRatio, 0.25))
		e.silent(40 * time.Second)
		want(t, k, "web", 0, 65536)
		e.agent(core.AdminReady)
		time.Sleep(2 * time.Second)
		want(t, k, "web", 32768, 32768)
	})
}

// What an agent says for the first time while a reload is on its way is not lost.
func TestAgentDuringReload(t *testing.T) {
	k := &kernel{}
	engineTest(t, k, policies{"weighted": weighted}, withAgent(), func(t *testing.T, e *Engine, l *log) {
		e.up("b1", "b2")
		k.slow(time.Second)
		done := make(chan error)
		go func() {
			_, err := e.Reload(t.Context(), withAgent())
			done <- err
		}()
		time.Sleep(100 * time.Millisecond)
		e.agent(core.AdminMaint)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		k.slow(0)
		time.Sleep(3 * time.Second)
		want(t, k, "web", 0, 65536)
	})
}

// A reload without the agent ends what it asked for; one with it does not.
func TestAgentAndReload(t *testing.T) {
	k := &kernel{}
	engineTest(t, k, policies{"weighted": weighted}, withAgent(), func(t *testing.T, e *Engine, l *log) {
		e.up("b1", "b2")
		e.agent(core.AdminMaint, ask(core.MetricWeightRatio, 0.5))
		if _, err := e.Reload(t.Context(), withAgent()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		want(t, k, "web", 0, 65536)
		without := probed(core.HealthRule{}, core.ProbeSpec{Name: "alive", Type: core.ProbeTCP})
		if _, err := e.Reload(t.Context(), without); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		want(t, k, "web", 32768, 32768)
	})
}

func TestAgentMaxConnections(t *testing.T) {
	k, f := &kernel{}, &table{}
	engineTestWith(t, k, policies{"weighted": weighted}, withAgent(), Config{Flows: f}, func(t *testing.T, e *Engine, l *log) {
		e.up("b1", "b2")
		f.set("b1", 30)
		time.Sleep(meterEvery)
		synctest.Wait()
		want(t, k, "web", 32768, 32768)
		e.agent("", ask(core.MetricMaxConnections, 30))
		want(t, k, "web", 0, 65536)
		if b := e.backend(t, 0); b.State != core.StateFull || b.MaxConnections != 30 || !strings.Contains(b.Why, "full: 30 of 30 connections") {
			t.Errorf("b1 is %s of %d: %s", b.State, b.MaxConnections, b.Why)
		}
		e.agent("", ask(core.MetricMaxConnections, 100))
		time.Sleep(2 * time.Second)
		want(t, k, "web", 32768, 32768)
	})
}

// Nobody but an agent, and a command that is meant to, may ask for anything; nonsense
// is refused.
func TestWhoMayAsk(t *testing.T) {
	k := &kernel{}
	setup := probed(core.HealthRule{}, core.ProbeSpec{Name: "alive", Type: core.ProbeTCP},
		core.ProbeSpec{Name: "plugin", Type: core.ProbeExec},
		core.ProbeSpec{Name: "check", Type: core.ProbeExec, Exec: core.ExecSpec{DynamicWeight: true}},
		core.ProbeSpec{Name: "picked", Type: core.ProbeExec, Metrics: []core.MetricSpec{{Name: core.MetricWeight, From: "w"}}},
		core.ProbeSpec{Name: "reader", Type: core.ProbeExec, Metrics: []core.MetricSpec{{Name: core.MetricWeight, From: "w"}}})
	reader := setup.Probes["reader"]
	reader.Role = core.MetricRole
	setup.Probes["reader"] = reader
	setup.Services[0].Shaping.Step = 0
	engineTest(t, k, policies{"weighted": weighted}, setup, func(t *testing.T, e *Engine, l *log) {
		for _, b := range []string{"b1", "b2"} {
			for _, p := range []string{"alive", "plugin", "check", "picked"} {
				e.sayBy(b, p, true, core.ProcOK)
			}
		}
		time.Sleep(3 * time.Second)
		// A monitor that has this node's name, and calls itself a probe.
		e.Offer(core.Sample{
			Backend: core.BackendID{Service: "web", Backend: "b1"}, Probe: "reader", Role: core.MetricRole, OK: true,
			TakenAt: time.Now(), Node: "test", Metrics: []core.Metric{ask(core.MetricWeight, 3)},
		})
		time.Sleep(2 * time.Second)
		want(t, k, "web", 32768, 32768)
		say := func(probe, node string, v float64) {
			e.Offer(core.Sample{
				Backend: core.BackendID{Service: "web", Backend: "b1"}, Probe: probe, Role: core.HealthRole, OK: true, Code: core.ProcOK,
				TakenAt: time.Now(), Node: node, Metrics: []core.Metric{ask(core.MetricWeight, v)},
			})
			time.Sleep(2 * time.Second)
		}
		say("alive", "test", 3)
		say("plugin", "test", 3)
		say("check", "other", 3)
		say("check", "test", -1)
		want(t, k, "web", 32768, 32768)
		say("check", "test", 3)
		want(t, k, "web", 49152, 16384)
		say("picked", "test", 1)
		want(t, k, "web", 32768, 32768)
	})
}

// What an agent says of connections counts as a reason only where it changes
// something, and 0 is no limit, not one of none.
func TestAgentLimitText(t *testing.T) {
	for _, tt := range []struct {
		configured uint32
		said       float64
		want       string
	}{
		{0, 30, "agent: at most 30 connections"},
		{0, 0, ""},
		{30, 30, ""},
		{30, 0, "agent: no limit on connections"},
		{30, -1, ""},
	} {
		b := &backend{spec: &core.Backend{MaxConnections: tt.configured}, rare: &rare{says: &said{weight: -1, ratio: -1, conns: tt.said}}}
		if got := b.saidText(); got != tt.want {
			t.Errorf("configured %d, said %v: %q, want %q", tt.configured, tt.said, got, tt.want)
		}
	}
}

// An agent that has never said a word has no voice, and is not shown as up.
func TestAgentWithoutAVoiceIsUnknown(t *testing.T) {
	engineTest(t, &kernel{}, policies{"weighted": weighted}, withAgent(), func(t *testing.T, e *Engine, _ *log) {
		e.up("b1", "b2")
		state := func() core.HealthState {
			list := e.backend(t, 0).Probes
			return list[slices.IndexFunc(list, func(p core.ProbeView) bool { return p.Name == "agent" })].State
		}
		e.silent(2 * time.Second)
		if got := state(); got != core.Unknown {
			t.Errorf("silent: %s", got)
		}
		e.agent("")
		if got := state(); got != core.Up {
			t.Errorf("after a word: %s", got)
		}
		e.silent(2 * time.Second)
		if got := state(); got != core.Up {
			t.Errorf("silent again: %s", got)
		}
	})
}

// What an agent asked for ends when its probe is another, and when it may not ask any more.
func TestAgentBecomesAnother(t *testing.T) {
	k := &kernel{}
	setup := withAgent()
	engineTest(t, k, policies{"weighted": weighted}, setup, func(t *testing.T, e *Engine, l *log) {
		e.up("b1", "b2")
		e.agent(core.AdminDrain)
		time.Sleep(2 * time.Second)
		want(t, k, "web", 0, 65536)
		next := withAgent()
		next.Probes["agent"] = core.ProbeSpec{Name: "agent", Type: core.ProbeTCP, Role: core.HealthRole, Rise: 1, Fall: 1}
		reloadTo(t, e, next)
		want(t, k, "web", 32768, 32768)

		// A command that spoke of a weight and does so no more: the agent of no probe.
		exec := core.ProbeSpec{Name: "agent", Type: core.ProbeExec, Role: core.HealthRole, Rise: 1, Fall: 1, Exec: core.ExecSpec{DynamicWeight: true}}
		next.Probes["agent"] = exec
		reloadTo(t, e, next)
		e.agent("", ask(core.MetricWeight, 300))
		time.Sleep(2 * time.Second)
		want(t, k, "web", 49152, 16384)
		exec.Exec.DynamicWeight = false
		next = withAgent()
		next.Probes["agent"] = exec
		reloadTo(t, e, next)
		want(t, k, "web", 32768, 32768)
	})
}
