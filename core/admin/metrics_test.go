// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMetricsCrossTheSocket(t *testing.T) {
	n := testNode()
	c, _ := serve(t, n)
	got, err := c.PushMetrics(t.Context(), "cron", []PushMetric{
		{Target: "web/web1", Name: "queue", Value: 12, Unit: "count", Window: 60},
		{Target: "10.0.0.11", Name: "queue", Value: -0.5, At: time.Unix(1_700_000_000, 0)},
		{Name: "queue"}, {Target: "web1"}, {Target: "web1", Name: "queue", Window: -1}, {Target: "refused", Name: "queue"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := MetricsAnswer{Taken: 2, Refused: []RefusedMetric{
		{2, "target: is missing; want SERVICE/BACKEND, a backend, or the address of one"},
		{3, "name: is missing; it is what policies call the metric, such as cpu"},
		{4, "window_seconds: -1, want 0 to 86400"}, {5, "its unit is wrong"}}, Warning: "the NATS refused it"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("answer (-want +got):\n%s", d)
	}
	const zero = "0001-01-01 00:00:00 +0000 UTC"
	calls := []string{"push cron web/web1 queue [{queue 12 count 1m0s " + zero + "}]", "push cron 10.0.0.11 queue [{queue -0.5  0s " + zero + "}]"}
	if d := cmp.Diff(calls, n.called()); d != "" {
		t.Errorf("calls (-want +got):\n%s", d)
	}
}

func TestMetricsRefused(t *testing.T) {
	c, _ := serve(t, testNode())
	for name, ask := range map[string]func() error{
		"no source": func() error { _, err := c.PushMetrics(t.Context(), "", nil); return err },
		"too many":  func() error { _, err := c.PushMetrics(t.Context(), "a", make([]PushMetric, MaxMetrics+1)); return err },
	} {
		var e *Error
		if err := ask(); !errors.As(err, &e) || e.Code != CodeBadRequest {
			t.Errorf("%s: %v, want %s", name, err, CodeBadRequest)
		}
	}
}
