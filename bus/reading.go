// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// open stands in the subject of a metric for a name that the body says. It is a token
// of its own, so that who may publish about web1 only cannot reach others by the body.
const open = "_"

// A readingBody is what a monitor may write about one backend. One number is enough;
// the rest comes from the subject and the arrival.
type readingBody struct {
	V    *int   `json:"v"`
	Src  string `json:"src"`
	Inst string `json:"inst"`
	Seq  uint64 `json:"seq"`
	TS   *stamp `json:"ts"` // when the reading was made
	At   *stamp `json:"at"` // the same, by its other name
	TTL  int64  `json:"ttl_ms"`

	Target  string    `json:"target"`
	Service string    `json:"service"`
	Backend string    `json:"backend"`
	Name    string    `json:"name"`
	Probe   string    `json:"probe"` // the same as name
	Role    core.Role `json:"role"`
	OK      *bool     `json:"ok"`
	Detail  string    `json:"detail"`
	Took    float64   `json:"took_seconds"`

	Value   *float64              `json:"value"`
	Unit    string                `json:"unit"`
	Window  float64               `json:"window_seconds"`
	Metrics map[string]metricBody `json:"metrics"`
}

// A reading is one sample of a monitor, and what the filter wants to know of it.
type reading struct {
	core.Sample
	envelope
}

// A message is one that came in on a metric subject.
type message struct {
	where   Subject
	data    []byte
	at      stamp // what its readings are dated by if they do not say it themselves
	dated   bool  // at is of its sender, and not of its arrival
	wrapped bool  // it was a CloudEvent
	arrived time.Time
}

// readings takes a message apart. A list goes on past what is wrong in it: each thing
// that is goes to refuse, with its place.
func (m message) readings(take func(reading), refuse func(error)) {
	data := bytes.TrimSpace(m.data)
	if len(data) == 0 || data[0] != '[' {
		r, err := m.reading(data)
		if err != nil {
			refuse(err)
			return
		}
		take(r)
		return
	}
	var list []json.RawMessage
	if err := json.Unmarshal(data, &list); err != nil {
		refuse(fmt.Errorf("body is not a list in JSON: %w", err))
		return
	}
	if len(list) > MaxBatch {
		refuse(fmt.Errorf("body is a list of %d readings, want at most %d; send several messages", len(list), MaxBatch))
		return
	}
	for i, one := range list {
		r, err := m.event(one)
		if err != nil {
			refuse(fmt.Errorf("[%d]: %w", i, err))
			continue
		}
		take(r)
	}
}

// event is one element of a list, which may be a CloudEvent.
func (m message) event(data []byte) (reading, error) {
	inner, err := m.structured(data)
	if err != nil {
		return reading{}, err
	}
	return inner.reading(bytes.TrimSpace(inner.data))
}

func (m message) reading(data []byte) (reading, error) {
	var b readingBody
	var err error
	if len(data) > 0 && data[0] == '{' {
		err = json.Unmarshal(data, &b)
	} else {
		err = json.Unmarshal(data, &b.Value)
	}
	if err != nil {
		return reading{}, fmt.Errorf(`body is not a sample in JSON: %w; want a number, {"value":0.42} or a list of such`, err)
	}
	return b.reading(m)
}

func (b *readingBody) reading(m message) (reading, error) {
	id, name, err := b.agree(m.where)
	if err != nil {
		return reading{}, err
	}
	if err := b.check(); err != nil {
		return reading{}, err
	}
	metrics, err := b.metrics(name)
	if err != nil {
		return reading{}, err
	}
	at, dated := m.at, m.dated
	if said := cmp.Or(b.TS, b.At); said != nil {
		at, dated = *said, true
	}
	s := core.Sample{
		Backend: id, Probe: name, Role: core.MetricRole, Node: m.where.Names[0], Seq: b.Seq,
		TakenAt: time.Time(at), Took: seconds(b.Took), OK: b.OK == nil || *b.OK,
		Detail: cut(b.Detail, MaxDetailBytes), Metrics: metrics,
	}
	e := envelope{source: source{s.Node, b.Inst}, seq: b.Seq, ttl: time.Duration(b.TTL) * time.Millisecond, sent: m.arrived, undated: !dated}
	if dated {
		e.sent = s.TakenAt.Add(s.Took)
	}
	return reading{s, e}, nil
}

// agree compares the body with its subject, and returns what the two say together of
// the backend and the name.
func (b *readingBody) agree(where Subject) (id core.BackendID, name string, err error) {
	if b.Src != "" && b.Src != where.Names[0] {
		return id, "", fmt.Errorf("src: body says %q, subject says %q: %w", b.Src, where.Names[0], errMismatch)
	}
	if b.Role != "" && b.Role != core.MetricRole {
		return id, "", fmt.Errorf("role %q: %w: only metrics are taken here", b.Role, errMismatch)
	}
	if b.Name != "" && b.Probe != "" && b.Name != b.Probe {
		return id, "", fmt.Errorf("name and probe: %q and %q, want one of them", b.Name, b.Probe)
	}
	last := len(where.Names) - 1
	if name, err = settle("name", where.Names[last], cmp.Or(b.Name, b.Probe)); err != nil {
		return id, "", err
	}
	if last == 2 {
		id, err = b.target(where.Names[1])
		return id, name, err
	}
	if id.Service, err = settle("service", where.Names[1], b.Service); err != nil {
		return id, "", err
	}
	if id.Backend, err = settle("backend", where.Names[2], b.Backend); err != nil {
		return id, "", err
	}
	if b.Target != "" && b.Target != id.Backend && b.Target != id.String() {
		return id, "", fmt.Errorf("target: body says %q, subject says %q: %w", b.Target, id, errMismatch)
	}
	return id, name, nil
}

