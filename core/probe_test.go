// SPDX-License-Identifier: Apache-2.0

package core

import (
	"testing"
	"time"
)

func TestIntervalInForce(t *testing.T) {
	health := ProbeSpec{Role: HealthRole, Interval: 5, FastInterval: 1, DownInterval: 30}
	plain := ProbeSpec{Role: HealthRole, Interval: 5}
	metric := ProbeSpec{Role: MetricRole, Interval: 10, FastInterval: 1, DownInterval: 30}
	for _, tt := range []struct {
		name   string
		spec   ProbeSpec
		state  HealthState
		moving bool
		want   time.Duration
	}{
		{"up", health, Up, false, 5},
		{"up, and failing", health, Up, true, 1},
		{"down", health, Down, false, 30},
		{"down, and answering", health, Down, true, 1},
		{"unknown", health, Unknown, false, 5},
		{"down, nothing else configured", plain, Down, false, 5},
		{"failing, nothing else configured", plain, Up, true, 5},
		{"a metric probe has no state", metric, Down, true, 10},
	} {
		if got := tt.spec.Every(tt.state, tt.moving); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}
