// SPDX-License-Identifier: Apache-2.0

package config

import (
	"maps"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
)

// fromOf is the key that says where a number is, by type of probe.
var fromOf = map[string]string{core.ProbeSNMP: "oid", core.ProbePrometheus: "series", core.ProbeHTTP: "path", core.ProbeExec: "label"}

// metrics are sorted by name; nil if there are none.
func (b *builder) metrics(path string, r rawProbe) []core.MetricSpec {
	from := fromOf[r.Type]
	if from == "" {
		return nil
	}
	var out []core.MetricSpec
	for _, name := range slices.Sorted(maps.Keys(r.Metrics)) {
		at := join(join(path, "metrics"), name)
		if b.spoilt[at] {
			continue
		}
		m := r.Metrics[name]
		b.otherFrom(at, r.Type, from)
		spec := core.MetricSpec{
			Name: name, From: b.from(at, from, m), Kind: core.MetricKind(m.Kind), Scale: m.Scale, Unit: m.Unit,
			Aggregate: core.Aggregate(m.Aggregate), Complement: m.Complement,
		}
		b.metric(at, r.Type, spec)
		out = append(out, spec)
	}
	return out
}

// otherFrom notes the keys of other types of probe.
func (b *builder) otherFrom(at, typ, from string) {
	for _, other := range fromKeys {
		if k := join(at, other.name); other.name != from && b.written(k) {
			b.misplaced(k, "it has "+from, "a metric of %s %s probe has no %q", article(typ), typ, other.name)
		}
	}
}

// from is where a number is in the answer.
func (b *builder) from(at, key string, m rawMetric) string {
	path := join(at, key)
	text := map[string]string{"oid": m.OID, "series": m.Series, "path": m.Path, "label": m.Label}[key]
	if b.spoilt[path] {
		return text
	}
	switch {
	case strings.TrimSpace(text) == "":
		b.wrong(path, "", "%s is empty", key)
	case key == "oid":
		return b.oid(path, text)
	case key == "path" && !jsonPattern.MatchString(text):
		b.wrong(path, jsonHint, "%q is no path in JSON", text)
	case key == "series":
		b.series(path, text)
	}
	return text
}

// series checks the form, and asks whoever can read it.
func (b *builder) series(path, text string) {
	if b.opts.Series != nil {
		if err := b.opts.Series(text); err != nil {
			hint := `such as node_load1 or http_requests_total{code="500"}`
			if strings.Contains(text, "(") {
				hint += "; there are no functions: kind: counter makes a rate, and aggregate one number of several"
			}
			b.wrong(path, hint, "%q is no series: %v", text, err)
		}
		return
	}
	name, labels, has := strings.Cut(text, "{")
	if strings.ContainsAny(strings.TrimSpace(name), " \t}()[]") || has && !strings.HasSuffix(strings.TrimSpace(labels), "}") {
		b.wrong(path, `such as node_load1 or http_requests_total{code="500"}; there are no functions: kind: counter makes a rate, and aggregate one number of several`, "%q is no series", text)
	}
}

// metric checks the rest of what is made of a number.
func (b *builder) metric(at, typ string, m core.MetricSpec) {
	if m.Scale == 0 && !b.spoilt[join(at, "scale")] {
		b.wrong(join(at, "scale"), "leave it out for 1", "a scale of 0 makes 0 of every number")
	}
	if m.Aggregate != "" && typ == core.ProbeExec {
		b.misplaced(join(at, "aggregate"), "leave it out", "%q is for several numbers, and a metric of %s %s probe is one", "aggregate", article(typ), typ)
	}
	if m.Complement && m.Unit != "" && m.Unit != "ratio" {
		b.wrong(join(at, "complement"), "scale the number to a ratio, and write unit: ratio", "complement is 1 less a ratio, and the unit is %s", m.Unit)
	}
	want, known := knownUnits[m.Name]
	switch {
	case !known:
	case want == "":
		b.misplaced(at, "give it another name", "%s is what connection tracking counts", m.Name)
	case m.Unit == "":
		b.wrong(at, "write unit: "+want+", and a scale that makes it so", "policies read %s in %s, and the metric has no unit", m.Name, want)
	case m.Unit != want:
		b.wrong(join(at, "unit"), "write unit: "+want+", and a scale that makes it so", "policies read %s in %s", m.Name, want)
	}
}

// knownUnits are those of the metrics that policies know by name; without one, no
// probe has a say.
var knownUnits = map[string]string{
	core.MetricCPU: "ratio", core.MetricCores: "count", core.MetricResponse: "seconds",
	core.MetricConnections: "", core.MetricNew: "", core.MetricDone: "",
}
