// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestDecodeClusterRefuses(t *testing.T) {
	const node, weights, flows = "steelyard.v1.node.blue.lb1", "steelyard.v1.weights.blue.web.lb1", "steelyard.v1.flows.blue.web.lb1"
	tests := []struct {
		name, subject, old, new string // in bodies[subject]
		want                    string
		mismatch                bool
	}{
		{"not JSON", node, `{`, ``, "invalid character", false},
		{"no version", node, `"v":1`, `"v":0`, "v: 0, want 1", false},
		{"another node", node, `"node":"lb1"`, `"node":"lb2"`, `body says ["blue" "lb2"], subject says ["blue" "lb1"]`, true},
		{"another group", node, `"group":"blue"`, `"group":"red"`, "contradicts subject", true},
		{"no instance", node, `"inst":"A",`, ``, "inst: is missing", false},
		{"no number", node, `"seq":1,`, ``, "seq: is missing or 0", false},
		{"no time", node, `"ts":"2026-01-02T12:00:00Z",`, ``, "ts: 0001-01-01", false},
		{"unknown role", node, `"probe"`, `"boss"`, `roles: unknown role "boss"; want probe,schedule,apply`, false},
		{"role twice", node, `"probe"`, `"apply"`, `roles: "apply" is there twice`, false},
		{"negative uptime", node, `3.5`, `-3.5`, "uptime_seconds: -3.5", false},
		{"start before computers", node, `"v":1`, `"v":1,"started_at":"1900-01-01T00:00:00Z"`, "started_at: 1900", false},
		{"long version", node, `"v":1`, `"v":1,"version":"` + strings.Repeat("x", 300) + `"`, "version: is longer than", false},

		{"another service", weights, `"service":"web"`, `"service":"mail"`, "contradicts subject", true},
		{"no epoch", weights, `"epoch":7`, `"epoch":0`, "epoch: is missing or 0", false},
		{"negative epoch", weights, `"epoch":7`, `"epoch":-7`, "cannot unmarshal number -7", false},
		{"slots that do not add up", weights, `65536`, `65535`, "slots add up to 65535, want 65536", false},
		{"too many slots", weights, `65536`, `4294967295`, "backends.web1: slots: 4294967295, want at most 65536", false},
		{"negative opinion", weights, `0.5`, `-1`, "backends.web1: opinion: -1, want 0 or more, or null", false},
		{"infinite opinion", weights, `0.5`, `1e999`, "cannot unmarshal number 1e999", false},
		{"backend twice", weights, `"web2"`, `"web1"`, `"web1" is there twice`, false},
		{"backend without a name", weights, `"web2"`, `""`, "backends[1]: name: is missing", false},
		{"unknown health", weights, `"down"`, `"ill"`, `health "ill"`, false},
		{"note of two lines", weights, `"swap"`, `"swap\nx"`, `backends.web2: note: '\n' is not a character to print`, false},
		{"note that moves the cursor", weights, `"swap"`, `"\u001b[2J"`, "is not a character to print", false},
		{"long note", weights, `"swap"`, `"` + strings.Repeat("ä", 61) + `"`, "backends.web2: note: 122 bytes, want at most 120", false},
		{"another decision", weights, `"lb1/9"`, `"lb1/8"`, `decision: "lb1/8", want "lb1/9"`, false},
		{"too many backends", weights, `[`, `[` + strings.Repeat(`{},`, MaxBackends), "4098 of them, want at most 4096", false},

		{"another balancer", flows, `"node":"lb1"`, `"node":"lb2"`, "contradicts subject", true},
		{"no run", flows, `"inst":"A",`, ``, "inst: is missing", false},
		{"no date", flows, `"ts":"2026-01-02T12:00:00Z",`, ``, "ts: 0001-01-01", false},
		{"negative connections", flows, `"open_connections":3`, `"open_connections":-3`, "cannot unmarshal number -3", false},
		{"too many", flows, `[`, `[` + strings.Repeat(`{},`, MaxBackends), "4097 of them, want at most 4096", false},
		{"one twice", flows, `[`, `[{"name":"web1"},`, `"web1" is there twice`, false},
		{"one without a name", flows, `"name":"web1"`, `"x":1`, "backends[0]: name: is missing", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			body := strings.Replace(bodies[tt.subject], tt.old, tt.new, 1)
			_, err := Decode(tt.subject, []byte(body))
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), tt.subject) {
				t.Errorf("error %v, want %q and the subject in it", err, tt.want)
			}
			if errors.Is(err, errMismatch) != tt.mismatch {
				t.Errorf("errMismatch is %t, want %t: %v", !tt.mismatch, tt.mismatch, err)
			}
		})
	}
	for subject, body := range bodies {
		if _, err := Decode(subject, []byte(body)); err != nil {
			t.Errorf("the body that these tests spoil is not good: %v", err)
		}
	}
}

// TestPresenceOutlivesClockSteps: the delay of a presence is told by clocks that nobody
// sets, so that a node whose clock is set back is not taken for one that is away.
func TestPresenceOutlivesClockSteps(t *testing.T) {
	b := &Bus{started: time.Now()}
	f := &filter{}
	for i, step := range []struct {
		ts, uptime time.Duration // by the sender's clock
		arrived    time.Duration // by ours
		want       verdict
	}{
		{0, time.Hour, time.Second, fresh},
		{-2 * time.Minute, time.Hour + time.Second, 2 * time.Second, fresh}, // the clock was set back
		{2 * time.Minute, time.Hour + 2*time.Second, 3 * time.Second, fresh},
		{0, time.Hour + 3*time.Second, 6500 * time.Millisecond, late}, // 2.5 s more than usual
		{0, time.Hour + 6*time.Second, 7 * time.Second, fresh},
	} {
		body := presenceBody{Node: "lb2", Inst: "A", Seq: uint64(i + 1), TS: stamp(noon.Add(step.ts)), Uptime: step.uptime.Seconds()}
		if got, _ := f.judge("x", b.presenceEnvelope(&body), b.started.Add(step.arrived)); got != step.want {
			t.Errorf("presence %d: verdict %d, want %d", i, got, step.want)
		}
	}
	old := presenceBody{TS: stamp(noon)}
	if e := b.presenceEnvelope(&old); !e.sent.Equal(noon) {
		t.Errorf("without an uptime it was sent at %v", e.sent)
	}
}
