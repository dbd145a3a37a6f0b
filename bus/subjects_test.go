// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core"
)

// TestSubjects is the table that outside tools rely on.
func TestSubjects(t *testing.T) {
	id := core.BackendID{Service: "web", Backend: "10.0.0.1"}
	tests := []struct {
		got, want string
		parsed    Subject
	}{
		{ProbeSubject(id, "http", "lb1"), "steelyard.v1.probe.web.10=2E0=2E0=2E1.http.lb1",
			Subject{ProbeClass, []string{"web", "10.0.0.1", "http", "lb1"}}},
		{MetricSubject("zabbix", id, "load"), "steelyard.v1.metric.zabbix.web.10=2E0=2E0=2E1.load",
			Subject{MetricClass, []string{"zabbix", "web", "10.0.0.1", "load"}}},
		{MetricSubject("zabbix", core.BackendID{Backend: "192.0.2.1"}, "cpu"), "steelyard.v1.metric.zabbix.192=2E0=2E2=2E1.cpu",
			Subject{MetricClass, []string{"zabbix", "192.0.2.1", "cpu"}}},
		{NodeSubject("blue", "lb1"), "steelyard.v1.node.blue.lb1", Subject{NodeClass, []string{"blue", "lb1"}}},
		{WeightsSubject("blue", "web", "lb1"), "steelyard.v1.weights.blue.web.lb1", Subject{WeightsClass, []string{"blue", "web", "lb1"}}},
		{FlowsSubject("blue", "web", "lb1"), "steelyard.v1.flows.blue.web.lb1", Subject{FlowsClass, []string{"blue", "web", "lb1"}}},
		{HealthSubject(id), "steelyard.v1.health.web.10=2E0=2E0=2E1",
			Subject{HealthClass, []string{"web", "10.0.0.1"}}},
		{DecisionSubject("web"), "steelyard.v1.decision.web", Subject{DecisionClass, []string{"web"}}},
		{CommitSubject("lb1"), "steelyard.v1.commit.lb1", Subject{CommitClass, []string{"lb1"}}},
		{EventSubject(core.Warn, "policy"), "steelyard.v1.event.warn.policy",
			Subject{EventClass, []string{"warn", "policy"}}},
		{DecisionSubject(""), "steelyard.v1.decision.=", Subject{DecisionClass, []string{""}}},
	}
	for _, tt := range tests {
		if tt.got != tt.want {
			t.Errorf("got %s, want %s", tt.got, tt.want)
		}
		parsed, err := ParseSubject(tt.want)
		if diff := cmp.Diff(tt.parsed, parsed); err != nil || diff != "" {
			t.Errorf("ParseSubject(%s): %v (-want +got)\n%s", tt.want, err, diff)
		}
	}
}

func TestParseSubjectRefuses(t *testing.T) {
	tests := []struct{ in, want string }{
		{"probe.web", "begin with steelyard.v1"},
		{"steelyard.v1.wieghts.web", `unknown class "wieghts"`},
		{"steelyard.v1.weights.web", "want steelyard.v1.weights.<group>.<service>.<node>"},
		{"steelyard.v1.health.web", "steelyard.v1.health.<service>.<backend>"},
		{"steelyard.v1.health.web.a=2e", "upper case"},
		{"steelyard.v1.health.web.", "token is empty"},
	}
	for _, tt := range tests {
		if _, err := ParseSubject(tt.in); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("ParseSubject(%s): %v, want %q in it", tt.in, err, tt.want)
		}
	}
}

func TestPattern(t *testing.T) {
	tests := []struct{ in, want, err string }{
		{in: "", want: "steelyard.v1.>"},
		{in: ">", want: "steelyard.v1.>"},
		{in: "*", want: "steelyard.v1.*"},
		{in: "probe.web.>", want: "steelyard.v1.probe.web.>"},
		{in: "*.web.>", want: "steelyard.v1.*.web.>"},
		{in: "steelyard.v1.health.*.web1", want: "steelyard.v1.health.*.web1"},
		{in: "probes.web", err: `unknown class "probes"`},
		{in: "$SYS.>", err: "must be written as =24"},
		{in: "_INBOX_other.>", err: "unknown class"},
		{in: "probe.>.x", err: "> must be the last token"},
		{in: "probe..x", err: "empty token"},
		{in: "probe.a b", err: "must be written as =20"},
		{in: "probe.web*", err: "must be written as =2A"},
	}
	for _, tt := range tests {
		got, err := Pattern(tt.in)
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("Pattern(%q) = %q, %v, want %q, error %q", tt.in, got, err, tt.want, tt.err)
		}
	}
}