// target is the backend of a subject with a target, which the engine finds: only the
// body can say of which service it is.
func (b *readingBody) target(subject string) (core.BackendID, error) {
	full := core.BackendID{Service: b.Service, Backend: b.Backend}
	if b.Service == "" {
		said := cmp.Or(b.Target, b.Backend)
		target, err := settle("target", subject, said)
		return core.BackendID{Backend: target}, err
	}
	if err := checkName(b.Backend); err != nil {
		return full, fmt.Errorf("backend: %w", err)
	}
	if b.Target != "" && b.Target != b.Backend && b.Target != full.String() {
		return full, fmt.Errorf("target and backend: %q and %q, want one of them", b.Target, full)
	}
	if subject != b.Backend && subject != full.String() {
		if _, err := settle("target", subject, full.String()); err != nil {
			return full, err
		}
	}
	return full, nil
}

// settle is a name of which the subject says one thing, or leaves it open, and the
// body perhaps another.
func settle(key, subject, body string) (string, error) {
	switch {
	case subject != open && body != "" && body != subject:
		return "", fmt.Errorf("%s: body says %q, subject says %q: %w; publish with %s in its place where the body is to say it",
			key, cut(body, MaxNameBytes), subject, errMismatch, open)
	case subject != open:
		body = subject
	case body == "":
		return "", fmt.Errorf("%s: is missing; the subject leaves it to the body with %s", key, open)
	}
	if err := checkName(body); err != nil {
		return "", fmt.Errorf("%s: %w", key, err)
	}
	return body, nil
}

// check holds what is left of the body against the limits of the wire.
func (b *readingBody) check() error {
	if b.V != nil {
		if err := checkVersion(*b.V); err != nil {
			return err
		}
	}
	if err := checkTexts(field{"inst", b.Inst}); err != nil {
		return err
	}
	if b.TS != nil && b.At != nil && *b.TS != *b.At {
		return fmt.Errorf("ts and at: two times, want one of them")
	}
	if at := cmp.Or(b.TS, b.At); at != nil {
		if err := at.check(); err != nil {
			return fmt.Errorf("ts: %w", err)
		}
	}
	if err := checkSeconds(b.Took, maxTook); err != nil {
		return fmt.Errorf("took_seconds: %w", err)
	}
	return checkTTL(b.TTL)
}

// metrics are those of the body in the order of their names, with units.
func (b *readingBody) metrics(name string) ([]core.Metric, error) {
	if b.Value == nil && len(b.Metrics) == 0 {
		return nil, fmt.Errorf(`value: is missing; want {"value":0.42}, {"metrics":{"cpu":0.42}} or a bare number`)
	}
	if b.Value != nil && len(b.Metrics) > 0 {
		return nil, fmt.Errorf("value and metrics: want one of them")
	}
	if b.Value != nil {
		one := metricBody{Value: b.Value, Unit: b.Unit, Window: b.Window}
		if err := one.check(name); err != nil {
			return nil, err
		}
		return []core.Metric{one.metric(name)}, nil
	}
	if err := checkCount(len(b.Metrics)); err != nil {
		return nil, err
	}
	out := make([]core.Metric, 0, len(b.Metrics))
	for name, m := range b.Metrics {
		if err := m.check(name); err != nil {
			return nil, fmt.Errorf("metrics.%s: %w", cut(name, MaxNameBytes), err)
		}
		out = append(out, m.metric(name))
	}
	slices.SortFunc(out, func(a, b core.Metric) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// metric is a checked metric with the unit of its name, where it has none of its own.
func (m metricBody) metric(name string) core.Metric {
	out := core.Metric{Name: name, Value: *m.Value, Unit: cmp.Or(m.Unit, units[name]), Window: seconds(m.Window)}
	if m.At != nil {
		out.At = time.Time(*m.At)
	}
	return out
}

// units are those of the names that steelyard knows.
var units = map[string]string{
	core.MetricCPU: "ratio", core.MetricLoss: "ratio", core.MetricWeightRatio: "ratio",
	core.MetricUnanswered: "ratio", core.MetricResets: "ratio",
	core.MetricCores: "count", core.MetricConnections: "count", core.MetricWeight: "count", core.MetricMaxConnections: "count",
	core.MetricNew: "per_second", core.MetricDone: "per_second",
	core.MetricResponse: "seconds", core.MetricConnect: "seconds", core.MetricTLS: "seconds", core.MetricTTFB: "seconds",
	core.MetricTransfer: "seconds", core.MetricRTT: "seconds", core.MetricExpiry: "seconds", core.MetricRefresh: "seconds",
	core.MetricResponseEWMA: "seconds", core.MetricResponseP50: "seconds", core.MetricResponseP90: "seconds", core.MetricResponseP99: "seconds",
}

// UnmarshalJSON reads a metric, of which a bare number is the short form.
func (m *metricBody) UnmarshalJSON(data []byte) error {
	if data[0] != '{' {
		return json.Unmarshal(data, &m.Value)
	}
	type full metricBody
	return json.Unmarshal(data, (*full)(m))
}
