// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
)

// Performance data is what a plugin says after the bar of a line of its output, as
// the development guidelines of the Monitoring Plugins have it:
//
//	text | 'label'=value[UOM];[warn];[crit];[min];[max] …
//	more text
//	more text | more performance data
//	more performance data

// maxPerfItems is how many values of one output are read, and maxPerfMetrics how
// many become metrics where none is configured.
const (
	maxPerfItems   = 256
	maxPerfMetrics = 32
)

// A perfItem is one value, in base units.
type perfItem struct {
	label      string
	value      float64
	unit       string
	counter    bool    // it only grows
	factor     float64 // from the plugin's unit to the base unit
	warn, crit string  // ranges as the plugin wrote them, in its own unit
}

func (i perfItem) String() string {
	text := fmt.Sprintf("%s = %.6g", i.label, i.value)
	if i.unit != "" {
		text += " " + i.unit
	}
	if i.counter {
		text += " (counter)"
	}
	for _, r := range []struct{ name, text string }{{"warning", i.warn}, {"critical", i.crit}} {
		if s, err := parseSpan(r.text); err == nil && r.text != "" {
			text += ", " + r.name + " " + s.times(i.factor).String()
		}
	}
	return text
}

// perfPart is the performance data in an output. Of one that was cut off the last word
// is left out: half a number is another number.
func perfPart(output string, cut bool) string {
	if cut {
		output = output[:strings.LastIndexAny(output, " \n")+1]
	}
	first, rest, _ := strings.Cut(output, "\n")
	_, perf, _ := strings.Cut(first, "|")
	_, more, _ := strings.Cut(rest, "|")
	return perf + "\n" + more
}

// parsePerf reads performance data. What is not a value is passed over, as every
// reader of such data does: plugins are many.
func parsePerf(s string) (items []perfItem) {
	for len(items) < maxPerfItems {
		s = strings.TrimLeft(s, " \t\r\n|")
		if s == "" {
			break
		}
		label, rest, ok := perfLabel(s)
		if !ok {
			_, s = cutSpace(s) // no label; the next word may be one
			continue
		}
		var field string
		field, s = cutSpace(rest)
		if it, ok := perfValue(field); ok {
			it.label = label
			items = append(items, it)
		}
	}
	return items
}

// cutSpace cuts at the first space of any kind.
func cutSpace(s string) (before, after string) {
	if i := strings.IndexAny(s, " \t\r\n"); i >= 0 {
		return s[:i], s[i+1:]
	}
	return s, ""
}

// perfLabel reads a label and its equals sign. In a quoted one two quotes are one.
func perfLabel(s string) (label, rest string, ok bool) {
	if s[0] != '\'' {
		end := strings.IndexAny(s, "= \t\r\n'")
		if end <= 0 || s[end] != '=' {
			return "", "", false
		}
		return s[:end], s[end+1:], true
	}
	var b strings.Builder
	for s = s[1:]; ; {
		end := strings.IndexByte(s, '\'')
		if end < 0 {
			return "", "", false
		}
		b.WriteString(s[:end])
		if s = s[end+1:]; !strings.HasPrefix(s, "'") {
			break
		}
		b.WriteByte('\'')
		s = s[1:]
	}
	rest, ok = strings.CutPrefix(s, "=")
	return b.String(), rest, ok && b.Len() > 0
}

// perfValue reads value[UOM];warn;crit;min;max. U is a value that the plugin could
// not find out.
func perfValue(s string) (perfItem, bool) {
	fields := strings.Split(s, ";")
	n := numberLength(fields[0])
	value, err := perfNumber(fields[0][:n])
	if err != nil {
		return perfItem{}, false
	}
	it, ok := perfUnit(fields[0][n:])
	if !ok {
		return perfItem{}, false
	}
	it.value = value * it.factor
	if len(fields) > 1 {
		it.warn = fields[1]
	}
	if len(fields) > 2 {
		it.crit = fields[2]
	}
	return it, !math.IsInf(it.value, 0)
}

