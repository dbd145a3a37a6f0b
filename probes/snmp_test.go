// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/gosnmp/gosnmp"

	"github.com/steelyard-lb/steelyard/core"
)

func numbersProbe(t *testing.T, metrics ...core.MetricSpec) *snmpNumbers {
	t.Helper()
	p, ok := newProber(numbersOf(snmpTarget(netip.MustParseAddrPort("127.0.0.1:161")), metrics...)).(*snmpNumbers)
	if !ok {
		t.Fatal("no probe of type snmp")
	}
	return p
}

// give has a probe make what it can of one counter.
func give(p *snmpNumbers, n uint, up uint32, at time.Time) selection {
	var sel selection
	p.noteUptime(context.Background(), gosnmp.SnmpPDU{Type: gosnmp.TimeTicks, Value: up})
	p.add(context.Background(), &sel, 0, found{[]gosnmp.SnmpPDU{{Name: ".1.3.6.1.7.0", Type: gosnmp.Counter32, Value: n}}, at})
	return sel
}

// TestSNMPCachedCounter is a counter that grows by 100 a second, which an agent
// refreshes every 10 s and we ask for every 3: no rate is another one. Then it stands
// still.
func TestSNMPCachedCounter(t *testing.T) {
	p := numbersProbe(t, core.MetricSpec{Name: "done", From: ".1.3.6.1.7.0", Kind: core.CounterKind})
	start, rates := time.Now(), 0
	var at, last time.Duration
	for ; at < 2*time.Minute; at += 3 * time.Second {
		sel := give(p, uint(at/(10*time.Second))*1000, uint32(at.Seconds()*100), start.Add(at))
		if len(sel.metrics) == 0 {
			if at > 15*time.Second {
				t.Errorf("no rate at %s: %v", at, sel)
			}
			continue
		}
		rates++
		if m := sel.metrics[0]; at > 30*time.Second && (m.Value < 60 || m.Value > 140) {
			t.Errorf("at %s the rate is %g over %s, want about 100", at, m.Value, m.Window)
		}
	}
	if rates < 30 {
		t.Errorf("%d rates", rates)
	}
	for last = at; at < last+time.Minute; at += 3 * time.Second {
		sel := give(p, uint(last/(10*time.Second))*1000, uint32(at.Seconds()*100), start.Add(at))
		if rest := at - last; rest > holdCounter+6*time.Second && (len(sel.metrics) != 1 || sel.metrics[0].Value != 0) {
			t.Errorf("standing still for %s: %+v, want a rate of 0", rest, sel)
		}
	}
}

// TestSNMPCounterAfterRestart: an agent that began anew makes no spike, also where a
// counter that went back looks like one that wrapped.
func TestSNMPCounterAfterRestart(t *testing.T) {
	p := numbersProbe(t, core.MetricSpec{Name: "done", From: ".1.3.6.1.7.0", Kind: core.CounterKind})
	start := time.Now()
	give(p, 4_000_000_000, 1000, start)
	if sel := give(p, 4_000_000_100, 2000, start.Add(10*time.Second)); len(sel.metrics) != 1 || sel.metrics[0].Value != 10 {
		t.Errorf("got %+v, want 10 a second", sel)
	}
	if sel := give(p, 50, 100, start.Add(20*time.Second)); len(sel.metrics) != 0 || len(sel.waits) != 1 {
		t.Errorf("got %+v after a restart, want to wait", sel)
	}
	if sel := give(p, 150, 1100, start.Add(30*time.Second)); len(sel.metrics) != 1 || sel.metrics[0].Value != 10 {
		t.Errorf("got %+v, want 10 a second", sel)
	}
}

func TestSNMPImpossibleMetrics(t *testing.T) {
	target := snmpTarget(netip.MustParseAddrPort("127.0.0.1:161"))
	wantCode(t, ask(t, numbersOf(target)), false, core.Internal, "needs metrics")
	wantCode(t, ask(t, numbersOf(target, core.MetricSpec{Name: "up", From: "sysUpTime.0"})), false, core.Internal, `metric up: OID "sysUpTime.0"`)
	spec := *target.Spec
	spec.CPU.Source = "wmi"
	wantCode(t, ask(t, Target{Addr: target.Addr, Spec: &spec}), false, core.Internal, `cpu_source "wmi"`)
	spec.CPU.Source = core.CPUFromOID
	wantCode(t, ask(t, Target{Addr: target.Addr, Spec: &spec}), false, core.Internal, "numbers with dots")
}
