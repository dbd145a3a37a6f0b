// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core"
)

// bodies are one body of each kind, by its subject.
var bodies = map[string]string{
	"steelyard.v1.metric.zabbix.web.web1.load": minimal,
	"steelyard.v1.metric.zabbix.web1.cpu":      `0.42`,
	"steelyard.v1.metric.zabbix._._":           `[{"target":"web1","name":"cpu","value":1},{"service":"web","backend":"web2","metrics":{"cpu":0.5},"probe":"x"}]`,
	"steelyard.v1.metric.ce.web1.cpu":          `{"specversion":"1.0","id":"1","source":"/s","type":"t","time":"2026-01-02T12:00:00Z","data":{"value":3,"unit":"count"}}`,
	"steelyard.v1.health.web.web1":             `{"v":1,"from":"up","to":"down"}`,
	"steelyard.v1.decision.web":                `{"v":1,"seq":3,"backends":[{"share_ratio":0.5}]}`,
	"steelyard.v1.commit.lb1":                  `{"v":1,"generation":4}`,
	"steelyard.v1.event.error.policy":          `null`,
	"steelyard.v1.node.blue.lb1": `{"v":1,"node":"lb1","group":"blue","inst":"A","seq":1,"ts":"2026-01-02T12:00:00Z","uptime_seconds":3.5,` +
		`"roles":["probe","apply"],"epoch":7,"suspects":true,"leaving":false}`,
	"steelyard.v1.weights.blue.web.lb1": `{"v":1,"service":"web","group":"blue","node":"lb1","epoch":7,"seq":1,"ts":"2026-01-02T12:00:00Z","decision_seq":9,` +
		`"decision":"lb1/9","backends":[{"name":"web1","slots":65536,"opinion":0.5,"health":"up"},{"name":"web2","slots":0,"opinion":null,"health":"down","note":"swap"}]}`,
	"steelyard.v1.flows.blue.web.lb1": `{"v":1,"node":"lb1","group":"blue","inst":"A","service":"web","ts":"2026-01-02T12:00:00Z","live":true,` +
		`"backends":[{"name":"web1","open_connections":3,"opened_total":9,"closed_total":6}]}`,
}

// FuzzDecode: whatever is taken is within the limits, and may be sent on.
func FuzzDecode(f *testing.F) {
	s := testSample()
	good, err := encodeSample(s, "inst", time.Second)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(ProbeSubject(s.Backend, s.Probe, s.Node), good)
	for subject, body := range bodies {
		f.Add(subject, []byte(body))
	}
	f.Fuzz(func(t *testing.T, subject string, data []byte) {
		got, err := Decode(subject, data)
		if err != nil {
			return
		}
		switch b := got.(type) {
		case core.Sample:
			checkTaken(t, subject, b)
		case []core.Sample:
			for _, s := range b {
				checkTaken(t, subject, s)
			}
		case core.Presence:
			again := presenceToBody(&b, 0)
			if err := again.check(); err != nil || cmp.Diff(b, again.presence()) != "" {
				t.Fatalf("presence %+v comes back as %+v: %v", b, again.presence(), err)
			}
		case core.Vector:
			again := vectorToBody(&b)
			if err := again.check(); err != nil || cmp.Diff(b, again.vector()) != "" {
				t.Fatalf("vector %+v comes back as %+v: %v", b, again.vector(), err)
			}
		case core.FlowReport:
			again := flowsToBody(&b, "g")
			if err := again.check(); err != nil || cmp.Diff(b, again.report()) != "" {
				t.Fatalf("report %+v comes back as %+v: %v", b, again.report(), err)
			}
		}
	})
}

func checkTaken(t *testing.T, subject string, s core.Sample) {
	t.Helper()
	for _, m := range s.Metrics {
		if math.IsNaN(m.Value) || math.IsInf(m.Value, 0) {
			t.Fatalf("metric %s is %v", m.Name, m.Value)
		}
	}
	if len(s.Detail) > MaxDetailBytes {
		t.Fatalf("detail of %d bytes", len(s.Detail))
	}
	if isMetric(subject) {
		if s.Role != core.MetricRole || s.Type != "" || s.Code != "" || s.Admin != "" {
			t.Fatalf("a monitor passes for a probe: %+v", s)
		}
		data, err := encodeMetric(s.Node, &s, time.Now())
		if err != nil {
			t.Fatalf("decoded, but cannot be encoded: %v", err)
		}
		if _, err := Decode(MetricSubject(s.Node, s.Backend, s.Probe), data); err != nil && s.Probe != open && s.Backend.Backend != open && s.Backend.Service != open {
			t.Fatalf("encoded, but cannot be decoded: %v", err)
		}
		return
	}
	if _, err := encodeSample(s, "inst", time.Second); err != nil {
		t.Fatalf("decoded, but cannot be encoded: %v", err)
	}
}
