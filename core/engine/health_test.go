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

// sayBy is say for a probe of any name, with a code.
func (e *Engine) sayBy(backend, probe string, ok bool, code core.Code) {
	e.Offer(core.Sample{
		Backend: core.BackendID{Service: "web", Backend: backend}, Probe: probe, Role: core.HealthRole, OK: ok,
		Code: code, Detail: "so it is", TakenAt: time.Now(), Node: "test",
	})
}

// good and bad are samples of alive, with time to be taken.
func (e *Engine) good(backend string, n int) { e.repeat(backend, n, true) }
func (e *Engine) bad(backend string, n int)  { e.repeat(backend, n, false) }

func (e *Engine) repeat(backend string, n int, ok bool) {
	for range n {
		code := core.L4Refused
		if ok {
			code = core.L4OK
		}
		e.sayBy(backend, "alive", ok, code)
		synctest.Wait()
	}
}

// probed is a service of two backends with several probes, and a rule for them.
func probed(rule core.HealthRule, probes ...core.ProbeSpec) Setup {
	s := web("web", "weighted", 1, 1)
	s.Health, s.Probes = rule, nil
	setup := Setup{Probes: map[string]core.ProbeSpec{}}
	for _, p := range probes {
		p.Role, p.Rise, p.Fall = core.HealthRole, 2, 2
		s.Probes = append(s.Probes, p.Name)
		setup.Probes[p.Name] = p
	}
	setup.Services = []core.Service{s}
	return setup
}

// One of three probes is enough, unless the critical one is down; what does not tip
// the backend is told, and the view says how far each probe is.
func TestHealthOfSeveralProbes(t *testing.T) {
	k := &kernel{}
	setup := probed(core.HealthRule{Need: 1, Critical: []string{"disk"}},
		core.ProbeSpec{Name: "alive", Type: core.ProbeTCP, Interval: 2 * time.Second}, core.ProbeSpec{Name: "page", Type: core.ProbeHTTP}, core.ProbeSpec{Name: "disk", Type: core.ProbeExec})
	engineTest(t, k, policies{"weighted": weighted}, setup, func(t *testing.T, e *Engine, l *log) {
		e.sayBy("b1", "alive", true, core.L4OK)
		synctest.Wait()
		want(t, k, "web", 0, 0) // the critical one has not spoken
		e.sayBy("b1", "disk", true, core.ProcOK)
		synctest.Wait()
		want(t, k, "web", 65536, 0)
		e.sayBy("b1", "page", false, core.L7Status)
		e.sayBy("b1", "alive", false, core.L4Refused)
		synctest.Wait()
		want(t, k, "web", 65536, 0)
		b := e.backend(t, 0)
		got := map[string]core.ProbeView{}
		for _, p := range b.Probes {
			got[p.Name] = p
		}
		if p := got["alive"]; p.State != core.Up || p.Streak != 1 || p.Need != 2 || p.Critical || p.Interval != 2 {
			t.Errorf("alive: %+v", p)
		}
		if p := got["disk"]; !p.Critical || p.State != core.Up || p.Streak != 0 {
			t.Errorf("disk: %+v", p)
		}
		if p := got["page"]; p.State != core.Down || p.Need != 2 {
			t.Errorf("page: %+v", p)
		}
		l.changes()
		e.sayBy("b1", "disk", false, core.ProcFailed)
		e.sayBy("b1", "disk", false, core.ProcFailed)
		synctest.Wait()
		want(t, k, "web", 0, 0)
		if diff := cmp.Diff([]string{"b1 up→down disk PROCERR: so it is"}, l.changes()); diff != "" {
			t.Errorf("changes (-want +got):\n%s", diff)
		}
		told := l.told("probe")
		if !slices.Contains(told, "probe page went down: L7STS: so it is; b1 stays unknown") && !slices.Contains(told, "probe page went down: L7STS: so it is; b1 stays up") {
			t.Errorf("nothing was told of the page: %q", told)
		}
		// Of two that are down, the note follows the one that is so still.
		e.bad("b1", 1)
		time.Sleep(2 * time.Second)
		if b := e.backend(t, 0); b.Why != "down: alive L4CON: so it is" {
			t.Errorf("why: %q", b.Why)
		}
		e.good("b1", 2)
		time.Sleep(2 * time.Second)
		if b := e.backend(t, 0); b.Why != "down: page L7STS: so it is" {
			t.Errorf("why: %q", b.Why)
		}
	})
}

