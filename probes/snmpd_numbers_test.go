// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/probes/probestest"
)

const (
	oidLoadInt   = "1.3.6.1.4.1.2021.10.1.5.1"                           // laLoadInt.1
	oidLoadText  = ".1.3.6.1.4.1.2021.10.1.3.1"                          // laLoad.1
	oidLoadFloat = ".1.3.6.1.4.1.2021.10.1.6.1"                          // laLoadFloat.1
	oidOctets    = ".1.3.6.1.2.1.31.1.1.1.6"                             // ifHCInOctets
	oidOctets32  = ".1.3.6.1.2.1.2.2.1.10"                               // ifInOctets
	oidUsed      = ".1.3.6.1.2.1.25.2.3.1.6"                             // hrStorageUsed
	oidQueue     = ".1.3.6.1.4.1.8072.1.3.2.3.1.1.5.113.117.101.117.101" // nsExtendOutput1Line."queue"
	oidGone      = ".1.3.6.1.4.1.99998.1.0"
)

// numbersOf makes an agent's target a probe of type snmp.
func numbersOf(target Target, metrics ...core.MetricSpec) Target {
	spec := *target.Spec
	spec.Type, spec.Metrics, spec.Timeout = core.ProbeSNMP, metrics, ample
	target.Spec = &spec
	return target
}

// TestSnmpdNumbers reads what people read over SNMP, of this machine and in every
// version.
func TestSnmpdNumbers(t *testing.T) {
	c := snmpdConfig(t)
	c.Lines = []string{"extend queue /bin/echo 42"}
	startSnmpd(t, c)
	for version, target := range versionsOf(c) {
		t.Run(version, func(t *testing.T) {
			target := numbersOf(target,
				core.MetricSpec{Name: "load", From: oidLoadInt, Scale: 0.01},
				core.MetricSpec{Name: "load_text", From: oidLoadText},
				core.MetricSpec{Name: "load_float", From: oidLoadFloat},
				core.MetricSpec{Name: "queue", From: oidQueue, Unit: "count"},
				core.MetricSpec{Name: "disks", From: oidUsed, Aggregate: core.CountOf},
				core.MetricSpec{Name: "used", From: oidUsed, Aggregate: core.SumOf},
			)
			s := ask(t, target)
			wantCode(t, s, true, core.SNMPOK, "queue 42")
			wantMetrics(t, s, "load", "load_text", "load_float", "queue", "disks", "used")
			wantValue(t, s, "queue", 42)
			text, _ := s.Metric("load_text")
			float, _ := s.Metric("load_float")
			if d := text.Value - float.Value; d > 0.011 || d < -0.011 {
				t.Errorf("load is %g as a text and %g as a number", text.Value, float.Value)
			}
			disks, _ := s.Metric("disks")
			used, _ := s.Metric("used")
			if disks.Value < 1 || used.Value < 1 {
				t.Errorf("%g disks, %g used", disks.Value, used.Value)
			}
		})
	}
}

// TestSnmpdRates: what goes over the loopback while we ask is counted by this
// machine, in 64 and in 32 bits, and by us.
func TestSnmpdRates(t *testing.T) {
	c := snmpdConfig(t)
	startSnmpd(t, c)
	target := numbersOf(v3Target(c.Addr),
		core.MetricSpec{Name: "in", From: oidOctets + ".1", Kind: core.CounterKind, Unit: "bytes_per_second"},
		core.MetricSpec{Name: "in_32", From: oidOctets32 + ".1", Kind: core.CounterKind},
		core.MetricSpec{Name: "in_all", From: oidOctets, Kind: core.CounterKind, Aggregate: core.MaxOf},
	)
	p := newProber(target)
	s := askWith(t, target, p)
	wantCode(t, s, true, core.MetricWait, "after the next answer")
	// The agent keeps its interface table for 3 s.
	for deadline := time.Now().Add(20 * time.Second); s.Code == core.MetricWait && time.Now().Before(deadline); {
		time.Sleep(250 * time.Millisecond)
		s = askWith(t, target, p)
	}
	wantCode(t, s, true, core.SNMPOK, "in ")
	in, _ := s.Metric("in")
	if in.Value <= 0 || in.Unit != "bytes_per_second" || in.Window <= 0 {
		t.Errorf("got %+v", in)
	}
	if again, _ := askWith(t, target, p).Metric("in"); again.Value != in.Value && again.Value <= 0 {
		t.Errorf("a second answer of the agent's cache makes %+v of %+v", again, in)
	}
}

