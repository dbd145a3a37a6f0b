// SPDX-License-Identifier: Apache-2.0

package ops

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// An entry is one reading as a monitor writes it: the body of a message on the bus,
// and in it what there is in the subject. Only a target, a name and a value are needed.
type entry struct {
	Target  string `json:"target"`
	Service string `json:"service"`
	Backend string `json:"backend"`
	Name    string `json:"name"`
	Probe   string `json:"probe"` // the same as name

	Value   *float64           `json:"value"`
	Unit    string             `json:"unit"`
	Window  float64            `json:"window_seconds"`
	Metrics map[string]reading `json:"metrics"` // several in place of value

	TS     *stamp `json:"ts"` // when the reading was made; absent: now
	At     *stamp `json:"at"` // the same
	Src    string `json:"src"`
	Detail string `json:"detail"`
}

// A reading is a number with what belongs to it; a bare number is its short form.
type reading struct {
	Value  *float64 `json:"value"`
	Unit   string   `json:"unit"`
	Window float64  `json:"window_seconds"`
	At     *stamp   `json:"at"`
}

// UnmarshalJSON reads both forms.
func (r *reading) UnmarshalJSON(data []byte) error {
	if data[0] != '{' {
		return json.Unmarshal(data, &r.Value)
	}
	type full reading
	return json.Unmarshal(data, (*full)(r))
}

// A stamp is a time as the bus reads it: RFC 3339, or a number since 1970, of seconds or
// of whole milli-, micro- or nanoseconds, as its size tells.
type stamp time.Time

// UnmarshalJSON reads both forms.
func (t *stamp) UnmarshalJSON(data []byte) error {
	var whole int64
	if json.Unmarshal(data, &whole) == nil {
		*t = stamp(since1970(whole))
		return nil
	}
	var seconds float64
	if json.Unmarshal(data, &seconds) == nil {
		if !(math.Abs(seconds) < firstMilli) {
			return fmt.Errorf("%.100s: want seconds, or whole milliseconds, microseconds or nanoseconds", data)
		}
		sec, frac := math.Modf(seconds)
		*t = stamp(time.Unix(int64(sec), int64(math.Round(frac*1e6))*1e3).UTC()) // more is noise in a float64
		return nil
	}
	var at time.Time
	if err := json.Unmarshal(data, &at); err != nil {
		return fmt.Errorf("want RFC 3339 or a number since 1970: %w", err)
	}
	*t = stamp(at.UTC())
	return nil
}

// The first numbers that are of milli-, micro- and nanoseconds: in a larger unit they
// would be thousands of years off.
const (
	firstMilli = 1e11
	firstMicro = 1e14
	firstNano  = 1e17
)

// since1970 is a time as a whole number, whose size tells its unit.
func since1970(v int64) time.Time {
	switch {
	case v < firstMilli:
		return time.Unix(v, 0).UTC()
	case v < firstMicro:
		return time.UnixMilli(v).UTC()
	case v < firstNano:
		return time.UnixMicro(v).UTC()
	}
	return time.Unix(0, v).UTC()
}

// A frame is what entries of a request have in common.
type frame struct {
	source string    // the user
	at     time.Time // what entries are dated by that do not say it
	query  url.Values
}

// decodeMetrics reads a body: an entry, a list of entries, a bare number, each perhaps
// in a CloudEvent, or what Telegraf writes.
func decodeMetrics(body []byte, h http.Header, query url.Values, source string, now time.Time) (found, error) {
	fr := frame{source: source, at: now.UTC(), query: query}
	if h.Get("ce-specversion") != "" {
		if err := fr.dated(h.Get("ce-time")); err != nil {
			return found{}, fmt.Errorf("ce-time: %w", err)
		}
	}
	var f found
	body = bytes.TrimSpace(body)
	if len(body) == 0 || body[0] != '[' {
		return f, fr.one(&f, "", body, true)
	}
	list, err := elements(body)
	if err != nil {
		return f, err
	}
	for i, one := range list {
		at := fmt.Sprintf("[%d]", i)
		if err := fr.one(&f, at, one, true); err != nil {
			f.fail(at, err)
		}
	}
	return f, nil
}

func elements(body []byte) ([]json.RawMessage, error) {
	var list []json.RawMessage
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("body is not a list in JSON: %w", err)
	}
	if len(list) > maxEntries {
		return nil, fmt.Errorf("%d entries, want at most %d; send several requests", len(list), maxEntries)
	}
	return list, nil
}

// A shape tells the forms of an object apart.
type shape struct {
	SpecVersion *string         `json:"specversion"`
	Time        string          `json:"time"`
	Data        json.RawMessage `json:"data"`
	Metrics     json.RawMessage `json:"metrics"`
	Fields      json.RawMessage `json:"fields"`
}

// one reads one element; events may be wrapped once.
func (fr frame) one(f *found, at string, data []byte, event bool) error {
	if len(data) == 0 || data[0] != '{' {
		return fr.number(f, at, data)
	}
	var s shape
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf("not an object in JSON: %w", err)
	}
	switch {
	case s.SpecVersion != nil && event:
		return fr.event(f, at, s)
	case len(s.Metrics) > 0 && s.Metrics[0] == '[':
		return fr.telegrafBatch(f, at, s.Metrics)
	case s.Fields != nil:
		return fr.telegraf(f, at, data)
	}
	var e entry
	if err := json.Unmarshal(data, &e); err != nil {
		return fmt.Errorf("not a metric in JSON: %w", err)
	}
	return fr.entry(f, at, e)
}

