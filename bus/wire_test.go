// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/steelyard-lb/steelyard/core"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 123456789, time.UTC)

func testSample() core.Sample {
	return core.Sample{
		Backend: core.BackendID{Service: "web", Backend: "web1"}, Probe: "cpu", Type: core.ProbeSNMPCPU,
		Role: core.MetricRole, Node: "lb1", Seq: 7, TakenAt: noon, Took: 1234567 * time.Nanosecond,
		OK: true, Code: core.SNMPOK, Detail: "the agent answered",
		Metrics: []core.Metric{
			{Name: core.MetricCores, Value: 4, Unit: "count"},
			{Name: core.MetricCPU, Value: 0.25, Unit: "ratio", Window: 10 * time.Second, At: noon.Add(-time.Second)},
		},
	}
}

// TestSampleBody pins the bytes that outside readers depend on.
func TestSampleBody(t *testing.T) {
	got, err := encodeSample(testSample(), "I1", 5*time.Second)
	want := `{"v":1,"src":"lb1","inst":"I1","seq":7,"ts":"2026-01-02T12:00:00.123456789Z","ttl_ms":5000,` +
		`"service":"web","backend":"web1","probe":"cpu","type":"snmp_cpu","role":"metric",` +
		`"ok":true,"code":"SNMPOK","detail":"the agent answered","metrics":{` +
		`"cores":{"value":4,"unit":"count"},` +
		`"cpu":{"value":0.25,"unit":"ratio","window_seconds":10,"at":"2026-01-02T11:59:59.123456789Z"}},` +
		`"took_seconds":0.001234567}`
	if err != nil || string(got) != want {
		t.Errorf("got  %s, %v\nwant %s", got, err, want)
	}
}

func TestSampleRoundTrip(t *testing.T) {
	name := rapid.StringMatching(`[a-zA-Z0-9.:_ é-]{1,40}`)
	span := rapid.Int64Range(0, int64(maxTook))
	rapid.Check(t, func(t *rapid.T) {
		s := core.Sample{
			Backend: core.BackendID{Service: name.Draw(t, "service"), Backend: name.Draw(t, "backend")},
			Probe:   name.Draw(t, "probe"), Type: name.Draw(t, "type"), Node: name.Draw(t, "node"),
			Role: rapid.SampledFrom([]core.Role{core.HealthRole, core.MetricRole}).Draw(t, "role"),
			Seq:  rapid.Uint64().Draw(t, "seq"), TakenAt: noon.Add(time.Duration(rapid.Int64Range(0, 1<<55).Draw(t, "ts"))),
			Took: time.Duration(span.Draw(t, "took")), OK: rapid.Bool().Draw(t, "ok"),
			Code: core.L7OK, Detail: rapid.StringN(0, 60, MaxDetailBytes).Draw(t, "detail"),
		}
		for i := range rapid.IntRange(0, 5).Draw(t, "metrics") {
			s.Metrics = append(s.Metrics, core.Metric{
				Name:  fmt.Sprintf("m%d", i),
				Value: rapid.Float64().Filter(func(f float64) bool { return !math.IsNaN(f) && !math.IsInf(f, 0) }).Draw(t, "value"),
				Unit:  "ratio", Window: time.Duration(span.Draw(t, "window")), At: noon,
			})
		}
		data, err := encodeSample(s, "inst", time.Second)
		if err != nil {
			t.Fatal(err)
		}
		got, env, err := decodeSample(ProbeSubject(s.Backend, s.Probe, s.Node), data)
		if diff := cmp.Diff(s, got); err != nil || diff != "" {
			t.Fatalf("decode: %v (-want +got)\n%s", err, diff)
		}
		want := envelope{source{s.Node, "inst"}, s.Seq, s.TakenAt.Add(s.Took), time.Second}
		if env != want {
			t.Fatalf("envelope %+v, want %+v", env, want)
		}
	})
}

// minimal is what a shell script must write.
const minimal = `{"v":1,"src":"zabbix","ts":1767355200000000,"service":"web","backend":"web1","probe":"load",` +
	`"metrics":{"cpu":{"value":0.4}}}`

func TestDecodeMetricOfAScript(t *testing.T) {
	got, _, err := decodeSample("steelyard.v1.metric.zabbix.web.web1.load", []byte(minimal))
	want := core.Sample{
		Backend: core.BackendID{Service: "web", Backend: "web1"}, Probe: "load", Role: core.MetricRole, Node: "zabbix",
		TakenAt: time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC), OK: true, Metrics: []core.Metric{{Name: "cpu", Value: 0.4}},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
}

