// SPDX-License-Identifier: Apache-2.0

package suite

import (
	"slices"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/steelyard-lb/steelyard/core"
)

// A field is a key of a backend: what its value may be, and what it sets. A
// reading may be unknown as well.
type field struct {
	least, most float64
	reading     bool
	set         func(b *backendState, v float64)
}

func duration(v float64) time.Duration { return time.Duration(v * float64(time.Second)) }

func age(of func(*backendState) *core.Reading) field {
	return field{0, 1e9, false, func(b *backendState, v float64) { of(b).Age = duration(v) }}
}

func value(most float64, of func(*backendState) *core.Reading) field {
	return field{0, most, true, func(b *backendState, v float64) {
		r := of(b)
		if r.Window == 0 {
			r.Window = scenarioWindow
		}
		r.Value, r.Known = v, true
	}}
}

// The readings of a backend.
func ofCPU(b *backendState) *core.Reading      { return &b.CPU }
func ofCores(b *backendState) *core.Reading    { return &b.Cores }
func ofResponse(b *backendState) *core.Reading { return &b.Response }
func ofConns(b *backendState) *core.Reading    { return &b.Conns }
func ofOpened(b *backendState) *core.Reading   { return &b.New }
func ofClosed(b *backendState) *core.Reading   { return &b.Done }

var readingOf = map[string]func(*backendState) *core.Reading{
	"cpu": ofCPU, "cores": ofCores, "response": ofResponse, "connections": ofConns, "opened": ofOpened, "closed": ofClosed,
}

var fields = map[string]field{
	"weight":          {0, 1000, false, func(b *backendState, v float64) { b.Weight = uint32(v) }},
	"share":           {0, 1, false, func(b *backendState, v float64) { b.Share, b.shareSaid = v, true }},
	"health_seconds":  {0, 1e9, false, func(b *backendState, v float64) { b.Since = duration(v) }},
	"cpu":             value(1, ofCPU),
	"cpu_age":         age(ofCPU),
	"cpu_window":      {0, 1e9, false, func(b *backendState, v float64) { b.CPU.Window = duration(v) }},
	"cpu_seq":         {0, 1 << 31, false, func(b *backendState, v float64) { b.CPUSeq, b.fixedSeq = uint32(v), true }},
	"cores":           value(1e6, ofCores),
	"response":        value(1e9, ofResponse),
	"response_age":    age(ofResponse),
	"connections":     value(1e9, ofConns),
	"connections_age": age(ofConns),
	"opened":          value(1e9, ofOpened),
	"closed":          value(1e9, ofClosed),
}

// backendKeys are the keys of a backend, in the order of the documentation.
var backendKeys = []string{"weight", "health", "health_seconds", "share", "cpu", "cpu_age", "cpu_window", "cpu_seq", "cores",
	"response", "response_age", "connections", "connections_age", "opened", "closed", "metric", "metric_age"}

// backend reads what a step says about one.
func (r *yamlReader) backend(e entry) BackendChange {
	c := BackendChange{Name: e.key}
	if s, ok := e.value.(*ast.StringNode); ok && s.Value == "gone" {
		c.Gone = true
		return c
	}
	for _, k := range r.entries(e.value, "backend "+e.key, backendKeys) {
		switch k.key {
		case "health":
			c.Changes = append(c.Changes, r.health(k.value))
		case "metric", "metric_age":
			for _, m := range r.entries(k.value, k.key, nil) {
				c.Changes = append(c.Changes, r.metric(m, k.key == "metric_age"))
			}
		default:
			c.Changes = append(c.Changes, r.field(k))
		}
	}
	return c
}

func (r *yamlReader) field(k entry) func(*backendState) {
	f := fields[k.key]
	if f.reading && isUnknown(k.value) {
		of := readingOf[k.key]
		return func(b *backendState) { *of(b) = core.Reading{} }
	}
	v := r.number(k.value, k.key, f.least, f.most)
	return func(b *backendState) { f.set(b, v) }
}

func isUnknown(n ast.Node) bool {
	if s, ok := n.(*ast.StringNode); ok {
		return s.Value == "unknown"
	}
	_, null := n.(*ast.NullNode)
	return null
}

func (r *yamlReader) metric(m entry, isAge bool) func(*backendState) {
	if !isAge && isUnknown(m.value) {
		return func(b *backendState) { delete(b.custom, m.key) }
	}
	v := r.number(m.value, m.key, -1e300, 1e300)
	return func(b *backendState) {
		reading := b.custom[m.key]
		if isAge {
			reading.Age = duration(v)
		} else {
			reading.Value, reading.Known = v, true
		}
		b.custom[m.key] = reading
	}
}

var healths = []string{"unknown", "up", "down"} // in the order of core's numbers

func (r *yamlReader) health(n ast.Node) func(*backendState) {
	text, ok := r.text(n, "health")
	i := slices.Index(healths, text)
	if ok && i < 0 {
		r.problem(n, oneOf(text, healths), "health: no state %q", text)
	}
	return func(b *backendState) {
		state := []core.HealthState{core.Unknown, core.Up, core.Down}[i]
		if b.Health != state {
			b.Health, b.Since = state, 0
		}
	}
}
