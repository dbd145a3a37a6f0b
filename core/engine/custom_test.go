// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core"
)

// seeing is a policy that keeps the snapshot it was called with last.
type seeing struct {
	mu   sync.Mutex
	snap core.Snapshot // guarded by mu
}

func (s *seeing) schedule(ctx context.Context, snap core.Snapshot) core.Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snap = snap
	return weighted(ctx, snap)
}

func (s *seeing) last() core.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.snap
}

// monitored is a sample of somebody else's, with metrics.
func (e *Engine) monitored(service, backend string, metrics ...core.Metric) {
	e.Offer(core.Sample{Backend: core.BackendID{Service: service, Backend: backend}, Probe: "app", Role: core.MetricRole, OK: true,
		Node: "zabbix", TakenAt: time.Now(), Metrics: metrics})
}

// A policy sees the custom metrics that it reads, and no others; old ones, ones
// that nobody sends and ones that are no numbers are unknown.
func TestCustomMetrics(t *testing.T) {
	k, saw, other := &kernel{}, &seeing{}, &seeing{}
	s := withShadow("web", "mine", "second")
	s.Shaping.StaleAfter = 5 * time.Second
	setup := setupOf(s, web("plain", "weighted", 1, 1))
	setup.Metrics = map[string][]string{"mine": {"queue_depth", "disk"}, "second": {"disk", "fans"}, "weighted": nil}
	setup.Params = map[string][]string{"mine": {"a"}, "second": {"b"}}
	setup.Services[0].Params = map[string]float64{"a": 1, "b": 2}
	p := policies{"mine": saw.schedule, "second": other.schedule, "weighted": weighted}
	engineTest(t, k, p, setup, func(t *testing.T, e *Engine, l *log) {
		e.bothUp("web")
		e.monitored("web", "b1", core.Metric{Name: "queue_depth", Value: 7, Unit: "count"}, core.Metric{Name: "rtt", Value: 0.1, Unit: "seconds"},
			core.Metric{Name: "disk", Value: math.Inf(1), Unit: "ratio"})
		e.monitored("plain", "b1", core.Metric{Name: "queue_depth", Value: 9})
		time.Sleep(2 * time.Second)
		snap := saw.last()
		if diff := cmp.Diff([]string{"disk", "fans", "queue_depth"}, snap.Metrics); diff != "" {
			t.Fatalf("metrics (-want +got):\n%s", diff)
		}
		if c := snap.Backends[0].Custom; c[0].Known || c[1].Known || !c[2].Known || c[2].Value != 7 || c[2].Age < time.Second || snap.Backends[1].Custom[2].Known {
			t.Errorf("b1: %+v, b2: %+v", c, snap.Backends[1].Custom)
		}
		if diff := cmp.Diff(map[string]float64{"a": 1}, snap.Params); diff != "" {
			t.Errorf("params of the policy (-want +got):\n%s", diff)
		}
		if shadow := other.last(); shadow.Params["b"] != 2 || len(shadow.Params) != 1 || shadow.Backends[0].Custom[2].Value != 7 {
			t.Errorf("the shadow saw %+v", shadow)
		}
		if !l.has("metric disk is +Inf; want a finite number") {
			t.Error("nobody is told of a metric that is no number")
		}
		if e.services["plain"].backends[0].custom != nil {
			t.Error("metrics are kept that no policy of the service reads")
		}
		var got []string
		for _, in := range latest(t, e, "web").Backends[0].Inputs {
			if in.Known {
				got = append(got, in.Metric+" "+in.Unit)
			} else {
				got = append(got, in.Metric+" unknown")
			}
		}
		if diff := cmp.Diff([]string{"disk unknown", "fans unknown", "queue_depth count"}, got); diff != "" {
			t.Errorf("inputs in the record (-want +got):\n%s", diff)
		}
		time.Sleep(5 * time.Second)
		if c := saw.last().Backends[0].Custom[2]; c.Known || c.Value != 7 {
			t.Errorf("stale after 5 s: %+v", c)
		}
	})
}

// What is known of a metric stays when the policies that read it change.
func TestCustomMetricsFollowThePolicies(t *testing.T) {
	k, saw := &kernel{}, &seeing{}
	setup := setupOf(web("web", "mine", 1, 1))
	setup.Metrics = map[string][]string{"mine": {"queue_depth"}}
	engineTest(t, k, policies{"mine": saw.schedule}, setup, func(t *testing.T, e *Engine, l *log) {
		e.bothUp("web")
		e.monitored("web", "b1", core.Metric{Name: "queue_depth", Value: 7, Unit: "count"})
		time.Sleep(2 * time.Second)
		if err := e.SetPolicies(t.Context(), map[string][]string{"mine": {"queue_depth", "disk"}}, nil, nil); err != nil {
			t.Fatal(err)
		}
		e.monitored("web", "b1", core.Metric{Name: "disk", Value: 0.5, Unit: "ratio"})
		time.Sleep(2 * time.Second)
		if c := saw.last().Backends[0].Custom; len(c) != 2 || c[0].Value != 0.5 || c[1].Value != 7 {
			t.Errorf("after the policy changed: %+v", c)
		}
		setup.Metrics = map[string][]string{"mine": {"disk"}}
		if _, err := e.Reload(t.Context(), setup); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if c := saw.last().Backends[0].Custom; len(c) != 1 || c[0].Value != 0.5 {
			t.Errorf("after the reload: %+v", c)
		}
	})
}

// The time in a snapshot is in the zone of the node.
func TestSnapshotIsInTheZoneOfTheNode(t *testing.T) {
	was := time.Local
	time.Local = time.FixedZone("node", 2*3600)
	t.Cleanup(func() { time.Local = was })
	s := &service{spec: web("web", "weighted", 1)}
	_, offset := s.snapshot(1, time.Now().UTC()).Now.Zone()
	if offset != 2*3600 {
		t.Errorf("the zone is %d seconds east of UTC, want %d", offset, 2*3600)
	}
}