// TestSnmpdMissing: what is there is read, and what is not is named.
func TestSnmpdMissing(t *testing.T) {
	c := snmpdConfig(t)
	c.Lines = []string{"view seen excluded .1.3.6.1.2.1.25"}
	startSnmpd(t, c)
	for version, target := range versionsOf(c) {
		t.Run(version, func(t *testing.T) {
			up := core.MetricSpec{Name: "load", From: oidLoadInt}
			gone := core.MetricSpec{Name: "gone", From: oidGone}
			hidden := core.MetricSpec{Name: "used", From: oidUsed, Aggregate: core.SumOf}
			s := ask(t, numbersOf(target, up, gone, hidden))
			wantCode(t, s, true, core.SNMPOK, "gone: "+oidGone+" is not there")
			wantMetrics(t, s, "load")
			s = ask(t, numbersOf(target, gone, hidden))
			wantCode(t, s, false, core.MetricNone, "view hides it")
			noSecret(t, s)
		})
	}
	v1 := numbersOf(versionsOf(c)["v1"], core.MetricSpec{Name: "in", From: oidOctets + ".1", Kind: core.CounterKind})
	wantCode(t, ask(t, v1), false, core.MetricNone, "64 bits, which version 1 does not know")
	column := numbersOf(snmpTarget(c.Addr), core.MetricSpec{Name: "load", From: "1.3.6.1.4.1.2021.10.1.5"})
	wantCode(t, ask(t, column), false, core.MetricNone, "set aggregate")
	text := numbersOf(snmpTarget(c.Addr), core.MetricSpec{Name: "os", From: "1.3.6.1.2.1.1.1.0"})
	wantCode(t, ask(t, text), false, core.MetricNone, "is the text")
	scalar := numbersOf(snmpTarget(c.Addr), core.MetricSpec{Name: "up", From: "1.3.6.1.2.1.1.3.1"})
	wantCode(t, ask(t, scalar), false, core.MetricNone, "ends in .0")
}

// TestSnmpdCounters moves counters of an agent that our script answers for: a wrap,
// a cache, and a restart.
func TestSnmpdCounters(t *testing.T) {
	c := snmpdConfig(t)
	c.Pass = []string{passPrivate}
	rows := func(n ...string) []string {
		return []string{passPrivate + ".7.1=counter:" + n[0], passPrivate + ".7.2=counter:" + n[1]}
	}
	c.Rows = rows("4294967290", "100")
	agent := startSnmpd(t, c)
	target := numbersOf(snmpTarget(c.Addr), core.MetricSpec{Name: "done", From: passPrivate + ".7", Kind: core.CounterKind, Aggregate: core.SumOf})
	p := newProber(target)
	for range 2 { // the second is the first again
		wantCode(t, askWith(t, target, p), true, core.MetricWait, "done after the next answer")
		if again := p.(patient).enough(result{ok: true}); again < time.Second {
			t.Errorf("a try asks again in %s", again)
		}
	}
	agent.SetRows(rows("4", "200")...)
	if err := agent.SetCounters(probestest.CPU{}); err != nil {
		t.Fatal(err)
	}
	s := askWith(t, target, p)
	wantCode(t, s, true, core.SNMPOK, "done ")
	m, _ := s.Metric("done")
	if grown := m.Value * m.Window.Seconds(); grown < 109 || grown > 111 || m.Unit != "per_second" {
		t.Errorf("grown by %g in %+v, want 10 around the end and 100", grown, m)
	}
	if again := p.(patient).enough(result{ok: true}); again != 0 {
		t.Errorf("a try with a rate asks again in %s", again)
	}
	again, _ := askWith(t, target, p).Metric("done")
	if again != m {
		t.Errorf("the same counters made %+v of %+v", again, m)
	}
}
