// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/steelyard-lb/steelyard/core"
)

// decodeMetric reads the body of a metric subject: each reading goes to take, and what
// is wrong to refuse. Its errors name the subject, the place, the field and the cause.
func decodeMetric(subj string, h nats.Header, data []byte, arrived time.Time, take func(reading), refuse func(error)) {
	failed := func(err error) { refuse(fmt.Errorf("decode metric on %s: %w", subj, err)) }
	where, err := ParseSubject(subj)
	if err == nil && where.Class != MetricClass {
		err = fmt.Errorf("class %q carries no metrics", where.Class)
	}
	if err == nil && len(data) > MaxSampleBytes {
		err = fmt.Errorf("body of %d bytes is over %d", len(data), MaxSampleBytes)
	}
	if err == nil {
		err = checkName(where.Names[0])
	}
	if err != nil {
		failed(err)
		return
	}
	m := message{where: where, data: data, at: stamp(arrived.UTC()), arrived: arrived}
	if m, err = m.unwrap(h); err != nil {
		failed(err)
		return
	}
	m.readings(take, failed)
}

// decodeReadings is decodeMetric for those who want all of a message or nothing: a
// sample, or the samples of a list.
func decodeReadings(subj string, data []byte) (any, error) {
	var out []core.Sample
	var errs []error
	decodeMetric(subj, nil, data, time.Now(), func(r reading) { out = append(out, r.Sample) }, func(err error) { errs = append(errs, err) })
	switch {
	case len(errs) > 0:
		return nil, errors.Join(errs...)
	case len(out) == 1:
		return out[0], nil
	}
	return out, nil
}

// A metricMessage is what PublishMetric sends: a readingBody that says all.
type metricMessage struct {
	V       int                   `json:"v"`
	Src     string                `json:"src"`
	TS      stamp                 `json:"ts"`
	Target  string                `json:"target,omitempty"`
	Service string                `json:"service,omitempty"`
	Backend string                `json:"backend,omitempty"`
	Name    string                `json:"name"`
	Detail  string                `json:"detail,omitempty"`
	Metrics map[string]metricBody `json:"metrics"`
}

// PublishMetric sends what a monitor knows that did not come over the bus, in the name
// of that monitor, and hands it to the subscribers in this process, who get what those
// of other nodes will. Without a service, s.Backend.Backend is a target; without
// TakenAt it was taken now. Only names, times, metrics and the detail of s are sent. The
// error is ErrFlood where the source sends too much, or says which field is wrong, and why.
func (b *Bus) PublishMetric(source string, s core.Sample) error {
	now := time.Now()
	if !b.metricGate.allow(source, 1, now) {
		b.counters.flooded.Add(1)
		return fmt.Errorf("publish metric %s of %q: %w", s.Probe, source, ErrFlood)
	}
	subj := MetricSubject(source, s.Backend, s.Probe)
	data, err := encodeMetric(source, &s, now)
	if err == nil {
		// What readers would refuse is not sent, and what they make of it is what counts here.
		decodeMetric(subj, nil, data, now, func(r reading) { s = r.Sample }, func(e error) { err = errors.Unwrap(e) }) // the subject is ours
	}
	if err != nil {
		b.counters.unsent.Add(1)
		return err
	}
	b.offer(&s)
	if !b.heard() {
		b.counters.published.Add(1)
		return nil
	}
	return b.send(b.data, b.dataOut, outgoing{subject: subj, data: data})
}

func encodeMetric(source string, s *core.Sample, now time.Time) ([]byte, error) {
	m := metricMessage{
		V: WireVersion, Src: source, TS: stamp(s.TakenAt), Service: s.Backend.Service, Backend: s.Backend.Backend, Name: s.Probe,
		Detail: cut(s.Detail, MaxDetailBytes), Metrics: make(map[string]metricBody, len(s.Metrics)),
	}
	if s.TakenAt.IsZero() {
		m.TS = stamp(now)
	}
	if m.Service == "" {
		m.Target, m.Backend = m.Backend, ""
	}
	for i := range s.Metrics {
		from := &s.Metrics[i]
		one := metricBody{Value: &from.Value, Unit: from.Unit, Window: from.Window.Seconds()}
		if !from.At.IsZero() {
			at := stamp(from.At)
			one.At = &at
		}
		if err := one.check(from.Name); err != nil {
			return nil, fmt.Errorf("metrics.%s: %w", cut(from.Name, MaxNameBytes), err)
		}
		m.Metrics[from.Name] = one
	}
	return json.Marshal(m)
}

// A monitors is what one subscriber remembers of monitors: of each one apart, so that
// none can use up the room of the others.
type monitors struct {
	filters map[string]*filter // by source
	last    map[string]time.Time
}

// judge is filter.judge for the readings of monitors.
func (m *monitors) judge(r *reading, arrived time.Time) reason {
	f := m.filters[r.src]
	if f == nil {
		if len(m.filters) >= maxSources && !m.evict(arrived) {
			return reasonCrowded
		}
		f = &filter{maxSources: monitorInsts, maxSequences: monitorSequences, turnover: true}
		if m.filters == nil {
			m.filters, m.last = make(map[string]*filter), make(map[string]time.Time)
		}
		m.filters[r.src] = f
	}
	m.last[r.src] = arrived
	key := ""
	if r.seq != 0 {
		key = MetricSubject(r.src, r.Backend, r.Probe)
	}
	verdict, _ := f.judge(key, r.envelope, arrived)
	return verdict.reason()
}

// evict forgets monitors that have been silent and reports whether there were any.
func (m *monitors) evict(now time.Time) bool {
	found := false
	for src, last := range m.last {
		if now.Sub(last) > sourceIdle {
			delete(m.filters, src)
			delete(m.last, src)
			found = true
		}
	}
	return found
}

// isMetric reports whether a subject is of what monitors publish.
func isMetric(subject string) bool {
	return strings.HasPrefix(subject, Prefix+"."+string(MetricClass)+".")
}