// What a backend is before its first sample.
func TestHealthStart(t *testing.T) {
	for _, tt := range []struct {
		start       core.HealthState
		first, good uint32 // slots before any sample, and after a good one
		note        string
	}{
		{core.Unknown, 0, 32768, "not probed yet"},
		{core.Up, 32768, 32768, "the policy has no opinion yet: configured weight"},
		{core.Down, 0, 0, "down: begins as down (health: start), and has to do well first"},
	} {
		k := &kernel{}
		setup := probed(core.HealthRule{Start: tt.start}, core.ProbeSpec{Name: "alive", Type: core.ProbeTCP})
		engineTest(t, k, policies{"weighted": weighted}, setup, func(t *testing.T, e *Engine, l *log) {
			want(t, k, "web", tt.first, tt.first)
			if b := e.backend(t, 0); b.Why != tt.note {
				t.Errorf("start %s: %q", tt.start, b.Why)
			}
			e.good("b1", 1)
			e.good("b2", 1)
			time.Sleep(3 * time.Second)
			want(t, k, "web", tt.good, tt.good)
			e.good("b1", 1)
			e.good("b2", 1)
			time.Sleep(3 * time.Second)
			want(t, k, "web", 32768, 32768)
		})
	}
}

// A backend that served before the restart goes on, whatever start says, and so do
// those of the adopted table only.
func TestStartAfterARestart(t *testing.T) {
	setup := probed(core.HealthRule{Start: core.Down}, core.ProbeSpec{Name: "alive", Type: core.ProbeTCP})
	s := setup.Services[0]
	left := core.ServicePlan{Name: "web", Backends: []core.BackendPlan{{Name: "b1", Addr: s.Backends[0].Addr, Slots: 65536}, {Name: "b2", Addr: s.Backends[1].Addr}}}
	k := &kernel{left: core.Plan{Services: []core.ServicePlan{left}}}
	engineTest(t, k, policies{"weighted": weighted}, setup, func(t *testing.T, e *Engine, l *log) {
		want(t, k, "web", 65536, 0)
		if b := e.backend(t, 1); b.Health != core.Down {
			t.Errorf("b2, which did not serve, is %s", b.Health)
		}
		e.bad("b1", 1)
		want(t, k, "web", 65536, 0)
		e.bad("b1", 1)
		want(t, k, "web", 0, 0)
	})
}

// From an agent's silence nothing follows: it is up at the start, has no voice until
// it has spoken, and stays what it said last. Nor does anything follow from a probe
// that could not run.
func TestSilenceMovesNothing(t *testing.T) {
	k := &kernel{}
	setup := probed(core.HealthRule{Need: 1}, core.ProbeSpec{Name: "alive", Type: core.ProbeTCP}, core.ProbeSpec{Name: "agent", Type: core.ProbeAgent})
	engineTest(t, k, policies{"weighted": weighted}, setup, func(t *testing.T, e *Engine, l *log) {
		for range 5 {
			e.sayBy("b1", "agent", false, core.AgentNone)
			e.sayBy("b1", "alive", false, core.Internal)
		}
		time.Sleep(2 * time.Second)
		if b := e.backend(t, 0); b.Health != core.Unknown || !strings.Contains(b.Why, "INTERNAL") {
			t.Errorf("b1 is %s: %s", b.Health, b.Why)
		}
		e.bad("b1", 1)
		if b := e.backend(t, 0); b.Health != core.Down {
			t.Errorf("a silent agent keeps b1 %s", b.Health)
		}
		e.sayBy("b1", "agent", true, core.AgentOK)
		e.good("b1", 2)
		if b := e.backend(t, 0); b.Health != core.Up {
			t.Errorf("b1 is %s", b.Health)
		}
		e.bad("b1", 2)
		for range 5 {
			e.sayBy("b1", "agent", false, core.AgentNone)
		}
		synctest.Wait()
		if b := e.backend(t, 0); b.Health != core.Up || b.Probes[0].Code != core.AgentNone || b.Probes[0].State != core.Up {
			t.Errorf("b1 is %s, its agent %+v", b.Health, b.Probes[0])
		}
		e.sayBy("b1", "agent", false, core.AgentDown)
		e.sayBy("b1", "agent", false, core.AgentDown)
		synctest.Wait()
		if b := e.backend(t, 0); b.Health != core.Down {
			t.Errorf("b1 is %s although its agent says down", b.Health)
		}
	})
}