// numberLength is the length of the number that s begins with. An E is part of it
// only before digits: there are exabytes, too.
func numberLength(s string) int {
	i := 0
	for i < len(s) && strings.IndexByte("+-0123456789.,", s[i]) >= 0 {
		i++
	}
	if i == 0 || i == len(s) || s[i] != 'e' && s[i] != 'E' {
		return i
	}
	j := i + 1
	if j < len(s) && (s[j] == '+' || s[j] == '-') {
		j++
	}
	digits := j
	for j < len(s) && s[j] >= '0' && s[j] <= '9' {
		j++
	}
	if j == digits {
		return i
	}
	return j
}

// perfNumber reads a number. Plugins print with the locale's comma now and then.
func perfNumber(s string) (float64, error) {
	if strings.Count(s, ",") == 1 && !strings.Contains(s, ".") {
		s = strings.Replace(s, ",", ".", 1)
	}
	return strconv.ParseFloat(s, 64)
}

// perfUnits are the units of measurement, with what makes base units of them. A
// KB is 1,024 bytes, because that is what plugins mean by it. Case counts: c is a
// counter and C degrees, and a small b may be a bit.
var perfUnits = map[string]perfItem{
	"":    {factor: 1},
	"c":   {factor: 1, counter: true},
	"C":   {factor: 1, unit: "celsius"},
	"%":   {factor: 0.01, unit: "ratio"},
	"ns":  {factor: 1e-9, unit: "seconds"},
	"us":  {factor: 1e-6, unit: "seconds"},
	"µs":  {factor: 1e-6, unit: "seconds"},
	"ms":  {factor: 1e-3, unit: "seconds"},
	"s":   {factor: 1, unit: "seconds"},
	"min": {factor: 60, unit: "seconds"},
	"h":   {factor: 3600, unit: "seconds"},
	"d":   {factor: 86400, unit: "seconds"},
	"B":   {factor: 1, unit: "bytes"},
	"kB":  {factor: 1 << 10, unit: "bytes"},
	"KB":  {factor: 1 << 10, unit: "bytes"},
	"MB":  {factor: 1 << 20, unit: "bytes"},
	"GB":  {factor: 1 << 30, unit: "bytes"},
	"TB":  {factor: 1 << 40, unit: "bytes"},
	"PB":  {factor: 1 << 50, unit: "bytes"},
	"EB":  {factor: 1 << 60, unit: "bytes"},
	"KiB": {factor: 1 << 10, unit: "bytes"},
	"MiB": {factor: 1 << 20, unit: "bytes"},
	"GiB": {factor: 1 << 30, unit: "bytes"},
	"TiB": {factor: 1 << 40, unit: "bytes"},
	"PiB": {factor: 1 << 50, unit: "bytes"},
	"EiB": {factor: 1 << 60, unit: "bytes"},
}

// perfUnit is the base unit of a plugin's. One that nobody knows stays as it is; what
// has a digit is none.
func perfUnit(uom string) (perfItem, bool) {
	if it, ok := perfUnits[uom]; ok {
		return it, true
	}
	return perfItem{factor: 1, unit: cleanName(uom)}, !strings.ContainsAny(uom, "0123456789")
}

// maxMetricName bounds the name of a metric that comes from outside.
const maxMetricName = 48

// cleanName leaves lower-case letters, digits and single underscores.
func cleanName(s string) string {
	var b strings.Builder
	for _, c := range []byte(strings.ToLower(s)) {
		ok := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !ok && (b.Len() == 0 || b.String()[b.Len()-1] == '_') {
			continue
		}
		if !ok {
			c = '_'
		}
		if b.WriteByte(c); b.Len() == maxMetricName {
			break
		}
	}
	return strings.Trim(b.String(), "_")
}

// steering are metrics by which this machine acts. A plugin's label becomes one
// of them only where the configuration says so.
var steering = map[string]bool{
	core.MetricCPU: true, core.MetricCores: true, core.MetricRefresh: true, core.MetricResponse: true,
	core.MetricConnections: true, core.MetricNew: true, core.MetricDone: true,
	core.MetricWeight: true, core.MetricWeightRatio: true, core.MetricMaxConnections: true,
}

// metricName makes the name of a metric of a label.
func metricName(label string) string {
	name := cmp.Or(cleanName(label), "value")
	if steering[name] || name[0] >= '0' && name[0] <= '9' {
		return "perf_" + name
	}
	return name
}
