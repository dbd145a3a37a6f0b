// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// byCPU weighs by idle CPU, and has no opinion of a backend whose CPU is not known.
func byCPU(_ context.Context, s core.Snapshot) core.Result {
	var r core.Result
	for _, b := range s.Backends {
		w := core.Hold * 1.0
		if b.CPU.Known {
			w = 1 - b.CPU.Value
		}
		r.Weights = append(r.Weights, w)
	}
	return r
}

// An SNMP agent falls silent: its backend never goes down for that. Until stale_after
// the last reading counts, until hold has passed after it the share stays, and then it
// goes to that of the configured weight, and is back when the agent is.
func TestStaleMetric(t *testing.T) {
	k := &kernel{}
	setup := setupOf(web("web", "cpu", 1, 1))
	setup.Probes["cpu"] = core.ProbeSpec{Name: "cpu", Type: core.ProbeSNMPCPU, Role: core.MetricRole}
	s := &setup.Services[0]
	s.Probes = []string{"alive", "cpu"}
	s.Shaping = core.Shaping{StaleAfter: 30 * time.Second, Hold: time.Minute}
	engineTest(t, k, policies{"cpu": byCPU}, setup, func(t *testing.T, e *Engine, l *log) {
		e.up("b1", "b2")
		cpu := func(backend string, ok bool, busy float64) {
			sample := core.Sample{
				Backend: core.BackendID{Service: "web", Backend: backend}, Probe: "cpu", Type: core.ProbeSNMPCPU, Role: core.MetricRole,
				OK: ok, Code: core.SNMPTime, Detail: "no answer", TakenAt: time.Now(), Node: "test",
			}
			if ok {
				sample.Code = core.SNMPOK
				sample.Metrics = []core.Metric{{Name: core.MetricCPU, Value: busy, Unit: "ratio", Window: 10 * time.Second}}
			}
			e.Offer(sample)
		}
		run := func(d time.Duration, agent bool) {
			for ; d > 0; d -= 5 * time.Second {
				cpu("b1", agent, 0.9)
				cpu("b2", true, 0.1)
				e.good("b1", 1)
				time.Sleep(5 * time.Second)
			}
		}
		share := func() float64 { return float64(k.get("web")[0]) / core.Slots }
		run(20*time.Second, true)
		if got := share(); math.Abs(got-0.1) > 0.001 {
			t.Fatalf("a share of %.3f of one that is 90 %% busy", got)
		}
		known := func() bool {
			d, err := e.Decisions(t.Context(), "web", 1)
			if err != nil {
				t.Fatal(err)
			}
			for _, in := range d[0].Backends[0].Inputs {
				if in.Metric == core.MetricCPU {
					return in.Known
				}
			}
			return false
		}
		run(20*time.Second, false)
		if !known() || math.Abs(share()-0.1) > 0.001 {
			t.Errorf("20 s of silence: known %t, share %.3f", known(), share())
		}
		run(20*time.Second, false)
		b := e.backend(t, 0)
		if known() || math.Abs(share()-0.1) > 0.001 || b.Why != "no cpu: SNMPTOUT, share held" {
			t.Errorf("40 s: known %t, share %.3f: %s", known(), share(), b.Why)
		}
		run(90*time.Second, false)
		half := share()
		if b := e.backend(t, 0); half < 0.2 || half > 0.4 || !strings.Contains(b.Why, "decaying to the configured weight") {
			t.Errorf("130 s: share %.3f: %s", half, b.Why)
		}
		run(10*time.Minute, false)
		if got := share(); math.Abs(got-0.5) > 0.01 {
			t.Errorf("after ten minutes a share of %.3f, want the configured one", got)
		}
		if b := e.backend(t, 0); b.Health != core.Up || b.State != core.StateUp {
			t.Errorf("b1 is %s (%s)", b.State, b.Health)
		}
		for _, c := range l.changes() {
			if strings.Contains(c, "SNMP") || strings.Contains(c, "→down") {
				t.Errorf("a change of health: %s", c)
			}
		}
		run(20*time.Second, true)
		if got := share(); math.Abs(got-0.1) > 0.01 {
			t.Errorf("with the agent back a share of %.3f", got)
		}
	})
}
