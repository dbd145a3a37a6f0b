// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"cmp"
	"context"
	"fmt"
	"hash/maphash"
	"math"
	"strings"
	"time"

	"github.com/gosnmp/gosnmp"

	"github.com/steelyard-lb/steelyard/core"
)

// Columns of shares that agents have averaged themselves.
const (
	oidProcessorLoad = ".1.3.6.1.2.1.25.3.3.1.2"        // hrProcessorLoad, one row per core
	oidCiscoMinute   = ".1.3.6.1.4.1.9.9.109.1.1.1.1.7" // cpmCPUTotal1minRev, one row per CPU
	loadWindow       = time.Minute                      // both are averages over a minute
	agentYouth       = 90 * time.Second                 // by then hrProcessorLoad is there for sure
)

// maxShare is what counts as a share: averages that an agent rounds up may be a
// little more than 1.
const maxShare = 1.05

// snmpLoad reads a share that the agent has averaged itself: source host, cisco or
// oid. The busy share is the average over the rows. Emits what snmpCPU does.
type snmpLoad struct {
	client snmpClient
	single bool // of source oid: it is one object, no column; learned

	sum     uint64        // hash of the latest rows
	changed time.Time     // when they were first seen
	refresh time.Duration // estimated time between two changes, 0 if not known
}

func (p *snmpLoad) spec() *core.CPUSpec { return &p.client.spec.CPU }

func (p *snmpLoad) probe(ctx context.Context) result {
	rows, err := p.rows(ctx)
	if err != nil {
		return failed(err)
	}
	at := time.Now()
	if len(rows) == 0 {
		return p.nothing(ctx)
	}
	busy, err := p.average(ctx, rows)
	if err != nil {
		return bad(core.SNMPValue, "agent %s: %v", p.client.addr, err)
	}
	return p.report(rows, busy, at)
}

// column is what to read.
func (p *snmpLoad) column() string {
	switch p.spec().Source {
	case core.CPUFromHost:
		return oidProcessorLoad
	case core.CPUFromCisco:
		return oidCiscoMinute
	}
	return "." + strings.Trim(p.spec().OID, ".")
}

// rows reads the column. What has no rows below it may be an object itself.
func (p *snmpLoad) rows(ctx context.Context) ([]gosnmp.SnmpPDU, error) {
	oid := p.column()
	custom := p.spec().Source == core.CPUFromOID
	if !p.single && !(custom && strings.HasSuffix(oid, ".0")) {
		rows, err := p.client.walk(ctx, oid)
		if err != nil || len(rows) > 0 || !custom {
			return rows, err
		}
	}
	vars, err := p.client.get(ctx, []string{oid})
	if err != nil || absent(vars[0]) {
		return nil, err
	}
	p.single = true
	return vars, nil
}

// nothing says why there are no rows. An agent has no average over a minute in its
// first one.
func (p *snmpLoad) nothing(ctx context.Context) result {
	p.single = false
	oid, source := p.column(), p.spec().Source
	if source == core.CPUFromHost {
		vars, err := p.client.get(ctx, []string{oidUptime})
		if err != nil {
			return failed(err)
		}
		if up, ok, _ := number(vars[0]); ok && time.Duration(up)*10*time.Millisecond < agentYouth {
			return result{ok: true, code: core.SNMPWait, detail: fmt.Sprintf(
				"no CPU reading yet: the agent is %ds old, and net-snmp shows hrProcessorLoad 60 to %.0fs after its start only", up/100, agentYouth.Seconds())}
		}
	}
	return bad(core.SNMPValue, "agent %s shows nothing at %s: include it in the agent's view, or set another cpu_source than %s", p.client.addr, oid, source)
}

// average is the busy share.
func (p *snmpLoad) average(ctx context.Context, rows []gosnmp.SnmpPDU) (float64, error) {
	const some = 8 // rows that are printed
	scale := 0.01
	if p.spec().Source == core.CPUFromOID {
		scale = cmp.Or(p.spec().Scale, scale)
	}
	sum := 0.0
	for i, v := range rows {
		n, err := numberOf(v)
		if err != nil {
			return 0, err
		}
		if i < some {
			note(ctx, "row", "%s = %v", v.Name, n)
		}
		sum += n
	}
	share := sum / float64(len(rows)) * scale
	if math.IsNaN(share) || share < 0 || share > maxShare {
		return 0, fmt.Errorf("%s makes %.4g, which is no share from 0 to 1: look at scale", p.column(), share)
	}
	share = min(share, 1)
	note(ctx, "share", "average of %d rows × %g = %.1f%%", len(rows), scale, share*100)
	if p.spec().Idle && p.spec().Source == core.CPUFromOID {
		share = 1 - share
		note(ctx, "share", "that is idle: busy %.1f%%", share*100)
	}
	return share, nil
}

func (p *snmpLoad) report(rows []gosnmp.SnmpPDU, busy float64, at time.Time) result {
	window := loadWindow
	if p.spec().Source == core.CPUFromOID {
		window = p.spec().Window // who knows?
	}
	m := core.Metric{Name: core.MetricCPU, Value: busy, Unit: "ratio", Window: window, At: p.seen(rows, at).UTC()}
	r := result{ok: true, code: core.SNMPOK, metrics: []core.Metric{m}}
	r.detail = fmt.Sprintf("cpu %.1f%%", busy*100)
	if window > 0 {
		r.detail = cpuText(busy, window, p.refresh)
	}
	if p.spec().Source != core.CPUFromOID {
		r.metrics = append(r.metrics, core.Metric{Name: core.MetricCores, Value: float64(len(rows)), Unit: "count"})
		r.detail += fmt.Sprintf(", %d rows", len(rows))
	}
	if p.refresh > 0 {
		r.metrics = append(r.metrics, seconds(core.MetricRefresh, p.refresh))
	}
	return r
}

// seen learns the agent's refresh and returns since when the rows are as they are.
// Rows that are the same after a refresh are news, too: an idle machine shows zeros
// for hours.
func (p *snmpLoad) seen(rows []gosnmp.SnmpPDU, at time.Time) time.Time {
	var h maphash.Hash
	h.SetSeed(keySeed)
	for _, v := range rows {
		n, _ := numberOf(v) // it has been read before
		maphash.WriteComparable(&h, v.Name)
		maphash.WriteComparable(&h, n)
	}
	sum := h.Sum64()
	switch spacing := at.Sub(p.changed); {
	case p.changed.IsZero():
		p.sum, p.changed = sum, at
	case sum != p.sum:
		if spacing <= loadWindow { // else it was idle, or we did not ask
			if p.refresh == 0 {
				p.refresh = spacing
			}
			p.refresh += (spacing - p.refresh) / 3
		}
		p.sum, p.changed = sum, at
	case spacing > p.refresh:
		return at
	}
	return p.changed
}

// enough waits for the first minute of an agent.
func (p *snmpLoad) enough(r result) time.Duration {
	if r.code != core.SNMPWait {
		return 0
	}
	return defaultInterval
}
