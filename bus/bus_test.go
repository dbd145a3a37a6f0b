// SPDX-License-Identifier: Apache-2.0

package bus_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/bus/bustest"
	"github.com/steelyard-lb/steelyard/core"
)

// patience is how long a test waits for what should come at once.
const patience = 30 * time.Second

func sample(seq uint64) core.Sample {
	return core.Sample{
		Backend: core.BackendID{Service: "web", Backend: "web1"}, Probe: "http", Type: core.ProbeHTTP, Role: core.HealthRole,
		Node: bustest.Node, Seq: seq, TakenAt: time.Now().UTC(), Took: 2 * time.Millisecond, OK: true, Code: core.L7OK, Detail: "200",
		Metrics: []core.Metric{{Name: core.MetricResponse, Value: 0.002, Unit: "seconds"}},
	}
}

// collect subscribes to samples and returns the channel on which they come. It
// holds more than any test sends.
func collect(t testing.TB, b *bus.Bus) <-chan core.Sample {
	t.Helper()
	got := make(chan core.Sample, 1<<17)
	cancel, err := b.SubscribeSamples(func(s core.Sample) { got <- s })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cancel)
	return got
}

func next[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("nothing came within %v", patience)
		panic("not reached")
	}
}

// eventually waits for a condition that another goroutine makes true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	end := time.Now().Add(patience)
	for tick := time.NewTicker(time.Millisecond); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

func TestSampleArrivesAsSent(t *testing.T) {
	b := bustest.Start(t)
	got := collect(t, b)
	want := sample(1)
	if err := b.PublishSample(want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, next(t, got)); diff != "" {
		t.Errorf("-sent +received\n%s", diff)
	}
}

// twoNodes are two nodes on one server; what the first publishes the second gets.
func twoNodes(t *testing.T, ttl time.Duration) (from, to *bus.Bus) {
	t.Helper()
	port := freePort(t)
	startServer(t, port, "secret")
	from = bustest.StartWith(t, bus.Options{Node: bustest.Node, SampleTTL: ttl, Servers: []string{fmt.Sprintf("nats://127.0.0.1:%d", port)},
		Login: bus.Login{User: "lb", Password: "secret"}})
	to = external(t, "lb2", port)
	eventually(t, "both are connected", func() bool { return from.Stats().Connected && to.Stats().Connected })
	return from, to
}

func TestRepeatedSamplesAreDropped(t *testing.T) {
	from, b := twoNodes(t, 0)
	got := collect(t, b)
	one, two := sample(1), sample(2)
	for _, s := range []core.Sample{one, two, two, one, sample(3)} {
		if err := from.PublishSample(s); err != nil {
			t.Fatal(err)
		}
	}
	seqs := []uint64{next(t, got).Seq, next(t, got).Seq, next(t, got).Seq}
	if want := []uint64{1, 2, 3}; !slices.Equal(seqs, want) {
		t.Errorf("got %v, want %v", seqs, want)
	}
	if s := b.Stats(); s.Received != 3 || s.Repeated != 2 {
		t.Errorf("stats %+v, want 3 received, 2 repeated", s)
	}
}

func TestLateSamplesAreDropped(t *testing.T) {
	from, b := twoNodes(t, time.Minute)
	got := collect(t, b)
	old := sample(2)
	old.TakenAt = old.TakenAt.Add(-time.Hour)
	slow := sample(3)
	slow.TakenAt, slow.Took = slow.TakenAt.Add(-10*time.Minute), 10*time.Minute // ran into its time-out just now
	for _, s := range []core.Sample{sample(1), old, slow} {
		if err := from.PublishSample(s); err != nil {
			t.Fatal(err)
		}
	}
	seqs := []uint64{next(t, got).Seq, next(t, got).Seq}
	if want := []uint64{1, 3}; !slices.Equal(seqs, want) {
		t.Errorf("got %v, want %v: a slow probe is not a late message", seqs, want)
	}
	if s := b.Stats(); s.Late != 1 {
		t.Errorf("stats %+v, want 1 late", s)
	}
}

