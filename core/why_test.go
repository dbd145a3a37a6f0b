// SPDX-License-Identifier: Apache-2.0

package core

import "testing"

// With too few completions least-cpu does not learn, so the readings beside the
// share are not what it comes from.
func TestWhyOfLeastCPU(t *testing.T) {
	for _, tt := range []struct {
		done float64
		want string
	}{
		{33.9, "least-cpu: cpu 100%, 33.9 done/s"},
		{1.5, "least-cpu: cpu 100%, too few connections closed: estimate kept"},
		{0, "least-cpu: cpu 100%, no connections closed: estimate kept"},
	} {
		b := BackendDecision{Health: Up, Configured: 100, Inputs: []Input{
			{Metric: MetricCPU, Value: 1, Known: true, WindowSeconds: 3},
			{Metric: MetricDone, Value: tt.done, Known: true, WindowSeconds: 3},
		}}
		if got := Why("least-cpu", nil, b); got != tt.want {
			t.Errorf("%v done per second: %q, want %q", tt.done, got, tt.want)
		}
	}
}

// A policy's reason holds the readings that it goes by, and no others.
func TestWhyNamesWhatThePolicyReads(t *testing.T) {
	b := BackendDecision{Health: Up, Configured: 100, Inputs: []Input{
		{Metric: MetricCPU, Value: 0.5, Known: true},
		{Metric: MetricResponse, Value: 0.002, Known: true},
		{Metric: MetricConnections, Value: 7, Known: true},
		{Metric: "queue_depth", Value: 3, Known: true},
	}}
	for _, tt := range []struct {
		name  string
		reads []string
		want  string
	}{
		{"it does not say", nil, "mine: cpu 50%, response 2.0 ms, 7 open, queue_depth 3"},
		{"nothing", []string{}, "mine"},
		{"cpu", []string{MetricCPU, MetricCores}, "mine: cpu 50%"},
		{"a metric of its own, beside one of its shadow", []string{"queue_depth"}, "mine: queue_depth 3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Why("mine", tt.reads, b); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// Where the policy has no opinion of a backend, its readings are not what the share
// comes from, however little the share moved.
func TestWhyWithoutAnOpinion(t *testing.T) {
	const note = "no cpu: SNMPTOUT, decaying to the configured weight"
	b := BackendDecision{Health: Up, Configured: 100, Share: 0.4, Inputs: []Input{
		{Metric: MetricCPU}, {Metric: MetricDone, Known: true, WindowSeconds: 3},
	}, Steps: []Step{
		{Name: "freshness", Before: 0.4, After: 0.4, Note: note},
		{Name: "dead_band", Before: 0.4, After: 0.4009, Note: "no share would move by more than 0.5 %"},
	}}
	if got := Why("least-cpu", nil, b); got != note {
		t.Errorf("%q, want %q", got, note)
	}
}

// Of a service that another node leads its word counts, not readings.
func TestWhyOfAFollower(t *testing.T) {
	gives := Step{Name: "leader", Before: 0.9, After: 0.25, Note: "lb2 gives 25.0 % (decision 7)"}
	gate := Step{Name: "gate", Before: 0.25, After: 0.5, Note: "more here without web1"}
	panics := Step{Name: "panic", Before: 0.25, After: 0.5, Note: "only 1 of 4 backends are up"}
	for want, b := range map[string]BackendDecision{
		"lb2 gives 25.0 % (decision 7)":                         {Health: Up, Share: 0.25, Steps: []Step{gives}},
		"lb2 gives 25.0 % (decision 7), more here without web1": {Health: Up, Share: 0.5, Steps: []Step{gives, gate}},
		"panic: only 1 of 4 backends are up":                    {Health: Up, Share: 0.5, Steps: []Step{gives, panics}},
		"down: L4TOUT":                                          {Health: Down, Steps: []Step{gives, {Name: "health", Note: "L4TOUT"}}},
	} {
		b.Configured = 100
		if got := Why("least-cpu", nil, b); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
