// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/probes/probestest"
)

// versionsOf are targets of the same agent in every version.
func versionsOf(c probestest.SnmpdConfig) map[string]Target {
	v1, v2, v3 := snmpTarget(c.Addr), snmpTarget(c.Addr), v3Target(c.Addr)
	v1.Spec.SNMP.Version = "1"
	return map[string]Target{"v1": v1, "v2c": v2, "v3": v3}
}

// A watchedRun keeps what a run says of itself.
type watchedRun []string

func (w *watchedRun) ctx(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), ample)
	t.Cleanup(cancel)
	return traced(ctx, func(step, text string) { *w = append(*w, step+": "+text) })
}

// want fails for each text that no step has; it prints all steps then. A secret in
// any of them fails, too.
func (w watchedRun) want(t *testing.T, texts ...string) {
	t.Helper()
	all := strings.Join(w, "\n")
	for _, text := range texts {
		if !strings.Contains(all, text) {
			t.Errorf("no step says %q:\n%s", text, all)
		}
	}
	if strings.Contains(all, "s3cret") {
		t.Errorf("a secret shows in the steps:\n%s", all)
	}
}

func wantValue(t *testing.T, s core.Sample, name string, want float64) core.Metric {
	t.Helper()
	m, ok := s.Metric(name)
	if !ok || math.Abs(m.Value-want) > 1e-6*max(1, math.Abs(want)) {
		t.Errorf("%s is %+v (%t), want %g", name, m, ok, want)
	}
	return m
}

const (
	passHost    = ".1.3.6.1.2.1.25.3.3.1.2"
	passCisco   = ".1.3.6.1.4.1.9.9.109.1.1.1.1"
	passPrivate = ".1.3.6.1.4.1.99999"
)

// TestSnmpdAverages reads hrProcessorLoad, Cisco's and any other column.
func TestSnmpdAverages(t *testing.T) {
	c := snmpdConfig(t)
	c.Pass = []string{passHost, passCisco, passPrivate}
	c.Rows = []string{
		passHost + ".196608=integer:30", passHost + ".196609=integer:50",
		passCisco + ".6.1=gauge:99", passCisco + ".7.1=gauge:20", passCisco + ".7.2=gauge:30", passCisco + ".8.1=gauge:99",
		passPrivate + ".1.0=integer:75", passPrivate + ".2.1=string:0.5", passPrivate + ".2.2=string:0.7", passPrivate + ".3.1=integer:4000",
		passPrivate + ".4.7=gauge:12",
	}
	startSnmpd(t, c)
	tests := []struct {
		name  string
		cpu   core.CPUSpec
		want  float64
		cores float64
	}{
		{"host", core.CPUSpec{Source: core.CPUFromHost}, 0.4, 2},
		{"cisco", core.CPUSpec{Source: core.CPUFromCisco}, 0.25, 2},
		{"an idle share", core.CPUSpec{Source: core.CPUFromOID, OID: "1.3.6.1.4.1.99999.1.0", Idle: true}, 0.25, 0},
		{"a column of texts", core.CPUSpec{Source: core.CPUFromOID, OID: passPrivate + ".2", Scale: 1}, 0.6, 0},
		{"a row by itself", core.CPUSpec{Source: core.CPUFromOID, OID: passPrivate + ".4.7"}, 0.12, 0},
	}
	for version, target := range versionsOf(c) {
		for _, tt := range tests {
			t.Run(version+" "+tt.name, func(t *testing.T) {
				spec := *target.Spec
				target.Spec, spec.CPU = &spec, tt.cpu
				p := newProber(target)
				for range 2 {
					s := askWith(t, target, p)
					wantCode(t, s, true, core.SNMPOK, fmt.Sprintf("cpu %.1f%%", tt.want*100))
					m := wantValue(t, s, core.MetricCPU, tt.want)
					if tt.cores > 0 {
						wantValue(t, s, core.MetricCores, tt.cores)
						if m.Window != time.Minute {
							t.Errorf("window %s, want a minute: it is an average over one", m.Window)
						}
					}
				}
			})
		}
	}
	t.Run("no share", func(t *testing.T) {
		target := snmpTarget(c.Addr)
		target.Spec.CPU = core.CPUSpec{Source: core.CPUFromOID, OID: passPrivate + ".3"}
		wantCode(t, ask(t, target), false, core.SNMPValue, "look at scale")
	})
	t.Run("nothing there", func(t *testing.T) {
		target := snmpTarget(c.Addr)
		target.Spec.CPU = core.CPUSpec{Source: core.CPUFromOID, OID: "1.3.6.1.4.1.99998.1.0"}
		wantCode(t, ask(t, target), false, core.SNMPValue, "shows nothing at .1.3.6.1.4.1.99998.1.0")
	})
}

