// SPDX-License-Identifier: Apache-2.0

package ops

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A fakeNode answers with a view and remembers what was pushed.
type fakeNode struct {
	view core.NodeView
	hang bool // the event loop does not turn

	mu     sync.Mutex
	pushed []core.Sample
	by     []string
	refuse func(core.Sample) error
	denied string // what Pushed says
	asked  int
}

func (n *fakeNode) View(ctx context.Context) (core.NodeView, error) {
	n.mu.Lock()
	n.asked++
	n.mu.Unlock()
	if n.hang {
		<-ctx.Done()
		return core.NodeView{}, ctx.Err()
	}
	return n.view, nil
}

func (n *fakeNode) Ready(ctx context.Context) []Check {
	v, err := n.View(ctx)
	if err != nil {
		return []Check{{Name: "engine", Detail: err.Error()}}
	}
	return Checks(v)
}

func (n *fakeNode) Push(source string, s core.Sample) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.refuse != nil {
		if err := n.refuse(s); err != nil {
			return err
		}
	}
	n.pushed, n.by = append(n.pushed, s), append(n.by, source)
	return nil
}

func (n *fakeNode) Pushed(context.Context) string { return n.denied }

func (n *fakeNode) taken() []core.Sample {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.pushed
}

var errRefused = errors.New("no such backend")

var epoch = time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)

// populated is a view in which everything that can be there is there.
func populated(services, backends int) core.NodeView {
	v := core.NodeView{
		Node: "lb1", Version: "v1.2.3", StartedAt: epoch.Add(-time.Hour), At: epoch, ConfigAt: epoch.Add(-time.Minute), Revision: 7,
		SamplesDropped: 1, Warnings: []string{"one"},
		Kernel:   core.KernelView{Owned: true, Generation: 412, Commits: 99, Drifts: 2, CountersAt: epoch},
		Bus:      core.BusView{Connected: true, Published: 10, Received: 20, Late: 3},
		Webhooks: []core.WebhookView{{Name: "pager", Sent: 5, Failed: 1, Dropped: 2, Retries: 3, Queued: 4}},
		Policies: []core.PolicyView{{Name: "weighted", Calls: 100, P50Seconds: 2e-5, P99Seconds: 9e-5, MemoryBytes: 1 << 20, Faults: 1}},
		Probing: core.ProbingView{Types: []core.ProbeTypeView{
			{Type: "http", Targets: 3, Shared: 1, Limit: 100, Running: 2, Waiting: 1, Runs: 1000, Failed: 10, Skipped: 1}}},
		Cluster: &core.ClusterView{Group: "edge", Members: []core.MemberView{{Node: "lb1", State: core.MemberLive}, {Node: "lb2", State: core.MemberSilent}},
			Leads: 1, Probes: 2, Taken: 3, Refused: 4, Takeovers: 5, Epoch: 6, GapSeconds: 1.5},
	}
	for i := range services {
		v.Services = append(v.Services, populatedService(fmt.Sprintf("svc%04d", i), backends))
	}
	return v
}

func populatedService(name string, backends int) core.ServiceView {
	open := uint64(42)
	s := core.ServiceView{
		Name: name, VIP: "192.0.2.10:80", Protocol: core.TCP, Policy: "weighted", Connections: &open, ConnectionsAbroad: 12, ConnectionsTotal: 1000,
		RefusedTotal: 2, TurnedAwayTotal: core.Turned{Denied: 3}, Traffic: &core.TrafficView{PacketsIn: 1, PacketsOut: 2, BytesIn: 3, BytesOut: 4},
	}
	for i := range backends {
		cpu, response := 0.42, 0.012
		s.Backends = append(s.Backends, core.BackendView{
			Name: fmt.Sprintf("web%02d", i), Address: "192.0.2.20:80", Health: core.Up, State: core.StateUp, Configured: 10,
			Override: &core.Override{Kind: core.OverrideWeight, Weight: 5},
			Share:    1 / float64(backends), Slots: uint32(core.Slots / backends), Connections: &open, ConnectionsAbroad: 12, ConnectionsTotal: 77, Traffic: s.Traffic,
			CPU: &cpu, Response: &response,
			Probes: []core.ProbeView{{Name: "http", Type: "http", Role: core.HealthRole, OK: true, Code: core.L7OK, At: epoch, Took: 0.012, State: core.Up, Interval: 5}},
		})
	}
	return s
}

// fed is a server that was told of everything once.
func fed(t testing.TB, cfg Config) *Server {
	t.Helper()
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	id := core.BackendID{Service: "svc0000", Backend: "web00"}
	s.ObserveSample(core.Sample{Backend: id, Probe: "http", Took: 12 * time.Millisecond})
	s.ObserveHealth(core.HealthChange{Backend: id, From: core.Up, To: core.Down})
	s.ObserveCommit(core.Commit{Took: 300 * time.Microsecond})
	s.Observe(core.Decision{Service: "svc0000", Policy: "weighted", Trigger: "web00 went down", Outcome: core.Applied, TotalSeconds: 0.0031})
	return s
}

// serving runs a server until the test ends, and returns its URL.
func serving(t *testing.T, s *Server, scheme string) string {
	t.Helper()
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	url := scheme + "://" + s.Addr().String()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v, want nil", err)
		}
	})
	return url
}