var flapping = core.HealthRule{FlapLimit: 3, FlapWindow: 5 * time.Minute, FlapHold: time.Minute, FlapMax: 10 * time.Minute}

// flap takes a backend down n times, a minute apart, and up again in between.
func (e *Engine) flap(backend string, n int) {
	for range n {
		e.bad(backend, 2)
		time.Sleep(30 * time.Second)
		e.good(backend, 2)
		time.Sleep(30 * time.Second)
	}
}

func TestFlapIsHeldDown(t *testing.T) {
	k := &kernel{}
	setup := probed(flapping, core.ProbeSpec{Name: "alive", Type: core.ProbeTCP})
	engineTest(t, k, policies{"weighted": weighted}, setup, func(t *testing.T, e *Engine, l *log) {
		e.up("b1", "b2")
		e.flap("b1", 2)
		want(t, k, "web", 32768, 32768)
		e.bad("b1", 2)
		e.good("b1", 2)
		const note = "held down: went down 3 times in 5m; comes up after 1m without a bad sample"
		if told := l.told("probe"); !slices.Contains(told, "FLAP: "+note) || !slices.Contains(told, "probe alive went up: L4OK: so it is; b1 stays down") {
			t.Errorf("told: %q", told)
		}
		time.Sleep(2 * time.Second)
		b := e.backend(t, 0)
		if left := time.Until(b.OutUntil); b.Why != note || b.State != core.StateDown || b.Health != core.Down || left != 58*time.Second {
			t.Errorf("b1 is %s (%s) for another %s: %s", b.State, b.Health, left, b.Why)
		}
		time.Sleep(50 * time.Second)
		e.bad("b1", 1) // the minute begins anew
		if left := time.Until(e.backend(t, 0).OutUntil); left != time.Minute {
			t.Errorf("after a bad sample it is out for another %s", left)
		}
		e.good("b1", 1)
		time.Sleep(50 * time.Second)
		want(t, k, "web", 0, 65536)
		l.changes()
		time.Sleep(11 * time.Second)
		want(t, k, "web", 32768, 32768)
		if diff := cmp.Diff([]string{"b1 down→up  FLAP: well for 1m: no longer held down"}, l.changes()); diff != "" {
			t.Errorf("changes (-want +got):\n%s", diff)
		}
		e.bad("b1", 2) // again within the window: twice as long
		e.good("b1", 2)
		time.Sleep(110 * time.Second)
		want(t, k, "web", 0, 65536)
		time.Sleep(11 * time.Second)
		want(t, k, "web", 32768, 32768)
	})
}

// The rule never takes the last one that would serve.
func TestFlapSparesTheLast(t *testing.T) {
	k := &kernel{}
	setup := probed(flapping, core.ProbeSpec{Name: "alive", Type: core.ProbeTCP})
	engineTest(t, k, policies{"weighted": weighted}, setup, func(t *testing.T, e *Engine, l *log) {
		e.up("b1", "b2")
		e.flap("b1", 3)
		want(t, k, "web", 0, 65536)
		l.changes()
		e.bad("b2", 2)
		want(t, k, "web", 65536, 0)
		if diff := cmp.Diff([]string{"b2 up→down alive L4CON: so it is", "b1 down→up  FLAP: no other backend is up: no longer held down"}, l.changes()); diff != "" {
			t.Errorf("changes (-want +got):\n%s", diff)
		}
		e.good("b2", 2)
		e.flap("b1", 3)
		want(t, k, "web", 0, 65536)
		e.command(t, "web", "b2", drain) // nor does an operator's drain leave nobody
		want(t, k, "web", 65536, 0)
	})
}

