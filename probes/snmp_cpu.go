// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// defaultSNMPPort is IANA's.
const defaultSNMPPort = 161

// defaultWindow is two refreshes of a net-snmp agent.
const defaultWindow = 10 * time.Second

// snmpCPU reads the raw CPU counters of a machine's SNMP agent and computes the
// busy share over a window of time. The agent's own averages are no use: they
// lag by a minute. Emits cpu, cores and agent_refresh, each as soon as it is
// known.
//
// An answer without a reading yet is OK with code SNMPWAIT. An answer with the
// counters of the one before repeats the reading with its old At.
type snmpCPU struct {
	client snmpClient
	window cpuWindow
}

func newSNMPCPU(t Target) prober {
	spec := t.Spec.SNMP
	length := cmp.Or(t.Spec.CPU.Window, defaultWindow)
	p := &snmpCPU{
		client: snmpClient{
			addr:    netip.AddrPortFrom(t.Addr.Addr(), cmp.Or(t.Spec.Port, defaultSNMPPort)),
			way:     way(t.Spec.Way),
			spec:    spec,
			timeout: cmp.Or(t.Spec.Timeout, defaultTimeout),
		},
		window: cpuWindow{
			length:       length,
			expire:       3 * max(length, t.Spec.Interval),
			excludeSteal: t.Spec.CPU.ExcludeSteal,
			includeWait:  t.Spec.CPU.IncludeWait,
		},
	}
	if err := p.client.check(); err != nil {
		return impossible(err.Error())
	}
	return p
}

func (p *snmpCPU) probe(ctx context.Context) result {
	vars, err := p.client.get(ctx, cpuOIDs)
	if err != nil {
		var e *snmpError
		if errors.As(err, &e) {
			return result{code: e.code, detail: e.text}
		}
		return bad(core.Internal, "ask agent: %v", err)
	}
	at := time.Now()
	counters, err := decodeCPU(vars)
	if err != nil {
		return bad(core.SNMPValue, "%v", err)
	}
	return p.report(counters, at)
}

// report makes the result of an answer that came at the given time.
func (p *snmpCPU) report(c cpuCounters, at time.Time) result {
	r := result{ok: true, code: core.SNMPOK}
	why := p.window.add(c, at)
	if why != "" {
		r.code = core.SNMPWait
		r.detail = "no CPU reading yet: " + why
	} else {
		cpu := p.window.latest
		r.metrics = append(r.metrics, core.Metric{
			Name: core.MetricCPU, Value: cpu.busy, Unit: "ratio", Window: cpu.window, At: cpu.at.UTC(),
		})
		r.detail = fmt.Sprintf("cpu %.1f%% over %s", cpu.busy*100, cpu.window.Round(100*time.Millisecond))
		if old := at.Sub(cpu.at); old > 0 {
			r.detail += fmt.Sprintf(", counters unchanged for %s", old.Round(100*time.Millisecond))
		}
	}
	if c.cores > 0 {
		r.metrics = append(r.metrics, core.Metric{Name: core.MetricCores, Value: float64(c.cores), Unit: "count"})
	}
	if p.window.refresh > 0 {
		r.metrics = append(r.metrics, seconds(core.MetricRefresh, p.window.refresh))
	}
	return r
}
