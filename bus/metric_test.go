// SPDX-License-Identifier: Apache-2.0

package bus_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/bus/bustest"
	"github.com/steelyard-lb/steelyard/core"
)

// TestPublishMetric: what came in another way reaches the subscribers here and those of
// other nodes alike.
func TestPublishMetric(t *testing.T) {
	from, to := twoNodes(t, 0)
	here, there := collect(t, from), collect(t, to)
	at := time.Now().Add(-time.Minute).UTC().Truncate(time.Microsecond)
	for _, id := range []core.BackendID{{Service: "web", Backend: "web1"}, {Backend: "192.0.2.1"}} {
		s := core.Sample{Backend: id, Probe: "load", TakenAt: at, Detail: "from a push", Metrics: []core.Metric{
			{Name: "cpu", Value: 0.4}, {Name: "load", Value: 3, Unit: "count", Window: time.Minute, At: at}}}
		if err := from.PublishMetric("prometheus", s); err != nil {
			t.Fatal(err)
		}
		want := s
		want.Node, want.Role, want.OK, want.Metrics[0].Unit = "prometheus", core.MetricRole, true, "ratio"
		if diff := cmp.Diff(want, next(t, here)); diff != "" {
			t.Errorf("here, -want +got\n%s", diff)
		}
		if diff := cmp.Diff(want, next(t, there)); diff != "" {
			t.Errorf("there, -want +got\n%s", diff)
		}
	}
	undated := core.Sample{Backend: core.BackendID{Backend: "web1"}, Probe: "load", Metrics: []core.Metric{{Name: "load", Value: 1}}}
	if err := from.PublishMetric("prometheus", undated); err != nil {
		t.Fatal(err)
	}
	if s := next(t, here); time.Since(s.TakenAt) > time.Minute || time.Since(s.TakenAt) < 0 {
		t.Errorf("without a time it was taken at %v", s.TakenAt)
	}
}

func TestPublishMetricRefuses(t *testing.T) {
	b := bustest.Start(t)
	got := collect(t, b)
	good := core.Sample{Backend: core.BackendID{Backend: "web1"}, Probe: "load", Metrics: []core.Metric{{Name: "load", Value: 1}}}
	for _, tt := range []struct {
		source string
		change func(*core.Sample)
		want   string
	}{
		{"", func(*core.Sample) {}, "is missing"},
		{"x", func(s *core.Sample) { s.Probe = "" }, "name: is missing"},
		{"x", func(s *core.Sample) { s.Backend.Backend = "" }, "target: is missing"},
		{"x", func(s *core.Sample) { s.Metrics = nil }, "value: is missing"},
		{"x", func(s *core.Sample) { s.Metrics = []core.Metric{{Name: "a", Value: math.NaN()}} }, "metrics.a: value: NaN is not finite"},
		{"x", func(s *core.Sample) { s.TakenAt = time.Unix(0, 0) }, "ts: 1970"},
	} {
		s := good
		tt.change(&s)
		if err := b.PublishMetric(tt.source, s); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error %v, want %q in it", err, tt.want)
		}
	}
	// What is refused counts, too, and costs so little that a slow machine floods with it.
	bad := good
	bad.Metrics = []core.Metric{{Name: "a", Value: math.NaN()}}
	var flood error
	for i := 0; !errors.Is(flood, bus.ErrFlood) && i < 1_000_000; i++ {
		flood = b.PublishMetric("x", bad)
	}
	if !errors.Is(flood, bus.ErrFlood) || b.Stats().Flooded == 0 {
		t.Errorf("a flood: %v, %+v", flood, b.Stats())
	}
	if err := b.PublishMetric("y", good); err != nil {
		t.Errorf("another source: %v", err)
	}
	for next(t, got).Node != "y" { // next gives up where nothing comes
	}
}

// TestFloodStarvesNobody: one monitor sends without end, in its own name and in instances
// that it invents; what another sends meanwhile arrives, to the last message.
func TestFloodStarvesNobody(t *testing.T) {
	b := listening(t, bus.User{Name: "noisy", Password: oddPassword}, bus.User{Name: "quiet", Password: oddPassword})
	quiet := make(chan core.Sample, 1<<12)
	cancel, err := b.SubscribeSamples(func(s core.Sample) {
		if s.Node == "quiet" {
			quiet <- s
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cancel)
	noisy, _ := dial(t, b, "noisy", oddPassword)
	calm, _ := dial(t, b, "quiet", oddPassword)
	// As much at a time as the server holds for one connection of ours: beyond that it
	// drops what it likes, and that is not what is tried here.
	const rounds, flood = 8, 10_000
	begin := time.Now()
	for i := range rounds {
		for j := range flood {
			body := fmt.Appendf(nil, `{"value":1,"inst":"i%d-%d","seq":1}`, i, j)
			if err := noisy.Publish("steelyard.v1.metric.noisy.web1.load", body); err != nil {
				t.Fatal(err)
			}
		}
		if err := calm.Publish("steelyard.v1.metric.quiet.web1.load", fmt.Appendf(nil, `{"value":%d,"inst":"q","seq":%d}`, i, i+1)); err != nil {
			t.Fatal(err)
		}
		if s := next(t, quiet); s.Metrics[0].Value != float64(i) {
			t.Fatalf("value %v came, want %d: some were lost", s.Metrics[0].Value, i)
		}
		eventually(t, "the round is over", func() bool { s := b.Stats(); return s.Flooded+s.Received == uint64((i+1)*(flood+1)) })
	}
	// A source has a burst of 16,384 messages, and 2,000 more a second.
	most := uint64(rounds + 1<<14 + 2000*(1+int(time.Since(begin).Seconds())))
	if s := b.Stats(); s.Received > most {
		t.Errorf("stats %+v: want %d received at most, and the rest of the flood dropped", s, most)
	}
}

// TestMonitorSendsAList over a real connection, with one bad reading in it.
func TestMonitorSendsAList(t *testing.T) {
	b := listening(t, bus.User{Name: "zabbix", Password: oddPassword})
	got := collect(t, b)
	nc, _ := dial(t, b, "zabbix", oddPassword)
	err := nc.Publish("steelyard.v1.metric.zabbix._._", []byte(`[{"target":"web1","name":"cpu","value":0.5},{"value":1},{"target":"web2","name":"cpu","value":0.25}]`))
	if err != nil {
		t.Fatal(err)
	}
	want := []core.Sample{
		{Backend: core.BackendID{Backend: "web1"}, Probe: "cpu", Role: core.MetricRole, Node: "zabbix", OK: true, Metrics: []core.Metric{{Name: "cpu", Value: 0.5, Unit: "ratio"}}},
		{Backend: core.BackendID{Backend: "web2"}, Probe: "cpu", Role: core.MetricRole, Node: "zabbix", OK: true, Metrics: []core.Metric{{Name: "cpu", Value: 0.25, Unit: "ratio"}}},
	}
	if diff := cmp.Diff(want, []core.Sample{next(t, got), next(t, got)}, cmpopts.IgnoreFields(core.Sample{}, "TakenAt")); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	eventually(t, "the bad one is counted", func() bool { return b.Stats().Invalid == 1 })
}
