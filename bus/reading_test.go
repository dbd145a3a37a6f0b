// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/steelyard-lb/steelyard/core"
)

// minimal was once the least that a script could write; it is taken still.
const minimal = `{"v":1,"src":"zabbix","ts":1767355200000000,"service":"web","backend":"web1","probe":"load",` +
	`"metrics":{"cpu":{"value":0.4}}}`

// midday is the time in minimal, arrival that of what says no time.
var (
	midday  = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	arrival = midday.Add(5 * time.Second)
)

// take decodes a message that arrived at arrival.
func take(subject string, h nats.Header, body string) (got []reading, errs []error) {
	decodeMetric(Prefix+"."+subject, h, []byte(body), arrival,
		func(r reading) { got = append(got, r) }, func(err error) { errs = append(errs, err) })
	return got, errs
}

func metricSample(service, backend, name string, at time.Time, metrics ...core.Metric) core.Sample {
	return core.Sample{Backend: core.BackendID{Service: service, Backend: backend}, Probe: name, Role: core.MetricRole,
		Node: "zabbix", TakenAt: at, OK: true, Metrics: metrics}
}

// A monitorForm is one of the ways in which a monitor may say something.
type monitorForm struct {
	name, subject string
	header        nats.Header
	body          string
	want          []core.Sample
}

