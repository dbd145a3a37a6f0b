// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// defaultSNMPPort is IANA's.
const defaultSNMPPort = 161

// defaultWindow is two refreshes of a net-snmp agent.
const defaultWindow = 10 * time.Second

// newSNMPCPU makes the prober of the spec's source.
func newSNMPCPU(t Target) prober {
	client, err := newSNMPClient(t)
	if err == nil {
		err = checkCPU(&t.Spec.CPU)
	}
	if err != nil {
		return impossible(err.Error())
	}
	if s := t.Spec.CPU.Source; s != "" && s != core.CPUFromUCD {
		return &snmpLoad{client: client}
	}
	length := cmp.Or(t.Spec.CPU.Window, defaultWindow)
	return &snmpCPU{
		client: client,
		window: cpuWindow{
			length:       length,
			expire:       3 * max(length, t.Spec.Interval),
			excludeSteal: t.Spec.CPU.ExcludeSteal,
			includeWait:  t.Spec.CPU.IncludeWait,
		},
	}
}

// checkCPU says what in the spec makes every run impossible.
func checkCPU(s *core.CPUSpec) error {
	switch s.Source {
	case "", core.CPUFromUCD, core.CPUFromHost, core.CPUFromCisco:
		return nil
	case core.CPUFromOID:
		if _, err := appendOID(nil, s.OID); err != nil {
			return fmt.Errorf("oid %q: %w", s.OID, err)
		}
		return nil
	}
	return fmt.Errorf("cpu_source %q is not known: want ucd, host, cisco or oid", s.Source)
}

// snmpCPU reads the raw CPU counters of a machine's SNMP agent and computes the
// busy share over a window of time. The agent's own averages lag by a minute.
// Emits cpu, cores and agent_refresh, each as soon as it is known.
//
// An answer without a reading yet is OK with code SNMPWAIT. An answer with the
// counters of the one before repeats the reading with its old At.
type snmpCPU struct {
	client snmpClient
	window cpuWindow
}

func (p *snmpCPU) probe(ctx context.Context) result {
	vars, err := p.client.get(ctx, cpuOIDs)
	if err != nil {
		return failed(err)
	}
	at := time.Now()
	counters, err := decodeCPU(vars)
	if errors.Is(err, errNoCounters) {
		p.noteHost(ctx)
	}
	if err != nil {
		return bad(core.SNMPValue, "agent %s %v", p.client.addr, err)
	}
	if watched(ctx) {
		p.noteCounters(ctx, counters)
	}
	r := p.report(counters, at)
	if watched(ctx) {
		p.noteWindow(ctx)
	}
	return r
}

// report makes the result of an answer that came at the given time.
func (p *snmpCPU) report(c cpuCounters, at time.Time) result {
	r := result{ok: true, code: core.SNMPOK}
	why := p.window.add(c, at)
	if why != "" {
		r.code = core.SNMPWait
		r.detail = "no CPU reading yet: " + why + "; " + p.refreshText()
	} else {
		cpu := p.window.latest
		r.metrics = append(make([]core.Metric, 0, 3), core.Metric{
			Name: core.MetricCPU, Value: cpu.busy, Unit: "ratio", Window: cpu.window, At: cpu.at.UTC(),
		})
		r.detail = cpuText(cpu.busy, cpu.window, p.window.refresh)
		if old := at.Sub(cpu.at); old > 0 {
			r.detail += ", counters unchanged for " + tenths(old)
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

// enough waits for a reading: the next counters come with the agent's next refresh.
func (p *snmpCPU) enough(r result) time.Duration {
	if r.code != core.SNMPWait {
		return 0
	}
	// Two looks in each refresh see it early; more would see no more.
	return cmp.Or(p.window.refresh, maxSlack) / 2
}

// refreshText says how long new counters may take.
func (p *snmpCPU) refreshText() string {
	if p.window.refresh > 0 {
		return "the agent refreshes every ~" + tenths(p.window.refresh)
	}
	return "net-snmp refreshes every 5s"
}

// cpuText says what was found.
func cpuText(busy float64, window, refresh time.Duration) string {
	text := fmt.Sprintf("cpu %.1f%% over %s", busy*100, window.Round(100*time.Millisecond))
	if refresh > 0 {
		text += ", agent refreshes every " + tenths(refresh)
	}
	return text
}

// tenths prints seconds, as in 5.0s.
func tenths(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }
