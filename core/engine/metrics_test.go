// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// monitor is a metric as a monitor sends it.
func monitor(backend string, at time.Time, m core.Metric) core.Sample {
	return core.Sample{
		Backend: core.BackendID{Service: "web", Backend: backend}, Probe: "load", Role: core.MetricRole, OK: true,
		Node: "zabbix", TakenAt: at, Metrics: []core.Metric{m},
	}
}

// What is not taken from a monitor is counted and told, once a minute and not
// for each sample.
func TestRefusedMetricsAreTold(t *testing.T) {
	cpu := func(v float64, unit string) core.Metric {
		return core.Metric{Name: core.MetricCPU, Value: v, Unit: unit}
	}
	s := web("web", "weighted", 1, 1)
	s.Shaping.StaleAfter = 30 * time.Second
	for _, tt := range []struct {
		name             string
		sample           func() core.Sample
		told             string // empty: it is taken
		cpu              float64
		unknown, refused uint64
	}{
		{"good", func() core.Sample { return monitor("b1", time.Now(), cpu(0.4, "ratio")) }, "", 0.4, 0, 0},
		{"rounded up", func() core.Sample { return monitor("b1", time.Now(), cpu(1.004, "")) }, "", 1, 0, 0},
		{"percent", func() core.Sample { return monitor("b1", time.Now(), cpu(42, "")) }, "a ratio is from 0 to 1", 0, 0, 100},
		{"says percent", func() core.Sample { return monitor("b1", time.Now(), cpu(0.42, "percent")) }, `in "percent"; want ratio`, 0, 0, 100},
		{"old", func() core.Sample { return monitor("b1", time.Now().Add(-time.Hour), cpu(0.4, "ratio")) }, "1h0m0s old", 0, 0, 100},
		{"no such backend", func() core.Sample { return monitor("b9", time.Now(), cpu(0.4, "ratio")) }, "no backend web/b9", 0, 100, 0},
		{"of another node's probe", func() core.Sample {
			s := monitor("b9", time.Now(), cpu(0.4, "ratio"))
			s.Type, s.Code = core.ProbeSNMPCPU, core.SNMPOK
			return s
		}, "", 0, 100, 0},
		{"of our own, before a reload", func() core.Sample {
			s := monitor("b9", time.Now(), cpu(0.4, "ratio"))
			s.Node, s.Type, s.Code = "test", core.ProbeSNMPCPU, core.SNMPOK
			return s
		}, "", 0, 0, 0},
		// As `steelyard metric push` does on this machine.
		{"old, of a monitor with our name", func() core.Sample {
			s := monitor("b1", time.Now().Add(-time.Hour), cpu(0.4, "ratio"))
			s.Node = "test"
			return s
		}, "1h0m0s old", 0, 0, 100},
		{"no such backend, of a monitor with our name", func() core.Sample {
			s := monitor("b9", time.Now(), cpu(0.4, "ratio"))
			s.Node = "test"
			return s
		}, "no backend web/b9", 0, 100, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			engineTest(t, &kernel{}, policies{"weighted": weighted}, setupOf(s), func(t *testing.T, e *Engine, l *log) {
				for range 100 {
					e.Offer(tt.sample())
				}
				time.Sleep(meterEvery)
				synctest.Wait()
				v, err := e.View(t.Context())
				if err != nil || v.SamplesUnknown != tt.unknown || v.MetricsRefused != tt.refused {
					t.Errorf("%d unknown, %d refused, err %v; want %d, %d", v.SamplesUnknown, v.MetricsRefused, err, tt.unknown, tt.refused)
				}
				got := 0.0
				if c := v.Services[0].Backends[0].CPU; c != nil {
					got = *c
				}
				if got != tt.cpu {
					t.Errorf("cpu is %v, want %v", got, tt.cpu)
				}
				if tt.told != "" && !l.has(tt.told) {
					t.Errorf("no event says %q: %+v", tt.told, l.events)
				}
				if n := len(l.events); n > 1 || tt.told == "" && n > 0 {
					t.Errorf("%d events: %+v", n, l.events)
				}
			})
		})
	}
}

var snmp = core.ProbeSpec{Name: "cpu", Type: core.ProbeSNMPCPU, Role: core.MetricRole}

// Where a policy has no opinion for want of a metric, the reason names the probe
// that fails.
func TestWhyNamesTheFailingProbe(t *testing.T) {
	s := web("web", "mine", 1, 1)
	s.Probes = append(s.Probes, "cpu")
	setup := setupOf(s)
	setup.Probes["cpu"] = snmp
	holds := func(_ context.Context, s core.Snapshot) core.Result {
		return core.Result{Weights: []float64{core.Hold, core.Hold}}
	}
	engineTest(t, &kernel{}, policies{"mine": holds}, setup, func(t *testing.T, e *Engine, l *log) {
		e.say("web", "b1", true)
		e.say("web", "b2", true)
		e.Offer(core.Sample{
			Backend: core.BackendID{Service: "web", Backend: "b1"}, Probe: "cpu", Role: core.MetricRole, Node: "test",
			TakenAt: time.Now(), Code: core.SNMPTime, Detail: "no answer",
		})
		time.Sleep(3 * time.Second)
		v, err := e.View(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if why := v.Services[0].Backends[0].Why; why != "no cpu: SNMPTOUT, share held" {
			t.Errorf("b1, whose probe fails: %q", why)
		}
		if why := v.Services[0].Backends[1].Why; strings.Contains(why, "no cpu") {
			t.Errorf("b2, whose probe has said nothing: %q", why)
		}
		e.Offer(core.Sample{
			Backend: core.BackendID{Service: "web", Backend: "b2"}, Probe: "cpu", Role: core.MetricRole, Node: "test",
			TakenAt: time.Now(), OK: true, Code: core.SNMPWait, Detail: "no CPU reading yet",
		})
		time.Sleep(3 * time.Second)
		if b := e.backend(t, 1); b.Why != "no cpu yet: SNMPWAIT, share held" {
			t.Errorf("b2, whose probe waits for its second answer: %q", b.Why)
		}
	})
}

// The CPU of a probe that has left the configuration is not shown for ever.
func TestReloadForgetsTheCPUOfAProbeThatLeft(t *testing.T) {
	with := web("web", "weighted", 1, 1)
	with.Probes = append(with.Probes, "cpu")
	setup := setupOf(with)
	setup.Probes["cpu"] = snmp
	engineTest(t, &kernel{}, policies{"weighted": weighted}, setup, func(t *testing.T, e *Engine, l *log) {
		cpu := func() *float64 {
			v, err := e.View(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return v.Services[0].Backends[0].CPU
		}
		reload := func(s Setup) {
			if _, err := e.Reload(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
		e.Offer(monitor("b1", time.Now(), core.Metric{Name: core.MetricCPU, Value: 0.4}))
		time.Sleep(meterEvery)
		synctest.Wait()
		if reload(setup); cpu() == nil {
			t.Error("a reload that leaves the probe forgot its reading")
		}
		if reload(setupOf(web("web", "weighted", 1, 1))); cpu() != nil {
			t.Error("the reading outlived its probe")
		}
		e.Offer(monitor("b1", time.Now(), core.Metric{Name: core.MetricCPU, Value: 0.4}))
		time.Sleep(meterEvery)
		synctest.Wait()
		if reload(setupOf(web("web", "weighted", 3, 1))); cpu() == nil {
			t.Error("a reload forgot what a monitor feeds")
		}
	})
}
