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
		if got := Why("least-cpu", b); got != tt.want {
			t.Errorf("%v done per second: %q, want %q", tt.done, got, tt.want)
		}
	}
}
