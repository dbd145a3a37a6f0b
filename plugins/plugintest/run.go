// SPDX-License-Identifier: Apache-2.0

package plugintest

import (
	"math"
	"testing"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/plugins/plugintest/suite"
)

// Run puts a policy that h has loaded through the suite, in a worker of its own.
// allow names the properties that it breaks on purpose: see suite.Options.
func Run(t *testing.T, h *Host, policy string, allow ...string) {
	t.Helper()
	results, err := suite.Conform(t.Context(), h.subject(t, policy), suite.Options{Allow: allow})
	if err != nil {
		t.Fatal(err)
	}
	Tell(t, results)
}

// Tell makes each result a subtest.
func Tell(t *testing.T, results []suite.Result) {
	t.Helper()
	for _, r := range results {
		t.Run(r.Name, func(t *testing.T) {
			switch r.Status {
			case suite.Fail:
				t.Errorf("%s\nremedy: %s", r.Cause, r.Remedy)
			case suite.Note:
				t.Logf("note: %s %s", r.Cause, r.Remedy)
			default:
				t.Log(r.Detail)
			}
		})
	}
}

// Snapshot is a service with n unequal backends, all up and measured. The same
// arguments give the same snapshot.
func Snapshot(service string, n int) core.Snapshot { return suite.Snapshot(service, n) }

// Schedule asks the policy once and checks what holds for every answer. It
// returns shares; that of a backend which is held is NaN.
func Schedule(t *testing.T, h *Host, policy string, s core.Snapshot) []float64 {
	t.Helper()
	r := h.Schedule(t.Context(), []core.Call{{Policy: policy, Snapshot: s}})[0]
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	if len(r.Weights) != len(s.Backends) {
		t.Fatalf("%d weights for %d backends", len(r.Weights), len(s.Backends))
	}
	for i, w := range r.Weights {
		if w != core.Hold && (!(w >= 0) || math.IsInf(w, 0)) {
			t.Fatalf("weight of %s is %g", s.Backends[i].Name, w)
		}
	}
	return suite.Shares(r.Weights)
}
