// SPDX-License-Identifier: Apache-2.0

package cluster_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/bus/bustest"
	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/cluster"
)

var _ cluster.Bus = (*bus.Bus)(nil)

// patience is how long a test waits for what takes a few seconds at most.
const patience = 30 * time.Second

// A real is a Member on a real bus.
type real struct {
	*cluster.Member
	stop func()

	mu    sync.Mutex
	taken map[string]core.Vector // guarded by mu
}

func services() (out []string) {
	for i := range 12 {
		out = append(out, fmt.Sprintf("web%d", i))
	}
	return out
}

func startReal(t *testing.T, name string, port int) *real {
	t.Helper()
	b := bustest.StartWith(t, bus.Options{Node: name, Servers: []string{fmt.Sprintf("nats://127.0.0.1:%d", port)}})
	m, err := cluster.New(cluster.Config{
		Spec: core.ClusterSpec{Group: "g", Probers: 1, Quorum: 1, Scheduling: core.ScheduleLeader}, Bus: b, Dir: t.TempDir(),
		Self: core.Presence{Node: name, Inst: fmt.Sprint(name, time.Now().UnixNano()), Roles: core.AllRoles, StartedAt: time.Now()},
	})
	if err != nil {
		t.Fatal(err)
	}
	n := &real{Member: m, taken: map[string]core.Vector{}}
	m.Follow(func(v core.Vector) {
		n.mu.Lock()
		defer n.mu.Unlock()
		if before, ok := n.taken[v.Service]; ok && v.Mark().Compare(before.Mark()) <= 0 {
			t.Errorf("%s: %v comes after %v", name, v.Mark(), before.Mark())
		}
		n.taken[v.Service] = v
	})
	m.SetServices(services())
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := m.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() { n.engine(ctx) })
	n.stop = func() { cancel(); wg.Wait() }
	t.Cleanup(n.stop)
	return n
}

// engine decides whenever it begins to lead.
func (n *real) engine(ctx context.Context) {
	led := map[string]bool{}
	for {
		for _, s := range services() {
			if leads := n.Leads(s); leads != led[s] {
				if led[s] = leads; leads {
					n.Decided(core.Vector{Service: s, Policy: "rr", Backends: []core.VectorBackend{{Name: "b1", Slots: core.Slots, Health: core.Up}}})
				}
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-n.Changed():
		}
	}
}

// agree reports whether every service has one leader among nodes, whom all follow.
func agree(nodes []*real) bool {
	for _, s := range services() {
		leader := slices.IndexFunc(nodes, func(n *real) bool { return n.Leads(s) })
		if leader < 0 {
			return false
		}
		name := nameOf(nodes[leader])
		for i, n := range nodes {
			n.mu.Lock()
			by := n.taken[s].Node
			n.mu.Unlock()
			if i != leader && (n.Leads(s) || by != name) {
				return false
			}
		}
	}
	return true
}

// nameOf is the member that n does not hear, since it is itself.
func nameOf(n *real) string {
	for _, m := range n.View().Members {
		if n.Counts(m.Node) && m.HeardSeconds == 0 {
			return m.Node
		}
	}
	return ""
}

func eventually(t *testing.T, what string, ok func() bool) time.Duration {
	t.Helper()
	begin := time.Now()
	for !ok() {
		if time.Since(begin) > patience {
			t.Fatalf("%s: not within %v", what, patience)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(begin)
}

// TestRealServer joins three nodes by a real nats-server, loses one, then the server.
func TestRealServer(t *testing.T) {
	port := bustest.FreePort(t)
	server := bustest.StartServer(t, port, nil)
	nodes := []*real{startReal(t, "lb1", port), startReal(t, "lb2", port), startReal(t, "lb3", port)}
	took := eventually(t, "three agree", func() bool { return agree(nodes) && len(nodes[0].View().Members) == 3 })
	t.Logf("three agreed within %v", took)

	nodes[0].stop()
	took = eventually(t, "two agree after the third left", func() bool { return agree(nodes[1:]) })
	t.Logf("after one left, two agreed within %v", took)

	server.Stop()
	took = eventually(t, "each is alone", func() bool {
		return !slices.ContainsFunc(services(), func(s string) bool { return !nodes[1].Leads(s) || !nodes[2].Leads(s) })
	})
	t.Logf("without the server each led all within %v", took)

	bustest.StartServer(t, port, nil)
	took = eventually(t, "two agree with the server back", func() bool { return agree(nodes[1:]) })
	t.Logf("with the server back two agreed within %v", took)
}

// TestTwinsOnARealServer: a balancer that was set up with a copy of another's configuration,
// name included, is told of by both.
func TestTwinsOnARealServer(t *testing.T) {
	port := bustest.FreePort(t)
	bustest.StartServer(t, port, nil)
	nodes := []*real{startReal(t, "lb1", port), startReal(t, "lb1", port)}
	for _, n := range nodes {
		eventually(t, "it shows that another has its name", func() bool { return n.View().Members[0].Twin })
	}
	nodes[1].stop()
	eventually(t, "it shows that the other is gone", func() bool { return !nodes[0].View().Members[0].Twin })
}