func TestDecodeRefuses(t *testing.T) {
	const subj = "steelyard.v1.metric.zabbix.web.web1.load"
	tests := []struct {
		name, old, new string // in minimal
		want           string
		mismatch       bool
	}{
		{"not JSON", minimal, `oops`, "not a sample in JSON", false},
		{"no version", `"v":1`, `"v":0`, "v: 0, want 1", false},
		{"next version", `"v":1`, `"v":2`, "v: 2, want 1", false},
		{"other source", `"src":"zabbix"`, `"src":"lb1"`, "contradicts subject", true},
		{"other backend", `"backend":"web1"`, `"backend":"web2"`, "contradicts subject", true},
		{"health by a monitor", `"v":1`, `"v":1,"role":"health"`, "only metrics are taken here", true},
		{"unknown role", `"v":1`, `"v":1,"role":"boss"`, "only metrics are taken here", true},
		{"no time", `"ts":1767355200000000,`, ``, "ts: 0001-01-01", false},
		{"clock never set", `1767355200000000`, `0`, "ts: 1970-01-01", false},
		{"time in words", `1767355200000000`, `"yesterday"`, "RFC 3339", false},
		{"number too large", `0.4`, `1e999`, "not a sample in JSON", false},
		{"no value", `{"value":0.4}`, `{}`, "metrics.cpu: value is missing", false},
		{"nameless metric", `"cpu"`, `""`, "metrics.: is missing", false},
		{"endless window", `0.4`, `0.4,"window_seconds":1e9`, "metrics.cpu: window_seconds: 1e+09", false},
		{"negative time", `"v":1`, `"v":1,"took_seconds":-1`, "took_seconds: -1", false},
		{"endless ttl", `"v":1`, `"v":1,"ttl_ms":99999999999`, "ttl_ms: 99999999999", false},
		{"too large", `"v":1`, `"v":1,"x":"` + strings.Repeat("x", MaxSampleBytes) + `"`, "is over 65536", false},
		{"too many metrics", `"cpu"`, manyMetrics(MaxMetrics) + `"cpu"`, "metrics: 65 of them", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			body := strings.Replace(minimal, tt.old, tt.new, 1)
			_, _, err := decodeSample(subj, []byte(body))
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), subj) {
				t.Errorf("error %v, want %q and the subject in it", err, tt.want)
			}
			if errors.Is(err, errMismatch) != tt.mismatch {
				t.Errorf("errMismatch is %t, want %t: %v", !tt.mismatch, tt.mismatch, err)
			}
		})
	}
}

func manyMetrics(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"m%d":{"value":1},`, i)
	}
	return b.String()
}

func TestEncodeRefuses(t *testing.T) {
	tests := []struct {
		name   string
		change func(*core.Sample)
		want   string
	}{
		{"NaN", func(s *core.Sample) { s.Metrics[0].Value = math.NaN() }, "metrics.cores: value: NaN is not finite"},
		{"metric twice", func(s *core.Sample) { s.Metrics[1].Name = "cores" }, `"cores" is there twice`},
		{"no node", func(s *core.Sample) { s.Node = "" }, "src: is missing"},
		{"no time", func(s *core.Sample) { s.TakenAt = time.Time{} }, "ts: "},
		{"no role", func(s *core.Sample) { s.Role = "" }, "role: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := testSample()
			tt.change(&s)
			if _, err := encodeSample(s, "i", time.Second); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q in it", err, tt.want)
			}
		})
	}
}

func TestLongDetailIsCut(t *testing.T) {
	s := testSample()
	s.Detail = strings.Repeat("é", 200) // 400 bytes
	data, err := encodeSample(s, "i", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := decodeSample(ProbeSubject(s.Backend, s.Probe, s.Node), data)
	if want := strings.Repeat("é", 128); err != nil || got.Detail != want {
		t.Errorf("detail of %d bytes, %v, want %d", len(got.Detail), err, len(want))
	}
}

func FuzzDecode(f *testing.F) {
	s := testSample()
	good, err := encodeSample(s, "inst", time.Second)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(ProbeSubject(s.Backend, s.Probe, s.Node), good)
	f.Add("steelyard.v1.metric.zabbix.web.web1.load", []byte(minimal))
	f.Add("steelyard.v1.health.web.web1", []byte(`{"v":1,"from":"up","to":"down"}`))
	f.Add("steelyard.v1.decision.web", []byte(`{"v":1,"seq":3,"backends":[{"share_ratio":0.5}]}`))
	f.Add("steelyard.v1.commit.lb1", []byte(`{"v":1,"generation":4}`))
	f.Add("steelyard.v1.event.error.policy", []byte(`null`))
	f.Fuzz(func(t *testing.T, subject string, data []byte) {
		got, err := Decode(subject, data)
		if err != nil {
			return
		}
		s, ok := got.(core.Sample)
		if !ok {
			return
		}
		for _, m := range s.Metrics {
			if math.IsNaN(m.Value) || math.IsInf(m.Value, 0) {
				t.Fatalf("metric %s is %v", m.Name, m.Value)
			}
		}
		if len(s.Detail) > MaxDetailBytes {
			t.Fatalf("detail of %d bytes", len(s.Detail))
		}
		// What was taken once may be sent on.
		if _, err := encodeSample(s, "inst", time.Second); err != nil {
			t.Fatalf("decoded, but cannot be encoded: %v", err)
		}
	})
}

func BenchmarkWire(b *testing.B) {
	s := testSample()
	subj := ProbeSubject(s.Backend, s.Probe, s.Node)
	data, _ := encodeSample(s, "inst", time.Second)
	b.Run("encode", func(b *testing.B) {
		for b.Loop() {
			_, _ = encodeSample(s, "inst", time.Second)
		}
	})
	b.Run("decode", func(b *testing.B) {
		for b.Loop() {
			_, _, _ = decodeSample(subj, data)
		}
	})
}