// monitorForms are the promise to monitors.
func monitorForms() []monitorForm {
	const full, short = "metric.zabbix.web.web1.load", "metric.zabbix.web1.load"
	load := core.Metric{Name: "load", Value: 0.42}
	cpu := core.Metric{Name: "cpu", Value: 0.4, Unit: "ratio"}
	encoded := base64.StdEncoding.EncodeToString([]byte(`{"value":0.42}`))
	event := func(rest string) string {
		return `{"specversion":"1.0","id":"7","source":"/z","type":"load",` + rest + `}`
	}
	binary := nats.Header{"ce-specversion": {"1.0"}, "ce-id": {"7"}, "ce-source": {"/z"}, "ce-type": {"load"}}
	dated := nats.Header{"Ce-Specversion": {"1.0"}, "ce-time": {"2026-01-02T12%3A00%3A00Z"}}
	media := nats.Header{"content-type": {"application/cloudevents+json; charset=utf-8"}}
	return []monitorForm{
		{"a number", full, nil, `0.42`, []core.Sample{metricSample("web", "web1", "load", arrival, load)}},
		{"a number about a target", short, nil, " 0.42\n", []core.Sample{metricSample("", "web1", "load", arrival, load)}},
		{"about an address", "metric.zabbix.192=2E0=2E2=2E1.load", nil, `0.42`, []core.Sample{metricSample("", "192.0.2.1", "load", arrival, load)}},
		{"about service/backend", "metric.zabbix.web=2Fweb1.load", nil, `0.42`, []core.Sample{metricSample("", "web/web1", "load", arrival, load)}},
		{"a value", full, nil, `{"value":0.42}`, []core.Sample{metricSample("web", "web1", "load", arrival, load)}},
		{"a value with all there is", full, nil, `{"value":0.42,"unit":"count","window_seconds":60,"at":"2026-01-02T12:00:00Z","ttl_ms":900}`,
			[]core.Sample{metricSample("web", "web1", "load", midday, core.Metric{Name: "load", Value: 0.42, Unit: "count", Window: time.Minute})}},
		{"a known name has its unit", "metric.zabbix.web1.cpu", nil, `0.4`, []core.Sample{metricSample("", "web1", "cpu", arrival, cpu)}},
		{"seconds since 1970", full, nil, `{"value":0.42,"ts":1767355200}`, []core.Sample{metricSample("web", "web1", "load", midday, load)}},
		{"with a fraction", full, nil, `{"value":0.42,"ts":1767355200.25}`, []core.Sample{metricSample("web", "web1", "load", midday.Add(250*time.Millisecond), load)}},
		{"milliseconds", full, nil, `{"value":0.42,"ts":1767355200000}`, []core.Sample{metricSample("web", "web1", "load", midday, load)}},
		{"microseconds", full, nil, `{"value":0.42,"ts":1767355200000000}`, []core.Sample{metricSample("web", "web1", "load", midday, load)}},
		{"nanoseconds", full, nil, `{"value":0.42,"ts":1767355200000000000}`, []core.Sample{metricSample("web", "web1", "load", midday, load)}},
		{"everything", full, nil, minimal, []core.Sample{metricSample("web", "web1", "load", midday, cpu)}},
		{"everything about a target", short, nil, minimal, []core.Sample{metricSample("web", "web1", "load", midday, cpu)}},
		{"nothing that the subject says", full, nil, `{"metrics":{"cpu":0.4,"load":{"value":0.42}}}`,
			[]core.Sample{metricSample("web", "web1", "load", arrival, cpu, load)}},
		{"what steelyard does not know", full, nil, `{"value":0.42,"host":"web1","tags":{"a":1}}`, []core.Sample{metricSample("web", "web1", "load", arrival, load)}},
		{"a list", full, nil, `[0.42,{"value":0.42,"ts":1767355200}]`,
			[]core.Sample{metricSample("web", "web1", "load", arrival, load), metricSample("web", "web1", "load", midday, load)}},
		{"an empty list", full, nil, `[]`, nil},
		{"a list that names its targets", "metric.zabbix._._", nil,
			`[{"target":"web1","name":"load","value":0.42},{"service":"web","backend":"web2","name":"cpu","value":0.4}]`,
			[]core.Sample{metricSample("", "web1", "load", arrival, load), metricSample("web", "web2", "cpu", arrival, cpu)}},
		{"a body that names its backend", "metric.zabbix.web._.cpu", nil, `{"backend":"web2","value":0.4}`,
			[]core.Sample{metricSample("web", "web2", "cpu", arrival, cpu)}},
		{"CloudEvents, binary", full, binary, `0.42`, []core.Sample{metricSample("web", "web1", "load", arrival, load)}},
		{"CloudEvents, binary, with a time", full, dated, `{"value":0.42}`, []core.Sample{metricSample("web", "web1", "load", midday, load)}},
		{"CloudEvents, binary, the body has a time", full, dated, `{"value":0.42,"ts":1767355201}`,
			[]core.Sample{metricSample("web", "web1", "load", midday.Add(time.Second), load)}},
		{"CloudEvents, structured", full, media, event(`"data":0.42`), []core.Sample{metricSample("web", "web1", "load", arrival, load)}},
		{"CloudEvents, told by the body", full, nil, event(`"time":"2026-01-02T12:00:00Z","data":{"value":0.42}`),
			[]core.Sample{metricSample("web", "web1", "load", midday, load)}},
		{"CloudEvents, a list as data", full, nil, event(`"data":[0.42,{"metrics":{"cpu":0.4}}]`),
			[]core.Sample{metricSample("web", "web1", "load", arrival, load), metricSample("web", "web1", "load", arrival, cpu)}},
		{"CloudEvents, base64", full, nil, event(`"data_base64":"` + encoded + `"`), []core.Sample{metricSample("web", "web1", "load", arrival, load)}},
		{"CloudEvents, a list of them", full, nil, `[` + event(`"data":0.42`) + `,` + event(`"data":0.42,"time":"2026-01-02T12:00:00Z"`) + `]`,
			[]core.Sample{metricSample("web", "web1", "load", arrival, load), metricSample("web", "web1", "load", midday, load)}},
	}
}