func TestRecordsArriveAsSent(t *testing.T) {
	b := bustest.Start(t)
	at := time.Date(2026, 1, 2, 12, 0, 0, 5, time.UTC)
	id := core.BackendID{Service: "web", Backend: "web1"}
	commit := core.Commit{Generation: 412, At: at, Took: 180 * time.Microsecond, Changed: 4}
	decision := core.Decision{Seq: 9, Service: "web", Node: "lb1", At: at, Outcome: core.Applied, Commit: &core.Commit{Generation: 412, At: at},
		Backends: []core.BackendDecision{{Backend: "web1", Health: core.Up, Share: 0.5}}}
	tests := []struct {
		subject string
		publish func() error
		want    any
	}{
		{"steelyard.v1.health.web.web1", func() error {
			return b.PublishHealth(core.HealthChange{Backend: id, From: core.Up, To: core.Down, At: at, Probe: "http", Code: core.L7Status, Detail: "status 500"})
		}, bus.HealthBody{V: 1, Src: "lb1", TS: at, Service: "web", Backend: "web1", From: core.Up, To: core.Down, Probe: "http", Code: core.L7Status, Detail: "status 500"}},
		{"steelyard.v1.decision.web", func() error { return b.PublishDecision(decision) }, bus.DecisionBody{V: 1, ID: "lb1/9", Decision: decision}},
		{"steelyard.v1.commit.lb1", func() error { return b.PublishCommit(commit) },
			bus.CommitBody{V: 1, ID: "lb1/412", Node: "lb1", TS: at, Took: 0.00018, Commit: core.Commit{Generation: 412, At: at, Changed: 4}}},
		{"steelyard.v1.event.error.policy", func() error {
			return b.PublishEvent(core.Event{Severity: core.Error, Topic: "policy", Service: "web", At: at, Message: "trap"})
		}, bus.EventBody{V: 1, TS: at, Node: "lb1", Severity: core.Error, Topic: "policy", Service: "web", Message: "trap"}},
	}
	for _, tt := range tests {
		t.Run(tt.subject, func(t *testing.T) {
			m := bustest.Expect(t, b, ">", func() {
				if err := tt.publish(); err != nil {
					t.Fatal(err)
				}
			}, nil)
			if diff := cmp.Diff(bustest.Message{Subject: tt.subject, Body: tt.want}, m); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestSubscribeRefusesPattern(t *testing.T) {
	b := bustest.Start(t)
	if _, err := b.Subscribe("probes.>", func(string, []byte) {}); err == nil || !strings.Contains(err.Error(), `unknown class "probes"`) {
		t.Errorf("error %v, want it to name the class", err)
	}
}

func TestCancelStopsTheCalls(t *testing.T) {
	b := bustest.Start(t)
	calls := 0 // written by the subscriber's goroutine, which cancel waits for
	cancel, err := b.SubscribeSamples(func(core.Sample) { calls++ })
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	cancel()
	before := calls
	got := collect(t, b)
	if err := b.PublishSample(sample(1)); err != nil {
		t.Fatal(err)
	}
	next(t, got)
	if calls != before {
		t.Errorf("%d calls after cancel", calls-before)
	}
}

func TestSlowSubscriberLosesMessagesOnly(t *testing.T) {
	b := bustest.Start(t)
	release := make(chan struct{})
	cancel, err := b.Subscribe("event.>", func(string, []byte) { <-release })
	if err != nil {
		t.Fatal(err)
	}
	defer cancel()
	defer close(release)
	got := collect(t, b)
	for range 6000 {
		if err := b.PublishEvent(core.Event{Severity: core.Info, Topic: "flood", At: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.PublishSample(sample(1)); err != nil {
		t.Fatal(err)
	}
	next(t, got)
	eventually(t, "losses are counted", func() bool { return b.Stats().Overflowed > 0 })
}

func TestCloseIsPromptAndFinal(t *testing.T) {
	b := bustest.Start(t)
	hang := make(chan struct{})
	defer close(hang)
	entered := make(chan struct{}, 1)
	if _, err := b.Subscribe("event.>", func(string, []byte) { entered <- struct{}{}; <-hang }); err != nil {
		t.Fatal(err)
	}
	if err := b.PublishEvent(core.Event{Severity: core.Info, Topic: "x", At: time.Now()}); err != nil {
		t.Fatal(err)
	}
	next(t, entered)
	start := time.Now()
	b.Close()
	b.Close()
	if took := time.Since(start); took > patience { // it gives up after 5 s
		t.Errorf("close took %v with a subscriber that hangs", took)
	}
	if err := b.PublishSample(sample(1)); !errors.Is(err, bus.ErrAway) {
		t.Errorf("publish after close: %v, want ErrAway", err)
	}
	if _, err := b.Subscribe(">", func(string, []byte) {}); !errors.Is(err, bus.ErrAway) {
		t.Errorf("subscribe after close: %v, want ErrAway", err)
	}
}

func TestStateDirectoryIsLocked(t *testing.T) {
	dir := t.TempDir() + "/state"
	b := bustest.StartWith(t, bus.Options{Node: "lb1", StateDir: dir})
	_, err := bus.Start(t.Context(), bus.Options{Node: "lb2", StateDir: dir})
	if err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "another steelyard holds it (process ") {
		t.Errorf("second bus: %v, want the directory and the holder in it", err)
	}
	b.Close()
	bustest.StartWith(t, bus.Options{Node: "lb2", StateDir: dir})
}

func TestStartIsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := bus.Start(ctx, bus.Options{Node: "lb1"}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}