// event takes a CloudEvent off what it holds: an entry, a number or a list of such.
func (fr frame) event(f *found, at string, s shape) error {
	if *s.SpecVersion != "1.0" {
		return fmt.Errorf("specversion: %.20q, want 1.0", *s.SpecVersion)
	}
	if err := fr.dated(s.Time); err != nil {
		return fmt.Errorf("time: %w", err)
	}
	data := bytes.TrimSpace(s.Data)
	if len(data) == 0 {
		return fmt.Errorf(`data: is missing; want {"target":"web/web1","name":"cpu","value":0.42} or a list of such`)
	}
	if data[0] != '[' {
		return fr.one(f, at, data, false)
	}
	list, err := elements(data)
	if err != nil {
		return err
	}
	for i, one := range list {
		place := fmt.Sprintf("%sdata[%d]", at, i)
		if err := fr.one(f, place, one, false); err != nil {
			f.fail(place, err)
		}
	}
	return nil
}

func (fr *frame) dated(text string) error {
	if text == "" {
		return nil
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return fmt.Errorf("%.100q, want RFC 3339", text)
	}
	fr.at = at.UTC()
	return nil
}

// number is a body that is a value alone; all else is in the query.
func (fr frame) number(f *found, at string, data []byte) error {
	var e entry
	if err := json.Unmarshal(data, &e.Value); err != nil || e.Value == nil {
		return fmt.Errorf(`not a metric in JSON; want a number, {"target":"web/web1","name":"cpu","value":0.42} or a list of such`)
	}
	return fr.entry(f, at, e)
}

// entry makes a sample of an entry. What the bus has rules for, such as the length of
// names, is left to it.
func (fr frame) entry(f *found, at string, e entry) error {
	id, err := fr.backend(e)
	if err != nil {
		return err
	}
	name := cmp.Or(e.Name, e.Probe, fr.query.Get("name"))
	if e.Src != "" && e.Src != fr.source {
		return fmt.Errorf("src: %.100q, and the user is %q; leave it out", e.Src, fr.source)
	}
	s := core.Sample{Backend: id, Role: core.MetricRole, OK: true, Detail: e.Detail, TakenAt: fr.at}
	if t := cmp.Or(e.TS, e.At); t != nil {
		s.TakenAt = time.Time(*t)
	}
	switch {
	case e.Value != nil && len(e.Metrics) > 0:
		return fmt.Errorf("value and metrics: want one of them")
	case e.Value != nil && name == "":
		return fmt.Errorf("name: is missing; it is what policies call the metric, such as cpu")
	case e.Value != nil:
		s.Metrics = []core.Metric{{Name: name, Value: *e.Value, Unit: cmp.Or(e.Unit, fr.query.Get("unit")), Window: window(e.Window)}}
	case len(e.Metrics) == 0:
		return fmt.Errorf("value: is missing")
	default:
		if s.Metrics, err = readings(e.Metrics); err != nil {
			return err
		}
		name = cmp.Or(name, s.Metrics[0].Name)
	}
	s.Probe = name
	f.take(at, s)
	return nil
}

func readings(of map[string]reading) ([]core.Metric, error) {
	out := make([]core.Metric, 0, len(of))
	for _, name := range slices.Sorted(maps.Keys(of)) {
		r := of[name]
		if r.Value == nil {
			return nil, fmt.Errorf("metrics.%.100s: value is missing", name)
		}
		m := core.Metric{Name: name, Value: *r.Value, Unit: r.Unit, Window: window(r.Window)}
		if r.At != nil {
			m.At = time.Time(*r.At)
		}
		out = append(out, m)
	}
	return out, nil
}

// backend is whom an entry is about: one by its full name, or a target, which the
// engine resolves.
func (fr frame) backend(e entry) (core.BackendID, error) {
	if e.Target == "" && e.Service == "" && e.Backend == "" {
		e.Target, e.Service, e.Backend = fr.query.Get("target"), fr.query.Get("service"), fr.query.Get("backend")
	}
	switch {
	case e.Service != "" && e.Backend != "":
		return core.BackendID{Service: e.Service, Backend: e.Backend}, nil
	case e.Service != "":
		return core.BackendID{}, fmt.Errorf("backend: is missing beside service %.100q", e.Service)
	case e.Target == "" && e.Backend == "":
		return core.BackendID{}, fmt.Errorf("target: is missing; want SERVICE/BACKEND, a backend, or the address of one")
	}
	return core.BackendID{Backend: cmp.Or(e.Target, e.Backend)}, nil
}

// window is a number of seconds as a duration. What cannot be is made so small or so
// large that the bus refuses it.
func window(seconds float64) time.Duration {
	const most = float64(1<<62) / 1e9
	return time.Duration(min(max(seconds, -most), most) * 1e9)
}