func TestWhatMonitorsMaySend(t *testing.T) {
	for _, tt := range monitorForms() {
		t.Run(tt.name, func(t *testing.T) {
			got, errs := take(tt.subject, tt.header, tt.body)
			var samples []core.Sample
			for _, r := range got {
				samples = append(samples, r.Sample)
			}
			if diff := cmp.Diff(tt.want, samples); diff != "" || len(errs) > 0 {
				t.Errorf("%v (-want +got)\n%s", errs, diff)
			}
		})
	}
}

func TestReadingRefuses(t *testing.T) {
	tests := []struct {
		name, old, new string // in minimal
		want           string
		mismatch       bool
	}{
		{"not JSON", minimal, `oops`, "not a sample in JSON", false},
		{"a text", minimal, `"0.42"`, `want a number, {"value":0.42} or a list of such`, false},
		{"nothing", minimal, ``, `want a number, {"value":0.42} or a list of such`, false},
		{"null", minimal, `null`, `value: is missing`, false},
		{"no value at all", `,"metrics":{"cpu":{"value":0.4}}`, ``, `value: is missing; want {"value":0.42}`, false},
		{"both", `"v":1`, `"v":1,"value":1`, "value and metrics: want one of them", false},
		{"no version", `"v":1`, `"v":0`, "v: 0, want 1", false},
		{"next version", `"v":1`, `"v":2`, "v: 2, want 1", false},
		{"other source", `"src":"zabbix"`, `"src":"lb1"`, "contradicts subject", true},
		{"other backend", `"backend":"web1"`, `"backend":"web2"`, "contradicts subject", true},
		{"health by a monitor", `"v":1`, `"v":1,"role":"health"`, "only metrics are taken here", true},
		{"unknown role", `"v":1`, `"v":1,"role":"boss"`, "only metrics are taken here", true},
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
		{"other target", `"v":1`, `"v":1,"target":"web2"`, "contradicts subject", true},
		{"two names", `"v":1`, `"v":1,"name":"x"`, "name and probe: ", false},
		{"two times", `"v":1`, `"v":1,"at":1767355201`, "ts and at: two times", false},
		{"an event of another version", minimal, `{"specversion":"0.3","data":1}`, `specversion: "0.3", want 1.0`, false},
		{"an event without data", minimal, `{"specversion":"1.0"}`, "data: is missing", false},
		{"an event in an event", minimal, `{"specversion":"1.0","data":{"specversion":"1.0","data":1}}`, "value: is missing", false},
		{"lists in a list", minimal, `[[1]]`, "[0]: body is not a sample", false},
		{"too long a list", minimal, `[1` + strings.Repeat(`,1`, MaxBatch) + `]`, "list of 4097 readings, want at most 4096", false},
		{"second of a list", minimal, `[1,{"backend":"web2","value":1}]`, `[1]: backend: body says "web2", subject says "web1"`, true},
	}
	const subj = "metric.zabbix.web.web1.load"
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, errs := take(subj, nil, strings.Replace(minimal, tt.old, tt.new, 1))
			err := errors.Join(errs...)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), subj) {
				t.Errorf("error %v, want %q and the subject in it", err, tt.want)
			}
			if errors.Is(err, errMismatch) != tt.mismatch {
				t.Errorf("errMismatch is %t, want %t: %v", !tt.mismatch, tt.mismatch, err)
			}
		})
	}
}

