// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A selection is what became of all the metrics of a probe in one run.
type selection struct {
	metrics []core.Metric
	waits   []string // names of metrics that wait for a second answer
	missing []string // names of metrics that there is no number for, and why
}

// add picks one more metric, and tells whoever watches what it made of what.
func (s *selection) add(ctx context.Context, p *picker, rs []reading, wrap float64, at time.Time) {
	raw := ""
	if ctx.Value(traceKey{}) != nil {
		raw = p.describe(rs) // pick changes rs
	}
	m, how, why := p.pick(rs, wrap, at)
	switch how {
	case pickFound:
		s.metrics = append(s.metrics, m)
		note(ctx, "metric", "%s%s", raw, metricText(m))
	case pickWait:
		s.waits = append(s.waits, m.Name)
		note(ctx, "metric", "%s%s waits: %s", raw, m.Name, why)
	default:
		s.missing = append(s.missing, m.Name+": "+why)
		note(ctx, "metric", "%s%s: %s", raw, m.Name, why)
	}
}

// lack files a metric that there is no number for.
func (s *selection) lack(ctx context.Context, p *picker, why string) {
	p.restart()
	s.missing = append(s.missing, p.spec.Name+": "+why)
	note(ctx, "metric", "%s: %s", p.spec.Name, why)
}

// describe prints the raw numbers, the first few of many.
func (p *picker) describe(rs []reading) string {
	const some = 4
	if len(rs) == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s = ", p.spec.From)
	for i, r := range rs[:min(len(rs), some)] {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(rawText(r.value))
	}
	if len(rs) > some {
		fmt.Fprintf(&b, " and %d more", len(rs)-some)
	}
	if p.spec.Aggregate != "" {
		fmt.Fprintf(&b, " (%s)", p.spec.Aggregate)
	}
	return b.String() + "; "
}

func metricText(m core.Metric) string {
	text := m.Name + " " + numberText(m.Value)
	if m.Unit != "" && m.Unit != "count" {
		text += " " + m.Unit
	}
	if m.Window > 0 {
		text += " over " + short(m.Window)
	}
	return text
}

// rawText prints a number as it came: of a counter each digit counts.
func rawText(v float64) string {
	if math.Abs(v) < 1e21 {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

// numberText prints a number for people: four digits, and none that matter less.
func numberText(v float64) string {
	if a := math.Abs(v); a >= 1000 && a < 1e15 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}

// detail says in one line what was found and what was not.
func (s *selection) detail() string {
	const some = 4
	var parts []string
	for _, m := range s.metrics[:min(len(s.metrics), some)] {
		parts = append(parts, metricText(m))
	}
	if n := len(s.metrics) - some; n > 0 {
		parts = append(parts, fmt.Sprintf("%d more", n))
	}
	if len(s.waits) > 0 {
		parts = append(parts, strings.Join(s.waits, ", ")+" after the next answer")
	}
	return strings.Join(append(parts, s.missing...), "; ")
}

// again is how long `probe test` waits for the second answer of a rate; 0 if no
// metric of the run before needs one.
func (s *selection) again(interval time.Duration) time.Duration {
	if len(s.waits) == 0 {
		return 0
	}
	return min(cmp.Or(interval, defaultInterval), 2*time.Second)
}
