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

// A carrier is a Member on a real bus that carries connections, and counts what the bus
// delivers of those of others.
type carrier struct {
	*bus.Bus
	*cluster.Member
	name  string
	flows *cluster.Flows

	mu    sync.Mutex
	open  uint64              // of each service; guarded by mu
	heard map[string][]uint64 // by service, Open of what was delivered; guarded by mu
}

func (c *carrier) SubscribeFlows(group string, fn func(core.FlowReport)) (func([]string, bool) error, func(), error) {
	return c.Bus.SubscribeFlows(group, func(r core.FlowReport) {
		c.mu.Lock()
		c.heard[r.Service] = append(c.heard[r.Service], r.Backends[0].Open)
		c.mu.Unlock()
		fn(r)
	})
}

// Counts are its own.
func (c *carrier) Counts() map[core.BackendID]core.FlowCount {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[core.BackendID]core.FlowCount{}
	for _, svc := range services() {
		out[core.BackendID{Service: svc, Backend: "b1"}] = core.FlowCount{Open: c.open}
	}
	return out
}

func (c *carrier) AsOf() (time.Time, bool)      { return time.Time{}, true }
func (c *carrier) SetIdle(core.BackendID, bool) {}

// total is what it counts with what it hears.
func (c *carrier) total(service string) uint64 {
	return c.flows.Counts()[core.BackendID{Service: service, Backend: "b1"}].Open
}

// carry has each node carry another number of connections, and begins to count what is
// delivered anew.
func carry(nodes []*carrier, open uint64) {
	for i, c := range nodes {
		c.mu.Lock()
		c.open = open + uint64(i)
		clear(c.heard)
		c.mu.Unlock()
	}
}

func startCarrier(t *testing.T, name string, port int) *carrier {
	t.Helper()
	c := &carrier{name: name, heard: map[string][]uint64{}}
	c.Bus = bustest.StartWith(t, bus.Options{Node: name, Servers: []string{fmt.Sprintf("nats://127.0.0.1:%d", port)}})
	var err error
	c.Member, err = cluster.New(cluster.Config{
		Spec: core.ClusterSpec{Group: "g", Probers: 1, Quorum: 1, Scheduling: core.ScheduleLeader}, Bus: c.Bus,
		Self: core.Presence{Node: name, Inst: "of " + name, Roles: core.AllRoles, StartedAt: time.Now()},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.SetServices(services())
	c.flows = cluster.NewFlows(cluster.FlowsConfig{Group: "g", Node: name, Inst: "of " + name, Own: c, Peers: c.Member, Bus: c})
	reported := map[string][]string{}
	for _, svc := range services() {
		reported[svc] = []string{"b1"}
	}
	c.flows.SetReported(reported)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for _, run := range []func(context.Context) error{c.Member.Run, c.flows.Run} {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Go(func() { c.engine(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return c
}

// engine decides whenever it begins to lead.
func (c *carrier) engine(ctx context.Context) {
	n := &real{Member: c.Member}
	n.engine(ctx)
}

// TestRealFlows: over a real nats-server, a report of a service is delivered to who leads it
// and to who would next, and the leader has the sum of all.
func TestRealFlows(t *testing.T) {
	port := bustest.FreePort(t)
	bustest.StartServer(t, port, nil)
	var nodes []*carrier
	var names []string
	for i := range 4 {
		nodes = append(nodes, startCarrier(t, fmt.Sprint("lb", i+1), port))
		names = append(names, nodes[i].name)
	}
	order := core.NewRendezvous(names)
	open := uint64(1000)
	carry(nodes, open)
	begun := time.Now()
	// A machine that stands still for a second moves leads; then it counts anew.
	eventually(t, "each report goes to two of four nodes", func() bool {
		if time.Since(begun) > 5*time.Second {
			open += 1000
			carry(nodes, open)
			begun = time.Now()
		}
		sum := 4*open + 0 + 1 + 2 + 3
		for _, svc := range services() {
			first := order.Rank(core.KeyOf(svc), 2)
			for i, c := range nodes {
				c.mu.Lock()
				fresh := slices.IndexFunc(c.heard[svc], func(n uint64) bool { return n >= open }) >= 0
				c.mu.Unlock()
				want := open + uint64(i)
				if leads := c.name == first[0]; leads != c.Leads(svc) {
					return false
				} else if leads {
					want = sum
				}
				if fresh != slices.Contains(first, c.name) || c.total(svc) != want {
					return false
				}
			}
		}
		return true
	})
}
