// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"math"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// wrap32 is the modulus of a Counter32.
const wrap32 = 1 << 32

// maxOverflow is by how much a share may lie outside 0 to 1 and still be one that
// two clocks measured: a window that we see a little shorter than the other side does.
const maxOverflow = 0.25

// A reading is one number of an answer.
type reading struct {
	// key tells the series of one metric apart, so that a counter is compared with
	// itself; see seriesKey. It means nothing for a gauge.
	key   uint64
	value float64
	unit  string // if the answer has one; that of the spec goes before
}

// keySeed is constant once the process runs: keys are compared within it only.
var keySeed = maphash.MakeSeed()

// seriesKey is the key of a series: a row of a table, a set of labels.
func seriesKey(name string) uint64 { return maphash.String(keySeed, name) }

// A picked says what a picker made of an answer.
type picked int

const (
	pickNone  picked = iota // no number; the text says why
	pickFound               // there is a metric
	pickWait                // a rate, which needs a second answer
)

// A picker makes one metric of what an answer holds for its spec. It is pure
// arithmetic: the caller brings the time. Between two answers it keeps 16 bytes
// for each series of a counter, and nothing for a gauge.
//
// Of a counter each series grows by itself. One that was not there before, or
// that went back (the other side was restarted), is left out of that window, so
// no rate is ever negative and none a spike.
type picker struct {
	spec  *core.MetricSpec // shared, never changed
	at    time.Time        // of the answer that bases are from
	bases []pickBase       // sorted by key
}

// A pickBase is a counter as it was.
type pickBase struct {
	key   uint64
	value float64
}

// newPickers makes a picker of every spec.
func newPickers(specs []core.MetricSpec) []picker {
	ps := make([]picker, len(specs))
	for i := range specs {
		ps[i].spec = &specs[i]
	}
	return ps
}

// restart forgets what counters were: the caller knows that they began anew.
func (p *picker) restart() { p.bases = nil }

// pick makes a metric of the readings of an answer that came at the given time. It
// sorts and keeps parts of rs. wrap is the modulus of the counters, 0 for those that do not
// wrap in a lifetime. Of pickNone and pickWait the text says why.
func (p *picker) pick(rs []reading, wrap float64, at time.Time) (core.Metric, picked, string) {
	rs = slices.DeleteFunc(rs, func(r reading) bool { return math.IsNaN(r.value) || math.IsInf(r.value, 0) })
	m := core.Metric{Name: p.spec.Name}
	switch {
	case len(rs) == 0:
		p.restart()
		return m, pickNone, fmt.Sprintf("no number for %q in the answer", p.spec.From)
	case len(rs) > 1 && p.spec.Aggregate == "":
		p.restart()
		return m, pickNone, fmt.Sprintf("%d numbers for %q: narrow it down, or set aggregate", len(rs), p.spec.From)
	}
	m.Unit = p.unit(rs[0].unit)
	if p.spec.Kind == core.CounterKind && p.spec.Aggregate != core.CountOf {
		var why string
		m.Window = at.Sub(p.at)
		if rs, why = p.rates(rs, wrap, at); why != "" {
			return m, pickWait, why
		}
	}
	var why string
	m.Value, why = p.finish(aggregate(p.spec.Aggregate, rs))
	if why != "" {
		return m, pickNone, why
	}
	return m, pickFound, ""
}

// rates makes growth per second of counters, or says what it waits for.
func (p *picker) rates(rs []reading, wrap float64, at time.Time) ([]reading, string) {
	slices.SortFunc(rs, func(a, b reading) int { return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.value, b.value)) })
	elapsed, old := at.Sub(p.at).Seconds(), p.bases
	if old != nil && elapsed <= 0 {
		return nil, "no time has passed since the answer before"
	}
	p.at, p.bases = at, make([]pickBase, len(rs))
	for i, r := range rs {
		p.bases[i] = pickBase{r.key, r.value}
	}
	if old == nil {
		return nil, "a rate needs a second answer"
	}
	rates, i := rs[:0], 0
	for _, r := range rs {
		for i < len(old) && old[i].key < r.key {
			i++
		}
		if i == len(old) || old[i].key != r.key {
			continue // it was not there before
		}
		grown, ok := growth(old[i].value, r.value, wrap)
		i++ // of two with one key the second meets the second
		if ok {
			r.value = grown / elapsed
			rates = append(rates, r)
		}
	}
	if len(rates) == 0 {
		return nil, "the counters began anew"
	}
	return rates, ""
}

// growth is how far a counter went; false if it went back. A step of less than half
// its range is a wrap, which is also how far a counter that began anew can mislead:
// callers who know of a restart say so.
func growth(from, to, wrap float64) (float64, bool) {
	if to >= from {
		return to - from, true
	}
	if around := to + wrap - from; wrap > 0 && around >= 0 && around < wrap/2 {
		return around, true
	}
	return 0, false
}

// aggregate makes one number of several; rs is not empty.
func aggregate(how core.Aggregate, rs []reading) float64 {
	n := float64(len(rs))
	v := rs[0].value
	switch how {
	case core.CountOf:
		return n
	case core.SumOf, core.AvgOf:
		for _, r := range rs[1:] {
			v += r.value
		}
		if how == core.AvgOf {
			v /= n
		}
	case core.MinOf, core.MaxOf:
		for _, r := range rs[1:] {
			if how == core.MinOf {
				v = min(v, r.value)
			} else {
				v = max(v, r.value)
			}
		}
	}
	return v
}

// finish scales a number and takes its complement.
func (p *picker) finish(v float64) (float64, string) {
	v *= cmp.Or(p.spec.Scale, 1)
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0, fmt.Sprintf("the number of %q is too large", p.spec.From)
	}
	if !p.spec.Complement {
		return v, ""
	}
	if v < -maxOverflow || v > 1+maxOverflow {
		return 0, fmt.Sprintf("%q is %.3g, and only a share of 0 to 1 has a complement: set scale, or aggregate: avg", p.spec.From, v)
	}
	return 1 - min(max(v, 0), 1), ""
}

// unit is the metric's. own is that of the answer.
func (p *picker) unit(own string) string {
	switch {
	case p.spec.Unit != "":
		return p.spec.Unit
	case p.spec.Aggregate == core.CountOf:
		return "count"
	case p.spec.Complement:
		return "ratio"
	case p.spec.Kind == core.CounterKind:
		return perSecond(own)
	}
	return own
}

// perSecond is the unit of a rate.
func perSecond(unit string) string {
	switch unit {
	case "seconds":
		return "ratio" // of time
	case "", "count":
		return "per_second"
	}
	return unit + "_per_second"
}
