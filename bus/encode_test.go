// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/steelyard-lb/steelyard/core"
)

// encodeSample is what PublishSample does to a sample that somebody hears.
func encodeSample(s core.Sample, inst string, ttl time.Duration) ([]byte, error) {
	metrics := byName(s.Metrics)
	if err := checkSample(&s, inst, ttl, metrics); err != nil {
		return nil, err
	}
	return appendSample(&s, inst, ttl, metrics)
}

// oracle is what encoding/json makes of a sample that is within the limits.
func oracle(t interface{ Fatal(...any) }, s core.Sample, inst string, ttl time.Duration) []byte {
	body := sampleBody{
		V: WireVersion, Src: s.Node, Inst: inst, Seq: s.Seq, TS: stamp(s.TakenAt), TTL: ttl.Milliseconds(),
		Service: s.Backend.Service, Backend: s.Backend.Backend, Probe: s.Probe, Type: s.Type, Role: s.Role,
		OK: &s.OK, Code: s.Code, Detail: cut(s.Detail, MaxDetailBytes), Took: s.Took.Seconds(), Admin: s.Admin,
		Metrics: map[string]metricBody{},
	}
	for _, m := range s.Metrics {
		mb := metricBody{Value: &m.Value, Unit: m.Unit, Window: m.Window.Seconds()}
		if !m.At.IsZero() {
			at := stamp(m.At)
			mb.At = &at
		}
		body.Metrics[m.Name] = mb
	}
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// someText is any text, also one that JSON has to escape, or that is no UTF-8.
var someText = rapid.OneOf(rapid.StringMatching(`[ -~]{0,20}`), rapid.String(),
	rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 20), func(b []byte) string { return string(b) }))

// name is a text that the wire takes for a name.
var name = rapid.OneOf(rapid.StringMatching(`[ -~]{1,20}`), rapid.StringN(1, 20, 80))

var someTime = rapid.Custom(func(t *rapid.T) time.Time {
	zone := time.FixedZone("", rapid.IntRange(-12*3600, 12*3600).Draw(t, "zone"))
	return time.Unix(rapid.Int64Range(1577836800+86400, 4133980799-86400).Draw(t, "unix"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns")).In(zone)
})

var finite = rapid.Custom(func(t *rapid.T) float64 {
	f := math.Float64frombits(rapid.Uint64().Draw(t, "bits"))
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return rapid.Float64().Draw(t, "float")
	}
	return f
})

var someMetric = rapid.Custom(func(t *rapid.T) core.Metric {
	m := core.Metric{
		Name: name.Draw(t, "name"), Value: finite.Draw(t, "value"), Unit: someText.Draw(t, "unit"),
		Window: time.Duration(rapid.Int64Range(0, int64(maxWindow)).Draw(t, "window")),
	}
	if rapid.Bool().Draw(t, "dated") {
		m.At = someTime.Draw(t, "at")
	}
	return m
})

var anySample = rapid.Custom(func(t *rapid.T) core.Sample {
	return core.Sample{
		Backend: core.BackendID{Service: name.Draw(t, "service"), Backend: name.Draw(t, "backend")},
		Probe:   name.Draw(t, "probe"), Type: someText.Draw(t, "type"), Node: name.Draw(t, "node"),
		Role: rapid.SampledFrom([]core.Role{core.HealthRole, core.MetricRole}).Draw(t, "role"),
		Seq:  rapid.Uint64().Draw(t, "seq"), TakenAt: someTime.Draw(t, "taken"),
		Took: time.Duration(rapid.Int64Range(0, int64(maxTook)).Draw(t, "took")),
		OK:   rapid.Bool().Draw(t, "ok"), Code: core.Code(someText.Draw(t, "code")), Detail: someText.Draw(t, "detail"),
		Metrics: rapid.SliceOfNDistinct(someMetric, 0, 5, func(m core.Metric) string { return m.Name }).Draw(t, "metrics"),
		Admin:   core.AdminState(someText.Draw(t, "admin")),
	}
})

// TestEncodeSampleIsJSON holds the encoder against encoding/json, byte for byte.
func TestEncodeSampleIsJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, inst := anySample.Draw(t, "sample"), someText.Draw(t, "inst")
		ttl := time.Duration(rapid.Int64Range(0, int64(maxTTL)).Draw(t, "ttl"))
		got, err := encodeSample(s, inst, ttl)
		if err != nil {
			t.Fatalf("encode %+v: %v", s, err)
		}
		if diff := cmp.Diff(string(oracle(t, s, inst, ttl)), string(got)); diff != "" {
			t.Errorf("-encoding/json +ours:\n%s", diff)
		}
	})
}

// FuzzAppendString: texts come from backends.
func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "plain", `a"b\c`, "<&>", "line\nbreak\x00\x7f", "\xff\xfe", "\u2028ä€😀"} {
		f.Add(s, 0.0)
	}
	for _, n := range []float64{1, -0.5, 1e-7, 1e-10, 1.5e21, 1e300, math.SmallestNonzeroFloat64, math.Copysign(0, -1)} {
		f.Add("", n)
	}
	f.Fuzz(func(t *testing.T, s string, n float64) {
		want, _ := json.Marshal(s)
		if got := appendString(nil, s); string(got) != string(want) {
			t.Errorf("text %q: got %s, want %s", s, got, want)
		}
		if want, err := json.Marshal(n); err == nil { // else it is not finite, which check refuses
			if got := appendFloat([]byte("x"), n); string(got) != "x"+string(want) {
				t.Errorf("number %b: got %s, want %s", n, got[1:], want)
			}
		}
	})
}

// The metrics of a sample belong to whoever holds it.
func TestEncodeSampleLeavesItAlone(t *testing.T) {
	s := testSample()
	s.Metrics = []core.Metric{{Name: "b", Value: 1, Unit: "count"}, {Name: "a", Value: 2, Unit: "count"}}
	before := s.Metrics[0]
	if _, err := encodeSample(s, "i", 0); err != nil {
		t.Fatal(err)
	}
	if s.Metrics[0] != before {
		t.Error("the metrics were put in order in place")
	}
}
