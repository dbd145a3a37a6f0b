// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// appendSample writes the body of a sample that was checked, its metrics in order. It
// does so by hand: a node with 16,000 backends makes thousands a second, and reflection
// took five times as long. The bytes are those that encoding/json makes of a
// sampleBody; a test holds one against the other.
func appendSample(s *core.Sample, inst string, ttl time.Duration, metrics []core.Metric) ([]byte, error) {
	b := make([]byte, 0, sampleSize(s, inst, metrics))
	b = append(b, `{"v":`...)
	b = strconv.AppendInt(b, WireVersion, 10)
	b = appendText(b, `,"src":`, s.Node)
	b = appendSome(b, `,"inst":`, inst)
	if s.Seq != 0 {
		b = append(b, `,"seq":`...)
		b = strconv.AppendUint(b, s.Seq, 10)
	}
	b = append(b, `,"ts":`...)
	b = stamp(s.TakenAt).append(b)
	if ms := ttl.Milliseconds(); ms != 0 {
		b = append(b, `,"ttl_ms":`...)
		b = strconv.AppendInt(b, ms, 10)
	}
	b = appendText(b, `,"service":`, s.Backend.Service)
	b = appendText(b, `,"backend":`, s.Backend.Backend)
	b = appendText(b, `,"probe":`, s.Probe)
	b = appendSome(b, `,"type":`, s.Type)
	b = appendText(b, `,"role":`, string(s.Role))
	b = append(b, `,"ok":`...)
	b = strconv.AppendBool(b, s.OK)
	b = appendSome(b, `,"code":`, string(s.Code))
	b = appendSome(b, `,"detail":`, cut(s.Detail, MaxDetailBytes))
	b = appendMetrics(b, metrics)
	b = appendSeconds(b, `,"took_seconds":`, s.Took)
	b = appendSome(b, `,"admin":`, string(s.Admin))
	b = append(b, '}')
	if len(b) > MaxSampleBytes {
		return nil, fmt.Errorf("body of %d bytes is over %d", len(b), MaxSampleBytes)
	}
	return b, nil
}

// byName is the metrics in the order of their names, as they are on the wire.
func byName(metrics []core.Metric) []core.Metric {
	order := func(a, b core.Metric) int { return cmp.Compare(a.Name, b.Name) }
	if slices.IsSortedFunc(metrics, order) {
		return metrics
	}
	metrics = slices.Clone(metrics)
	slices.SortFunc(metrics, order)
	return metrics
}

// checkSample holds a sample against the limits of the wire on the way out as well:
// nobody publishes what nobody would take. The metrics are in order.
func checkSample(s *core.Sample, inst string, ttl time.Duration, metrics []core.Metric) error {
	head := sampleBody{
		V: WireVersion, Src: s.Node, Inst: inst, TS: stamp(s.TakenAt), TTL: ttl.Milliseconds(),
		Service: s.Backend.Service, Backend: s.Backend.Backend, Probe: s.Probe, Type: s.Type, Role: s.Role,
		Code: s.Code, Took: s.Took.Seconds(),
	}
	if err := head.check(); err != nil {
		return err
	}
	if err := checkCount(len(metrics)); err != nil {
		return err
	}
	for i, m := range metrics {
		if i > 0 && metrics[i-1].Name == m.Name {
			return fmt.Errorf("metric %q is there twice", m.Name)
		}
		body := metricBody{Value: &m.Value, Unit: m.Unit, Window: m.Window.Seconds()}
		if !m.At.IsZero() {
			at := stamp(m.At)
			body.At = &at
		}
		if err := body.check(m.Name); err != nil {
			return fmt.Errorf("metrics.%s: %w", cut(m.Name, MaxNameBytes), err)
		}
	}
	return nil
}

// sampleSize is about how long the body will be.
func sampleSize(s *core.Sample, inst string, metrics []core.Metric) int {
	const head, metric = 256, 128 // keys, numbers and times
	n := head + len(s.Node) + len(inst) + len(s.Backend.Service) + len(s.Backend.Backend) + len(s.Probe) + len(s.Detail)
	for _, m := range metrics {
		n += metric + len(m.Name)
	}
	return n
}

// appendMetrics writes metrics that are in order.
func appendMetrics(b []byte, metrics []core.Metric) []byte {
	if len(metrics) == 0 {
		return b
	}
	b = append(b, `,"metrics":`...)
	separator := byte('{')
	for _, m := range metrics {
		b = append(b, separator)
		separator = ','
		b = appendString(b, m.Name)
		b = append(b, `:{"value":`...)
		b = appendFloat(b, m.Value)
		b = appendSome(b, `,"unit":`, m.Unit)
		b = appendSeconds(b, `,"window_seconds":`, m.Window)
		if !m.At.IsZero() {
			b = append(b, `,"at":`...)
			b = stamp(m.At).append(b)
		}
		b = append(b, '}')
	}
	return append(b, '}')
}

// appendSome writes a key and a text, unless that is empty.
func appendSome(b []byte, key, text string) []byte {
	if text == "" {
		return b
	}
	return appendText(b, key, text)
}

func appendText(b []byte, key, text string) []byte { return appendString(append(b, key...), text) }

// appendSeconds writes a key and a duration, unless that is zero.
func appendSeconds(b []byte, key string, d time.Duration) []byte {
	if d == 0 {
		return b
	}
	return appendFloat(append(b, key...), d.Seconds())
}

// appendString writes a text as encoding/json does, which sees to those that are not
// plain ASCII.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c > '~', c == '"', c == '\\', c == '<', c == '>', c == '&':
			quoted, _ := json.Marshal(s) // never fails for a string
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// appendFloat writes a finite number as encoding/json does, which follows ES6: an
// exponent for the very large and the very small, of one digit where that is enough.
func appendFloat(b []byte, f float64) []byte {
	if size := math.Abs(f); size == 0 || size >= 1e-6 && size < 1e21 {
		return strconv.AppendFloat(b, f, 'f', -1, 64)
	}
	b = strconv.AppendFloat(b, f, 'e', -1, 64)
	if n := len(b); b[n-4] == 'e' && b[n-3] == '-' && b[n-2] == '0' { // e-09 is written e-9
		b[n-2] = b[n-1]
		b = b[:n-1]
	}
	return b
}