// A held backend stays so over a reload, until the rule is gone.
func TestFlapAndReload(t *testing.T) {
	k := &kernel{}
	setup := probed(flapping, core.ProbeSpec{Name: "alive", Type: core.ProbeTCP})
	engineTest(t, k, policies{"weighted": weighted}, setup, func(t *testing.T, e *Engine, l *log) {
		e.up("b1", "b2")
		e.flap("b1", 3)
		for _, limit := range []int{3, 0} {
			next := probed(flapping, core.ProbeSpec{Name: "alive", Type: core.ProbeTCP})
			next.Services[0].Health.FlapLimit = limit
			p := next.Probes["alive"]
			p.Fall = 3 // one that has changed goes on from what it was, which is up
			next.Probes["alive"] = p
			if _, err := e.Reload(t.Context(), next); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			if limit > 0 {
				want(t, k, "web", 0, 65536)
			}
		}
		time.Sleep(time.Second)
		want(t, k, "web", 32768, 32768)
	})
}

// An agent begins as up and has no voice; its first word counts although no probe tips.
func TestFirstWordOfAnAgentCounts(t *testing.T) {
	k := &kernel{}
	setup := probed(core.HealthRule{Need: 1}, core.ProbeSpec{Name: "alive", Type: core.ProbeTCP}, core.ProbeSpec{Name: "agent", Type: core.ProbeAgent})
	engineTest(t, k, policies{"weighted": weighted}, setup, func(t *testing.T, e *Engine, l *log) {
		e.bad("b1", 2)
		if b := e.backend(t, 0); b.Health != core.Down {
			t.Fatalf("b1 is %s", b.Health)
		}
		e.sayBy("b1", "agent", true, core.AgentOK)
		time.Sleep(2 * time.Second)
		if b := e.backend(t, 0); b.Health != core.Up {
			t.Errorf("b1 is %s: %s", b.Health, b.Why)
		}
	})
}

// That all probes are well at a start is no news.
func TestStartIsQuiet(t *testing.T) {
	k := &kernel{}
	setup := probed(core.HealthRule{}, core.ProbeSpec{Name: "alive", Type: core.ProbeTCP}, core.ProbeSpec{Name: "page", Type: core.ProbeTCP})
	engineTest(t, k, policies{"weighted": weighted}, setup, func(t *testing.T, e *Engine, l *log) {
		for _, b := range []string{"b1", "b2"} {
			e.sayBy(b, "alive", true, core.L4OK)
			e.sayBy(b, "page", true, core.L4OK)
		}
		time.Sleep(2 * time.Second)
		if told := l.told("probe"); len(told) > 0 {
			t.Errorf("told %q", told)
		}
	})
}

// The last backend that serves is never held down, and that is not told each time.
func TestFlapOfTheOnlyOne(t *testing.T) {
	k := &kernel{}
	setup := probed(flapping, core.ProbeSpec{Name: "alive", Type: core.ProbeTCP})
	setup.Services[0].Backends = setup.Services[0].Backends[:1]
	engineTest(t, k, policies{"weighted": weighted}, setup, func(t *testing.T, e *Engine, l *log) {
		e.good("b1", 1)
		for range 20 {
			e.bad("b1", 2)
			time.Sleep(2 * time.Second)
			e.good("b1", 2)
			time.Sleep(2 * time.Second)
			want(t, k, "web", 65536)
		}
		told := l.told("probe")
		if len(told) > 3 || slices.ContainsFunc(told, func(s string) bool { return strings.Contains(s, "stays down") }) {
			t.Errorf("told %q", told)
		}
	})
}

// A held backend whose bad probe leaves the configuration is let up in time.
func TestHeldAndProbeLeaves(t *testing.T) {
	k := &kernel{}
	setup := probed(flapping, core.ProbeSpec{Name: "alive", Type: core.ProbeTCP}, core.ProbeSpec{Name: "page", Type: core.ProbeTCP})
	engineTest(t, k, policies{"weighted": weighted}, setup, func(t *testing.T, e *Engine, l *log) {
		both := func() {
			for _, b := range []string{"b1", "b2"} {
				e.sayBy(b, "alive", true, core.L4OK)
				e.sayBy(b, "page", true, core.L4OK)
			}
			synctest.Wait()
		}
		both()
		e.flap("b1", 2)
		e.bad("b1", 2)
		e.sayBy("b1", "page", false, core.L4Refused)
		e.sayBy("b1", "page", false, core.L4Refused)
		e.good("b1", 2)
		time.Sleep(time.Second)
		reloadTo(t, e, probed(flapping, core.ProbeSpec{Name: "alive", Type: core.ProbeTCP}))
		for range 90 {
			e.good("b1", 1)
			time.Sleep(time.Second)
		}
		want(t, k, "web", 32768, 32768)
	})
}
