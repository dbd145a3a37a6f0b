// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"context"
	"fmt"
)

// This file tells whoever watches a run of snmp_cpu what the numbers are.

// rawName is the name of each counter in UCD-SNMP-MIB.
var rawName = [tickKinds]string{
	tickUser: "ssCpuRawUser", tickNice: "ssCpuRawNice", tickSystem: "ssCpuRawSystem", tickIdle: "ssCpuRawIdle",
	tickWait: "ssCpuRawWait", tickInterrupt: "ssCpuRawInterrupt", tickSoftIRQ: "ssCpuRawSoftIRQ", tickSteal: "ssCpuRawSteal",
}

// noteCounters prints each counter, and how far it has moved since the answer before.
func (p *snmpCPU) noteCounters(ctx context.Context, c cpuCounters) {
	var moved [tickKinds]uint64
	n := len(p.window.history)
	if n > 0 {
		moved = delta(p.window.history[n-1].ticks, c.ticks)
	}
	for kind, oid := range cpuOIDs[:tickKinds] {
		text := fmt.Sprintf("%s %s = %d", oid, rawName[kind], c.ticks[kind])
		if n > 0 {
			text += fmt.Sprintf(" (+%d)", moved[kind])
		}
		note(ctx, "counter", "%s", text)
	}
	if c.cores > 0 {
		note(ctx, "counter", "%s ssCpuNumCpus = %d", oidCores, c.cores)
	}
	if c.hasUptime {
		note(ctx, "counter", "%s sysUpTime = %d.%02ds", oidUptime, c.uptime/100, c.uptime%100)
	}
}

// noteWindow prints what the reading is made of.
func (p *snmpCPU) noteWindow(ctx context.Context) {
	w := &p.window
	if !w.known || len(w.history) < 2 {
		return
	}
	d := delta(w.history[0].ticks, w.history[len(w.history)-1].ticks)
	busy, idle := w.split(d)
	note(ctx, "window", "%s: busy %d of %d ticks of 1/100 s = %.1f%%", tenths(w.latest.window), busy, busy+idle, w.latest.busy*100)
	if w.refresh > 0 {
		note(ctx, "refresh", "the counters change every ~%s", tenths(w.refresh))
	}
}

// noteHost asks an agent without raw counters for the ones that it may have instead.
func (p *snmpCPU) noteHost(ctx context.Context) {
	if !watched(ctx) {
		return
	}
	rows, err := p.client.walk(ctx, oidProcessorLoad)
	switch {
	case err != nil:
		note(ctx, "instead", "cpu_source: host would fail, too: %v", err)
	case len(rows) == 0:
		note(ctx, "instead", "cpu_source: host would find nothing either (%s; it is empty in the first minute of an agent)", oidProcessorLoad)
	default:
		note(ctx, "instead", "cpu_source: host would work: hrProcessorLoad has %d rows", len(rows))
	}
}
