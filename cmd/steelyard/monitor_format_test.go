// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/admin"
)

var monitorAt = time.Date(2026, 1, 2, 15, 4, 5, 6_000_000, time.Local)

func monitorLine(t testing.TB, subject string, body any) admin.Line {
	t.Helper()
	data, ok := body.(string)
	if !ok {
		b, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		data = string(b)
	}
	return admin.Line{Subject: subject, At: monitorAt, Data: json.RawMessage(data)}
}

func decisionBody(outcome core.Outcome, shares ...float64) bus.DecisionBody {
	d := core.Decision{Service: "web", Node: "lb1", Outcome: outcome}
	for i, s := range shares {
		d.Backends = append(d.Backends, core.BackendDecision{Backend: fmt.Sprintf("web%d", i+1), Share: s})
	}
	return bus.DecisionBody{V: 1, Decision: d}
}

func TestMonitorLines(t *testing.T) {
	applied := decisionBody(core.Applied, 0.25, 0.75)
	applied.Trigger, applied.Commit, applied.CommitSeconds = "web1 went down", &core.Commit{Generation: 412}, 0.00031
	failed := decisionBody(core.Failed, 1, 0)
	failed.Error = "no such table"
	policy := decisionBody(core.Unchanged, 0.25, 0.75)
	policy.PolicyError = "trap: out of bounds"
	shadow := decisionBody(core.Unchanged, 0.25, 0.75)
	shadow.Shadow = &core.ShadowDecision{Policy: "mine", SnapshotSeq: 7, Moved: 0.032}
	caused := decisionBody(core.Unchanged, 0.25, 0.75)
	caused.Causes = []core.SampleRef{{Backend: "web1", Probe: "http", Node: "lb2", Seq: 812}, {Backend: "web2", Probe: "http", Node: "lb2", Seq: 4}}
	caused.Leader = &core.LeaderView{Node: "lb3"}
	many := decisionBody(core.Applied, make([]float64, 11)...)
	many.Service = "big"
	const sample = `{"v":1,"src":"lb1","ts":"2026-01-02T15:04:05Z","service":"web","backend":"web1","probe":%q,"role":"%s",` +
		`"ok":%t,"code":%q,"detail":%q,"took_seconds":%v%s}`

	// One formatter for all, in order: decisions are compared with those before.
	tests := []struct {
		subject string
		body    any
		want    string
	}{
		{"probe.web.web1.http.lb1", fmt.Sprintf(sample, "http", "health", true, "L7OK", "200", 0.0021, ""),
			"probe     web/web1          http           L7OK       200 in 2.10 ms"},
		{"probe.web.web1.http.lb1", fmt.Sprintf(sample, "http", "health", false, "L4TOUT", "no answer in 2 s", 2.0, ""),
			"probe     web/web1          http           L4TOUT     no answer in 2 s"},
		{"probe.web.web1.a.lb1", fmt.Sprintf(sample, "a", "metric", false, "METRICNONE", "load: not there", 0.0, ""), // the longest code
			"probe     web/web1          a              METRICNONE load: not there"},
		{"probe.web.web1.cpu.lb1", fmt.Sprintf(sample, "cpu", "metric", true, "SNMPOK", "", 0.00018,
			`,"metrics":{"cpu":{"value":0.7123,"unit":"ratio"},"cores":{"value":4,"unit":"count"},"response_time":{"value":0.0123,"unit":"seconds"},"rate":{"value":41.25,"unit":"per_second"},"heat":{"value":61,"unit":"celsius"}}`),
			"probe     web/web1          cpu            SNMPOK     in 180 µs; cores 4, cpu 71.2%, heat 61 celsius, rate 41.2/s, response_time 12.3 ms"},
		{"metric.lb1.web.web1.load", fmt.Sprintf(sample, "load", "metric", true, "", "", 0.0, `,"metrics":{"load":{"value":123456}}`),
			"metric    web/web1          load           lb1        load 123456"},
		{"health.web.web1", `{"v":1,"service":"web","backend":"web1","from":"up","to":"down","probe":"http","code":"L7STS","detail":"status 500"}`,
			"health    web/web1          up -> down  http L7STS: status 500"},
		{"health.web.web1", `{"v":1,"service":"web","backend":"web1","from":"unknown","to":"up"}`,
			"health    web/web1          unknown -> up"},
		{"decision.web", decisionBody(core.Applied, 0.5, 0.5), "decision  web               applied    web1 50.0%, web2 50.0%"},
		{"decision.web", failed, "decision  web               failed     web1 50.0% -> 100.0%, web2 50.0% -> 0%; no such table"},
		{"decision.web", applied, "decision  web               applied    web1 50.0% -> 25.0%, web2 50.0% -> 75.0%; web1 went down; generation 412 in 310 µs"},
		{"decision.web", policy, "decision  web               unchanged  same shares; policy: trap: out of bounds"},
		{"decision.web", shadow, "decision  web               unchanged  same shares; shadow mine moves 3.2%"},
		{"decision.web", caused, "decision  web               unchanged  same shares; as lb3 decided; sample 812 of http on web1 by lb2 and 1 more"},
		{"decision.big", many, "decision  big               applied    web1 0%, web2 0%, web3 0%, web4 0%, web5 0%, web6 0%, web7 0%, web8 0%, and 3 more"},
		{"commit.lb1", `{"v":1,"node":"lb1","generation":412,"changed_elements":1,"took_seconds":0.00018}`,
			"commit    lb1               generation 412, 1 element in 180 µs"},
		{"commit.lb1", `{"v":1,"node":"lb1","generation":413,"changed_elements":2,"took_seconds":0.00018,"services":["web","mail"],"decisions":[12,0]}`,
			"commit    lb1               generation 413, 2 elements in 180 µs; web lb1/12, mail"},
		{"metric.zabbix.web1.cpu", `0.42`, "metric    web1              cpu            zabbix     cpu 42.0%"},
		{"metric.zabbix._.cpu", `[{"target":"web1","value":0.42},{"target":"web2","value":0.1}]`,
			"metric    zabbix            2 readings: web1 cpu 42.0%, web2 cpu 10.0%"},
		{"node.blue.lb2", `{"v":1,"node":"lb2","group":"blue","inst":"A","seq":1,"ts":"2026-01-02T15:04:05Z","roles":["probe","apply"],"epoch":7,"suspects":true,"leaving":true}`,
			"node      lb2               blue: probe,apply; epoch 7; suspects itself; leaves"},
		{"node.blue.lb2", `{"v":1,"node":"lb2","group":"blue","inst":"A","seq":1,"ts":"2026-01-02T15:04:05Z","roles":[],"epoch":0,"suspects":false,"leaving":false}`,
			"node      lb2               blue: no role"},
		{"weights.blue.web.lb2", `{"v":1,"service":"web","group":"blue","node":"lb2","epoch":7,"seq":4,"ts":"2026-01-02T15:04:05Z","decision_seq":12,` +
			`"backends":[{"name":"web1","slots":16384,"opinion":1,"health":"up"},{"name":"web2","slots":49152,"opinion":null,"health":"up"}]}`,
			"weights   web               lb2 leads  web1 25.0%, web2 75.0%; epoch 7, number 4; decision lb2/12"},
		{"flows.blue.web.lb2", `{"v":1,"node":"lb2","group":"blue","inst":"A","service":"web","ts":"2026-01-02T15:04:05Z","live":true,` +
			`"backends":[{"name":"web1","open_connections":3,"opened_total":9,"closed_total":6},{"name":"web2","open_connections":0,"opened_total":0,"closed_total":0}]}`,
			"flows     web               lb2 carries  web1 3, web2 0"},
		{"event.error.policy", `{"v":1,"node":"lb1","severity":"error","topic":"policy","service":"web","message":"trap"}`,
			"event     web               error  policy: trap"},
		{"event.info.start", `{"v":1,"node":"lb1","severity":"info","topic":"start","message":"hello"}`,
			"event     lb1               info   start: hello"},
		{"event.info.x", `{"v":1,"severity":"info","topic":"x","service":"web","backend":"web1","message":"a\u001b[2Jb\u202ec\nd"}`,
			"event     web/web1          info   x: a [2Jb c d"},
		{"metric.zabbix.free.form", `"not\u0007 JSON"`, "unknown   metric.zabbix.free.form  not  JSON"},
	}
	f := &monitorFormat{}
	for _, tt := range tests {
		got := f.line(monitorLine(t, bus.Prefix+"."+tt.subject, tt.body))
		if want := "15:04:05.006  " + tt.want; got != want {
			t.Errorf("%s\ngot  %q\nwant %q", tt.subject, got, want)
		}
	}
	if got, want := f.line(admin.Line{Dropped: 3}), strings.Repeat(" ", 14)+"3 messages lost: this reader is too slow"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestMonitorColors(t *testing.T) {
	f := &monitorFormat{painter: true}
	l := monitorLine(t, bus.HealthSubject(core.BackendID{Service: "web", Backend: "web1"}), `{"v":1,"service":"web","backend":"web1","from":"up","to":"down"}`)
	if got, want := f.line(l), "up -> \x1b[31mdown\x1b[0m"; !strings.Contains(got, want) {
		t.Errorf("got %q, want %q in it", got, want)
	}
}

// FuzzMonitorLine formats anything: always one line, and nothing in it that
// steers a terminal.
func FuzzMonitorLine(f *testing.F) {
	f.Add("steelyard.v1.event.info.x", []byte(`{"message":"a\u001bb"}`))
	f.Add("steelyard.v1.decision.web", []byte(`{"backends":[{"backend":"\n","share_ratio":1e308}]}`))
	f.Add("steelyard.v1.commit.lb1", []byte(`{"node":"\t"}`))
	f.Add("steelyard.v1.metric.a=1B.b=0A._", []byte(`[{"name":"\u001b","value":1},{"name":"x","value":2,"unit":"\n"}]`))
	f.Add("steelyard.v1.\x1b", []byte("\x00"))
	f.Fuzz(func(t *testing.T, subject string, data []byte) {
		format := &monitorFormat{}
		got := format.line(admin.Line{Subject: subject, At: monitorAt, Data: data})
		if strings.ContainsAny(got, "\n\r\t\x1b\x00\u202e\u009b") {
			t.Fatalf("line %q", got)
		}
	})
}