// TestSnmpdFirstMinute: net-snmp has no hrProcessorLoad in its first minute, which
// is no fault of anybody.
func TestSnmpdFirstMinute(t *testing.T) {
	c := snmpdConfig(t)
	c.NativeCounters = true
	startSnmpd(t, c)
	for version, target := range versionsOf(c) {
		target.Spec.CPU = core.CPUSpec{Source: core.CPUFromHost}
		p := newProber(target)
		s := askWith(t, target, p)
		wantCode(t, s, true, core.SNMPWait, "60 to 90s after its start only")
		if len(s.Metrics) > 0 {
			t.Errorf("%s: metrics %v of nothing", version, s.Metrics)
		}
		if p.(patient).enough(result{ok: s.OK, code: s.Code}) == 0 {
			t.Errorf("%s: a try ends with %q", version, s.Detail)
		}
	}
}

// TestSnmpdOtherAgent is an agent that is not net-snmp, as the probe sees it: no raw
// counters, but hrProcessorLoad.
func TestSnmpdOtherAgent(t *testing.T) {
	c := snmpdConfig(t)
	c.Pass, c.Rows = []string{passHost}, []string{passHost + ".1=integer:30", passHost + ".2=integer:50"}
	c.Lines = []string{"view seen excluded .1.3.6.1.4.1.2021"}
	startSnmpd(t, c)
	for version, target := range versionsOf(c) {
		s := ask(t, target)
		wantCode(t, s, false, core.SNMPValue, "set cpu_source: host")
		var run watchedRun
		newProber(target).probe(run.ctx(t))
		run.want(t, "cpu_source: host would work: hrProcessorLoad has 2 rows")
		t.Logf("%s: %s", version, s.Detail)
	}
}

// TestSnmpdTrace: what `probe test -v` prints has every number that a reading is
// made of.
func TestSnmpdTrace(t *testing.T) {
	c := snmpdConfig(t)
	c.Counters = probestest.CPU{User: 1000, Idle: 1000, Cores: 1}
	agent := startSnmpd(t, c)
	for version, target := range versionsOf(c) {
		if err := agent.SetCounters(probestest.CPU{User: 1000, Idle: 1000, Cores: 1}); err != nil {
			t.Fatal(err)
		}
		p := newProber(target)
		var run watchedRun
		r := p.probe(run.ctx(t))
		if again := p.(patient).enough(r); again <= 0 || !strings.Contains(r.detail, "refreshes every") {
			t.Errorf("%s: after one answer: again in %s, %q", version, again, r.detail)
		}
		if err := agent.SetCounters(probestest.CPU{User: 1040, Idle: 1060, Cores: 1}); err != nil {
			t.Fatal(err)
		}
		r = p.probe(run.ctx(t))
		if again := p.(patient).enough(r); again != 0 {
			t.Errorf("%s: after a reading: again in %s", version, again)
		}
		run.want(t, "GET of .1.3.6.1.4.1.2021.11.50.0 and 9 more from "+c.Addr.String(),
			"ssCpuRawUser = 1000\n", "ssCpuRawUser = 1040 (+40)", "ssCpuRawIdle = 1060 (+60)", "ssCpuNumCpus = 1",
			"busy 40 of 100 ticks", "= 40.0%", "refresh: the counters change every")
	}
}

// TestSnmpdLeavesOut: version 1 refuses a whole question for one object.
func TestSnmpdLeavesOut(t *testing.T) {
	c := snmpdConfig(t)
	startSnmpd(t, c)
	for version, target := range versionsOf(c) {
		client, err := newSNMPClient(target)
		if err != nil {
			t.Fatal(err)
		}
		oids := make([]string, 0, 150)
		for range 50 {
			oids = append(oids, ".1.3.6.1.2.1.1.5.0", ".1.3.6.1.2.1.1.77.0", ".1.3.6.1.2.1.1.3.0")
		}
		if version == "v1" {
			oids = oids[:30] // a question for each that is missing
		}
		ctx, cancel := context.WithTimeout(context.Background(), ample)
		vars, err := client.get(ctx, oids)
		cancel()
		if err != nil || len(vars) != len(oids) {
			t.Fatalf("%s: %d objects of %d, %v", version, len(vars), len(oids), err)
		}
		for i, v := range vars {
			if v.Name != oids[i] || absent(v) != (i%3 == 1) {
				t.Errorf("%s: object %d: %+v, want %s", version, i, v, oids[i])
			}
		}
	}
}

// TestSnmpdTry: a try asks until there is a reading, and says what it waits for.
func TestSnmpdTry(t *testing.T) {
	c := snmpdConfig(t)
	c.Counters = probestest.CPU{User: 1000, Idle: 1000}
	agent := startSnmpd(t, c)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var run watchedRun
	s := Try(ctx, v3Target(c.Addr), func(step, text string) {
		run = append(run, step+": "+text)
		if step == "wait" { // the agent refreshes meanwhile
			if err := agent.SetCounters(probestest.CPU{User: 1123, Idle: 1877}); err != nil {
				t.Error(err)
			}
		}
	})
	wantCode(t, s, true, core.SNMPOK, "cpu 12.3% over")
	run.want(t, "one answer so far; net-snmp refreshes every 5s", "engine: ", "busy 123 of 1000 ticks", "ssCpuRawUser = 1123 (+123)")
	t.Log("\n" + strings.Join(run, "\n"))
}
