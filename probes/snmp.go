// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"strconv"
	"strings"
	"time"

	"github.com/gosnmp/gosnmp"

	"github.com/steelyard-lb/steelyard/core"
)

// holdCounter is how long counters that do not move may be an agent's cache rather
// than rest: net-snmp keeps the interface tables for 3 s and others for 5, switches
// for up to 15. Who believes every answer sees a rate of nothing, and then one of
// twice as much.
const holdCounter = 15 * time.Second

// snmpNumbers reads any objects of an agent and makes the metrics of them that its
// spec names. An object without an aggregate is asked for by itself, all of them in
// one question; a column with one is walked.
//
// An answer that has some of them is good; the others are named in Detail. A rate
// needs a second answer (METRICWAIT), and after a restart of the agent, too.
type snmpNumbers struct {
	client  snmpClient
	pickers []picker
	held    []heldRate // of the counters, by index of pickers; nil if there are none

	uptime  uint32 // sysUpTime of the latest answer, 0 if it was not shown
	waits   bool   // the latest run had a rate that waits
	started bool
}

// A heldRate is the latest rate of a counter, as long as its raw numbers stay.
type heldRate struct {
	sum    uint64 // hash of the raw numbers
	since  time.Time
	metric core.Metric // without a Name there is none yet
}

// A found is what an agent has for one metric.
type found struct {
	vars []gosnmp.SnmpPDU
	at   time.Time // when it came
}

func newSNMP(t Target) prober {
	client, err := newSNMPClient(t)
	if err == nil {
		err = checkMetrics(t.Spec.Metrics)
	}
	if err != nil {
		return impossible(err.Error())
	}
	p := &snmpNumbers{client: client, pickers: newPickers(t.Spec.Metrics)}
	for _, m := range t.Spec.Metrics {
		if m.Kind == core.CounterKind && p.held == nil {
			p.held = make([]heldRate, len(p.pickers))
		}
	}
	return p
}

func checkMetrics(ms []core.MetricSpec) error {
	if len(ms) == 0 {
		return errors.New("an snmp probe needs metrics to read")
	}
	for _, m := range ms {
		if _, err := appendOID(nil, m.From); err != nil {
			return fmt.Errorf("metric %s: OID %q: %w", m.Name, m.From, err)
		}
	}
	return nil
}

func (p *snmpNumbers) probe(ctx context.Context) result {
	all, err := p.ask(ctx)
	if err != nil {
		return failed(err)
	}
	var sel selection
	for i := range p.pickers {
		p.add(ctx, &sel, i, all[i])
	}
	p.waits = len(sel.waits) > 0
	r := result{ok: true, code: core.SNMPOK, metrics: sel.metrics, detail: sel.detail()}
	if len(sel.metrics) == 0 {
		if p.waits {
			r.code = core.MetricWait
			return r
		}
		return bad(core.MetricNone, "agent %s: %s", p.client.addr, sel.detail())
	}
	return r
}

