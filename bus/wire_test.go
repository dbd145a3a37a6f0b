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
		want := envelope{source: source{s.Node, "inst"}, seq: s.Seq, sent: s.TakenAt.Add(s.Took), ttl: time.Second}
		if env != want {
			t.Fatalf("envelope %+v, want %+v", env, want)
		}
	})
}

func TestDecodeSampleRefuses(t *testing.T) {
	good, err := encodeSample(testSample(), "i", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	const subj = "steelyard.v1.probe.web.web1.cpu.lb1"
	tests := []struct {
		name, old, new string // in good
		want           string
		mismatch       bool
	}{
		{"not JSON", string(good), `oops`, "not a sample in JSON", false},
		{"no version", `"v":1`, `"v":0`, "v: 0, want 1", false},
		{"next version", `"v":1`, `"v":2`, "v: 2, want 1", false},
		{"other node", `"src":"lb1"`, `"src":"lb2"`, "contradicts subject", true},
		{"other backend", `"backend":"web1"`, `"backend":"web2"`, "contradicts subject", true},
		{"unknown role", `"role":"metric"`, `"role":"boss"`, `role: "boss"`, false},
		{"no role", `"role":"metric",`, ``, `role: ""`, false},
		{"no time", `"ts":"2026-01-02T12:00:00.123456789Z",`, ``, "ts: 0001-01-01", false},
		{"no value", `{"value":4,`, `{`, "metrics.cores: value is missing", false},
		{"too large", `"v":1`, `"v":1,"x":"` + strings.Repeat("x", MaxSampleBytes) + `"`, "is over 65536", false},
		{"too many metrics", `"cpu":{`, manyMetrics(MaxMetrics) + `"cpu":{`, "metrics: 66 of them", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			body := strings.Replace(string(good), tt.old, tt.new, 1)
			_, _, err := decodeSample(subj, []byte(body))
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), subj) {
				t.Errorf("error %v, want %q and the subject in it", err, tt.want)
			}
			if errors.Is(err, errMismatch) != tt.mismatch {
				t.Errorf("errMismatch is %t, want %t: %v", !tt.mismatch, tt.mismatch, err)
			}
		})
	}
	if _, _, err := decodeSample("steelyard.v1.metric.zabbix.web.web1.load", good); err == nil {
		t.Error("a metric was taken for a probe's sample")
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