// TestMetricSubjectRefuses: what the subject leaves open the body must say, and a body
// reaches nothing that its subject does not.
func TestMetricSubjectRefuses(t *testing.T) {
	tests := []struct {
		subject string
		header  nats.Header
		body    string
		want    string
	}{
		{"metric.zabbix.web1", nil, `1`, "want steelyard.v1.metric.<source>.<service>.<backend>.<name> or steelyard.v1.metric.<source>.<target>.<name>"},
		{"metric.zabbix._.cpu", nil, `1`, "target: is missing; the subject leaves it to the body with _"},
		{"metric.zabbix.web1._", nil, `1`, "name: is missing; the subject leaves it"},
		{"metric.zabbix.web1.cpu", nil, `{"target":"web2","value":1}`, "publish with _ in its place"},
		{"metric.zabbix.web1.cpu", nil, `{"service":"web","backend":"web2","value":1}`, "contradicts subject"},
		{"metric.zabbix._.cpu", nil, `{"service":"web","value":1}`, "backend: is missing"},
		{"metric.zabbix._._", nil, `{"src":"nagios","target":"web1","name":"cpu","value":1}`, `src: body says "nagios"`},
		{"metric.=.web1.cpu", nil, `1`, "is missing"},
		{"metric.zabbix.web1.cpu", nats.Header{"ce-specversion": {"2.0"}}, `1`, `ce-specversion: "2.0", want 1.0`},
		{"metric.zabbix.web1.cpu", nats.Header{"ce-specversion": {"1.0"}, "ce-time": {"noon"}}, `1`, `ce-time: "noon", want RFC 3339`},
		{"metric.zabbix.web1.cpu", nats.Header{"ce-specversion": {"1.0"}, "ce-time": {"1970-01-01T00:00:00Z"}}, `1`, "ce-time: 1970"},
		{"metric.zabbix.web1.cpu", nats.Header{"Content-Type": {"application/cloudevents+json"}}, `{"value":1}`, "specversion: is missing"},
		{"decision.web", nil, `1`, `class "decision" carries no metrics`},
	}
	for _, tt := range tests {
		got, errs := take(tt.subject, tt.header, tt.body)
		if err := errors.Join(errs...); len(got) > 0 || err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), tt.subject) {
			t.Errorf("%s %v %s: %d taken, error %v, want %q and the subject in it", tt.subject, tt.header, tt.body, len(got), err, tt.want)
		}
	}
}

// TestListGoesOn: one bad reading spoils no other.
func TestListGoesOn(t *testing.T) {
	got, errs := take("metric.zabbix._.cpu", nil, `[{"target":"a","value":1},{"target":"b"},{"target":"c","value":2}]`)
	if len(got) != 2 || got[1].Backend.Backend != "c" || len(errs) != 1 || !strings.Contains(errs[0].Error(), "[1]: value: is missing") {
		t.Errorf("took %v, refused %v", got, errs)
	}
	if one, err := Decode("steelyard.v1.metric.zabbix.web1.cpu", []byte(`[1,2]`)); err != nil || len(one.([]core.Sample)) != 2 {
		t.Errorf("Decode of a list: %v, %v", one, err)
	}
}

// TestMonitorsAreApart: a monitor that invents instances and names uses up its own room.
func TestMonitorsAreApart(t *testing.T) {
	var m monitors
	judge := func(src, inst, name string, seq uint64) reason {
		r := reading{Sample: metricSample("", "web1", name, arrival), envelope: envelope{source: source{src, inst}, seq: seq, sent: arrival}}
		return m.judge(&r, arrival)
	}
	for i := range 10 * monitorInsts {
		if r := judge("zabbix", fmt.Sprint(i), "cpu", 1); r != "" {
			t.Fatalf("instance %d: %s", i, r)
		}
	}
	for i := range monitorSequences + 10*monitorInsts {
		judge("zabbix", "one", fmt.Sprint(i), 1)
	}
	if n := len(m.filters["zabbix"].sources); n > monitorInsts {
		t.Errorf("%d instances are remembered, want at most %d", n, monitorInsts)
	}
	if n := m.filters["zabbix"].sequences; n > monitorSequences {
		t.Errorf("%d sequences are remembered, want at most %d", n, monitorSequences)
	}
	if r := judge("nagios", "", "cpu", 1); r != "" {
		t.Errorf("another monitor: %s", r)
	}
	if r := judge("nagios", "", "cpu", 1); r != reasonRepeated {
		t.Errorf("the same twice: %q", r)
	}
	if len(m.filters) != 2 {
		t.Errorf("%d monitors, want 2", len(m.filters))
	}
}
