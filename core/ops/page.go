// SPDX-License-Identifier: Apache-2.0

package ops

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A kind is the type of a family of metrics.
type kind string

const (
	gauge    kind = "gauge"
	counter  kind = "counter"
	bucketed kind = "histogram"
	summary  kind = "summary"
)

// A page is one answer of /metrics, in the text exposition format 0.0.4. It is written
// by hand: a library makes an object of each of 300,000 series, sorts them and writes
// them, in 15 times the time and memory.
type page struct {
	buf []byte
	max int // series

	series  int // on the page
	omitted int // that did not fit

	name   string // of the family under way
	start  int    // of it in buf
	within int    // series of it
}

// family writes one family; add is called for its series.
func (p *page) family(name string, k kind, help string, series func()) {
	p.name, p.start, p.within = name, len(p.buf), 0
	p.buf = append(p.buf, "# HELP "...)
	p.buf = append(p.buf, name...)
	p.buf = append(p.buf, ' ')
	p.buf = append(p.buf, help...) // ours: no backslash and no line feed in it
	p.buf = append(p.buf, "\n# TYPE "...)
	p.buf = append(p.buf, name...)
	p.buf = append(p.buf, ' ')
	p.buf = append(p.buf, k...)
	p.buf = append(p.buf, '\n')
	series()
	switch {
	case p.within == 0:
		p.buf = p.buf[:p.start]
	case p.series+p.within > p.max:
		// Whole: a sum over half a family would be wrong and would not look so.
		p.buf = p.buf[:p.start]
		p.omitted += p.within
	default:
		p.series += p.within
	}
}

// add writes one series of the family under way. Labels are pairs of name and value.
func (p *page) add(v float64, labels ...string) { p.sample("", v, labels, "", "") }

// count is add for a counter.
func (p *page) count(n uint64, labels ...string) { p.add(float64(n), labels...) }

func (p *page) fact(b bool, labels ...string) {
	v := 0.0
	if b {
		v = 1
	}
	p.add(v, labels...)
}

// one is a family of a single series.
func (p *page) one(name string, k kind, help string, v float64) {
	p.family(name, k, help, func() { p.add(v) })
}

// histogram adds a histogram to the family under way.
func (p *page) histogram(h *histogram, labels ...string) {
	var n uint64
	for i, bound := range h.bounds {
		if h.counts != nil {
			n += h.counts[i]
		}
		p.sample("_bucket", float64(n), labels, "le", strconv.FormatFloat(bound, 'g', -1, 64))
	}
	if h.counts != nil {
		n += h.counts[len(h.bounds)]
	}
	p.sample("_bucket", float64(n), labels, "le", "+Inf")
	p.sample("_sum", h.sum, labels, "", "")
	p.sample("_count", float64(n), labels, "", "")
}

func (p *page) sample(suffix string, v float64, labels []string, extra, value string) {
	p.within++
	if p.series+p.within > p.max {
		return // counted, and not even written
	}
	p.buf = append(p.buf, p.name...)
	p.buf = append(p.buf, suffix...)
	separator := byte('{')
	for i := 0; i+1 < len(labels); i += 2 {
		p.label(separator, labels[i], labels[i+1])
		separator = ','
	}
	if extra != "" {
		p.label(separator, extra, value)
		separator = ','
	}
	if separator == ',' {
		p.buf = append(p.buf, '}')
	}
	p.buf = append(p.buf, ' ')
	p.buf = appendValue(p.buf, v)
	p.buf = append(p.buf, '\n')
}

func (p *page) label(separator byte, name, value string) {
	p.buf = append(p.buf, separator)
	p.buf = append(p.buf, name...)
	p.buf = append(p.buf, '=', '"')
	p.escaped(value, false)
	p.buf = append(p.buf, '"')
}

// escaped writes a text. One that is no UTF-8 would have the page as a whole refused.
func (p *page) escaped(text string, valid bool) {
	for i := range len(text) {
		switch c := text[i]; {
		case c == '\\' || c == '"':
			p.buf = append(p.buf, '\\', c)
		case c == '\n':
			p.buf = append(p.buf, '\\', 'n')
		case c >= utf8.RuneSelf && !valid:
			p.escaped(strings.ToValidUTF8(text[i:], "\uFFFD"), true)
			return
		default:
			p.buf = append(p.buf, c)
		}
	}
}

// appendValue writes a whole number without an exponent as long as it is exact.
func appendValue(b []byte, v float64) []byte {
	if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
		return strconv.AppendInt(b, int64(v), 10)
	}
	switch {
	case math.IsNaN(v):
		return append(b, "NaN"...)
	case math.IsInf(v, 1):
		return append(b, "+Inf"...)
	case math.IsInf(v, -1):
		return append(b, "-Inf"...)
	}
	return strconv.AppendFloat(b, v, 'g', -1, 64)
}