// ask reads everything: one question for all that is a single object, and a walk for
// each column.
func (p *snmpNumbers) ask(ctx context.Context) ([]found, error) {
	all := make([]found, len(p.pickers))
	oids, of := make([]string, 1, len(p.pickers)+1), make([]int, 1, len(p.pickers)+1)
	oids[0] = oidUptime
	for i := range p.pickers {
		if !isColumn(p.pickers[i].spec) {
			oids, of = append(oids, oidOf(p.pickers[i].spec)), append(of, i)
		}
	}
	vars, err := p.client.get(ctx, oids)
	if err != nil {
		return nil, err
	}
	at := time.Now()
	p.noteUptime(ctx, vars[0])
	for k, i := range of[1:] {
		all[i] = found{vars[k+1 : k+2], at}
	}
	for i := range p.pickers {
		if all[i], err = p.walk(ctx, p.pickers[i].spec, all[i]); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// walk reads a column: one that has an aggregate, and what was asked for as an object
// and turned out to be none. What has no rows may be an object itself.
func (p *snmpNumbers) walk(ctx context.Context, spec *core.MetricSpec, f found) (found, error) {
	column, oid := isColumn(spec), oidOf(spec)
	if !column && (!absent(f.vars[0]) || strings.HasSuffix(oid, ".0")) {
		return f, nil
	}
	rows, err := p.client.walk(ctx, oid)
	if err != nil {
		return found{}, err
	}
	if len(rows) == 0 && column {
		if rows, err = p.client.get(ctx, []string{oid}); err != nil {
			return found{}, err
		}
	}
	if len(rows) > 0 {
		f = found{rows, time.Now()}
	}
	return f, nil
}

func isColumn(spec *core.MetricSpec) bool {
	return spec.Aggregate != "" && !strings.HasSuffix(spec.From, ".0")
}

// oidOf is the OID with the leading dot; it costs nothing where it has one.
func oidOf(spec *core.MetricSpec) string {
	if strings.HasPrefix(spec.From, ".") {
		return spec.From
	}
	return "." + spec.From
}

// noteUptime finds out whether the agent was restarted: some of its counters began
// anew then, and the others lose one window.
func (p *snmpNumbers) noteUptime(ctx context.Context, v gosnmp.SnmpPDU) {
	n, ok, err := number(v)
	if !ok || err != nil {
		return // some agents hide it
	}
	if up := uint32(n); p.started && up < p.uptime {
		note(ctx, "restart", "sysUpTime went back from %d to %d: all counters begin anew", p.uptime, up)
		for i := range p.pickers {
			p.pickers[i].restart()
		}
		clear(p.held)
	}
	p.uptime, p.started = uint32(n), true
}

// add makes a metric of what was found for it.
func (p *snmpNumbers) add(ctx context.Context, sel *selection, i int, f found) {
	pick := &p.pickers[i]
	rs, wrap, why := p.readings(ctx, f.vars)
	if len(rs) == 0 && why == "" {
		why = p.whyAbsent(f.vars, pick.spec)
	}
	if why != "" {
		pick.restart()
		if p.held != nil {
			p.held[i] = heldRate{}
		}
		sel.missing = append(sel.missing, pick.spec.Name+": "+why)
		note(ctx, "metric", "%s: %s", pick.spec.Name, why)
		return
	}
	if pick.spec.Kind != core.CounterKind {
		sel.add(ctx, pick, rs, wrap, f.at)
		return
	}
	p.addRate(ctx, sel, i, rs, wrap, f.at)
}

// addRate holds the rate of counters that an agent's cache keeps still.
func (p *snmpNumbers) addRate(ctx context.Context, sel *selection, i int, rs []reading, wrap float64, at time.Time) {
	h, pick := &p.held[i], &p.pickers[i]
	sum := sumOf(rs)
	if sum == h.sum && !h.since.IsZero() && at.Sub(h.since) < holdCounter {
		if h.metric.Name == "" {
			sel.waits = append(sel.waits, pick.spec.Name)
			note(ctx, "metric", "%s waits: the counter has not moved yet", pick.spec.Name)
			return
		}
		sel.metrics = append(sel.metrics, h.metric)
		note(ctx, "metric", "%s has not moved for %s, as between two refreshes of an agent: %s", pick.spec.Name, tenths(at.Sub(h.since)), metricText(h.metric))
		return
	}
	if sum != h.sum || h.since.IsZero() {
		h.sum, h.since = sum, at
	}
	before := len(sel.metrics)
	sel.add(ctx, pick, rs, wrap, at)
	h.metric = core.Metric{}
	if len(sel.metrics) > before {
		m := &sel.metrics[before]
		m.At = at.UTC()
		h.metric = *m
	}
}

func sumOf(rs []reading) uint64 {
	var h maphash.Hash
	h.SetSeed(keySeed)
	for _, r := range rs {
		maphash.WriteComparable(&h, r.key)
		maphash.WriteComparable(&h, r.value)
	}
	return h.Sum64()
}

// readings are the numbers among the variables; why is of the first that is none.
func (p *snmpNumbers) readings(ctx context.Context, vars []gosnmp.SnmpPDU) (rs []reading, wrap float64, why string) {
	const some = 8 // that are printed
	for i, v := range vars {
		if absent(v) {
			continue
		}
		n, err := numberOf(v)
		if err != nil {
			return nil, 0, err.Error()
		}
		if i < some && watched(ctx) {
			note(ctx, "object", "%s = %s %s", v.Name, v.Type, strconv.FormatFloat(n, 'f', -1, 64))
		}
		rs = append(rs, reading{key: seriesKey(v.Name), value: n})
		wrap = wrapOf(v)
	}
	return rs, wrap, ""
}

// whyAbsent says why there is no number. An object that a view hides looks like one
// that the agent does not know.
func (p *snmpNumbers) whyAbsent(vars []gosnmp.SnmpPDU, spec *core.MetricSpec) string {
	oid := oidOf(spec)
	switch {
	case p.client.spec.SNMP.Version == "1":
		return oid + " is not there, its view hides it, or it has 64 bits, which version 1 does not know"
	case len(vars) > 0 && vars[0].Type == gosnmp.NoSuchInstance && !strings.HasSuffix(oid, ".0"):
		return oid + " has no such row; an object without a table ends in .0"
	case len(vars) > 0 && vars[0].Type == gosnmp.NoSuchInstance:
		return oid + " is known, but not there"
	}
	return oid + " is not there, or the agent's view hides it"
}

// enough waits for the second answer of a rate. While the counter may only be an
// agent's cache it takes twice as long each time.
func (p *snmpNumbers) enough(result) time.Duration {
	const least, most = 2 * time.Second, 5 * time.Second
	if !p.waits {
		return 0
	}
	again := least
	for i := range p.held {
		if h := &p.held[i]; h.metric.Name == "" && !h.since.IsZero() {
			again = max(again, min(time.Since(h.since), most))
		}
	}
	return again
}
