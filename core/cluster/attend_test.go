// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/lab/bubbletest"
)

// A crew is nodes of a group that each carry connections of all services.
type crew struct {
	t     *testing.T
	net   *fakeNet
	nodes []*crewNode
}

type crewNode struct {
	*node
	flows *Flows
	own   *fakeCounter
}

// join adds a node with so many open connections of each service.
func (c *crew) join(s nodeSpec, open uint64) *crewNode {
	c.t.Helper()
	n := &crewNode{node: start(c.t, c.net, s), own: &fakeCounter{}}
	reported := map[string][]string{}
	counts := map[core.BackendID]core.FlowCount{}
	for _, svc := range testServices {
		reported[svc] = []string{"b1"}
		counts[core.BackendID{Service: svc, Backend: "b1"}] = core.FlowCount{Open: open}
	}
	n.own.counts = counts
	n.flows = NewFlows(FlowsConfig{Group: "g", Node: s.name, Inst: "of " + s.name, Own: n.own, Peers: n.Member, Bus: n.bus})
	n.flows.SetReported(reported)
	ctx, stop := context.WithCancel(c.t.Context())
	done := make(chan error, 1)
	go func() { done <- n.flows.Run(ctx) }()
	c.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			c.t.Error(err)
		}
	})
	c.nodes = append(c.nodes, n)
	return n
}

// crewOf are n nodes with 1, 10, 100 and so on connections, once they know one another.
func crewOf(t *testing.T, n int) *crew {
	t.Helper()
	c := &crew{t: t, net: newNet()}
	for i, open := 0, uint64(1); i < n; i, open = i+1, 10*open {
		c.join(nodeSpec{name: fmt.Sprintf("lb%d", i+1)}, open)
	}
	time.Sleep(settleTime)
	return c
}

// open is how many connections of a service a node counts.
func (n *crewNode) open(service string) uint64 {
	return n.flows.Counts()[core.BackendID{Service: service, Backend: "b1"}].Open
}

// hears is of how many services a node hears the reports.
func (n *crewNode) hears() int {
	n.bus.net.mu.Lock()
	defer n.bus.net.mu.Unlock()
	if n.bus.hearsAll {
		return len(testServices)
	}
	return len(n.bus.heard)
}

// byOne reports whether all services are heard by one pattern.
func (b *fakeBus) byOne() bool {
	b.net.mu.Lock()
	defer b.net.mu.Unlock()
	return b.hearsAll
}

// wantNearest checks that each service is heard by the first two for it, that the leader
// counts the connections of all, and everybody else its own.
func (c *crew) wantNearest(when string, sum uint64) {
	c.t.Helper()
	c.net.mu.Lock()
	names := make([]string, len(c.nodes))
	for i, n := range c.nodes {
		n.bus.got = nil
		names[i] = n.name
	}
	c.net.mu.Unlock()
	time.Sleep(reportAgain + reportEvery)
	got, want := map[string][]string{}, map[string][]string{}
	order := core.NewRendezvous(names)
	for _, n := range c.nodes {
		for _, svc := range testServices {
			if slices.Contains(order.Rank(core.KeyOf(svc), nearest), n.name) {
				want[n.name] = append(want[n.name], svc)
			}
		}
		c.net.mu.Lock()
		heard := map[string]bool{}
		for _, r := range n.bus.got {
			heard[r.Service] = true
		}
		c.net.mu.Unlock()
		for _, svc := range testServices {
			if heard[svc] {
				got[n.name] = append(got[n.name], svc)
			}
			own := n.own.Counts()[core.BackendID{Service: svc, Backend: "b1"}].Open
			if open := n.open(svc); n.Leads(svc) && open != sum || !n.Leads(svc) && open != own {
				c.t.Errorf("%s: %s counts %d connections of %s; leads %v, want %d of all or %d of its own", when, n.name, open, svc, n.Leads(svc), sum, own)
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		c.t.Errorf("%s: services whose connections are heard (-want +got):\n%s", when, diff)
	}
}

// TestFlowsAreHeardByTwo: by who leads a service and by who would next, and a takeover
// begins with what the others carry.
func TestFlowsAreHeardByTwo(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		c := crewOf(t, 5)
		c.wantNearest("five", 11111)

		first := c.nodes[0]
		led := first.led()
		first.kill(c.net)
		c.nodes = c.nodes[1:]
		waiting := map[string]bool{}
		for _, svc := range led {
			waiting[svc] = true
		}
		for range 300 { // 3 s, in which the connections of the dead one count
			time.Sleep(10 * time.Millisecond)
			for svc := range waiting {
				i := slices.IndexFunc(c.nodes, func(n *crewNode) bool { return n.Leads(svc) })
				if i < 0 {
					continue
				}
				delete(waiting, svc)
				if open := c.nodes[i].open(svc); open != 11111 && open != 11110 {
					t.Errorf("%s begins to lead %s with %d connections, want those of all", c.nodes[i].name, svc, open)
				}
			}
		}
		if len(waiting) > 0 {
			t.Errorf("nobody leads %v", slices.Collect(maps.Keys(waiting)))
		}
		c.wantNearest("one is dead", 11110)
	})
}

// A newcomer hears what it will lead before it leads it, and soon has all, whenever it
// comes between two reports of what does not change.
func TestFlowsOfANewcomer(t *testing.T) {
	for phase := range reportAgain / reportEvery {
		bubbletest.Run(t, func(t *testing.T) {
			c := crewOf(t, 3)
			time.Sleep(phase * reportEvery)
			n := c.join(nodeSpec{name: "lb4"}, 1000)
			until(t, "it leads", 10*time.Second, func() bool { return len(n.led()) > 0 })
			if n.hears() == 0 {
				t.Error("it leads and hears nobody")
			}
			time.Sleep(2 * reportEvery)
			for _, svc := range n.led() {
				if open := n.open(svc); open != 1111 {
					t.Errorf("it leads %s with %d connections, want 1111", svc, open)
				}
			}
			c.wantNearest("four", 1111)
		})
	}
}

// Two nodes need everything, which is one pattern; one needs nothing.
func TestFlowsOfFew(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		c := crewOf(t, 1)
		if n := c.nodes[0].hears(); n != 0 {
			t.Errorf("alone it hears %d services", n)
		}
		c.join(nodeSpec{name: "lb2"}, 10)
		time.Sleep(settleTime)
		for _, n := range c.nodes {
			if !n.bus.byOne() {
				t.Errorf("%s hears %d services one by one, want all by one pattern", n.name, n.hears())
			}
		}
		c.wantNearest("two", 11)
	})
}

// Who never decides hears nobody, and who decides by itself hears all.
func TestFlowsByRole(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		c := crewOf(t, 2)
		idle := c.join(nodeSpec{name: "a1", roles: core.Roles{Apply: true}}, 100)
		time.Sleep(settleTime)
		if n := idle.hears(); n != 0 {
			t.Errorf("a node without the role schedule hears %d services", n)
		}
		if open := idle.open(testServices[0]); open != 100 {
			t.Errorf("it counts %d connections, want its own 100", open)
		}
	})
	bubbletest.Run(t, func(t *testing.T) {
		c := &crew{t: t, net: newNet()}
		for i, open := range []uint64{1, 10, 100} {
			c.join(nodeSpec{name: fmt.Sprintf("lb%d", i+1), spec: core.ClusterSpec{Group: "g", Probers: 1, Scheduling: core.ScheduleLocal}}, open)
		}
		time.Sleep(settleTime)
		for _, n := range c.nodes {
			if open := n.open(testServices[0]); open != 111 {
				t.Errorf("%s decides for itself by %d connections, want 111", n.name, open)
			}
		}
	})
}

// TestFlowsWhileCutOff: a node that hears nobody leads all and asks for no more than
// before. If all of a large group did, the reports of all services to all of them would be
// what meets the servers that come back.
func TestFlowsWhileCutOff(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		c := crewOf(t, 5)
		n, before := c.nodes[0], c.nodes[0].hears()
		c.net.sever("lb1")
		for i := range 600 { // 30 s apart, 30 s together
			time.Sleep(100 * time.Millisecond)
			if i == 300 {
				if len(n.led()) != len(testServices) {
					t.Errorf("alone it leads %d services", len(n.led()))
				}
				c.net.join()
			}
			if got := n.hears(); got != before {
				t.Fatalf("after %d00 ms it hears %d services, want %d as before", i, got, before)
			}
		}
		c.wantNearest("together again", 11111)
	})
}

// TestFlowsOfAnOrphan: a service that the first two do not have is led by another, which
// then hears its connections.
func TestFlowsOfAnOrphan(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		c := &crew{t: t, net: newNet()}
		names := []string{"lb1", "lb2", "lb3", "lb4"}
		svc := testServices[0]
		order := core.NewRendezvous(names).Rank(core.KeyOf(svc), len(names))
		var third *crewNode
		for i, name := range names {
			s := nodeSpec{name: name}
			if slices.Contains(order[:nearest], name) {
				s.services = testServices[1:]
			}
			if n := c.join(s, uint64(i+1)); name == order[nearest] {
				third = n
			}
		}
		time.Sleep(settleTime)
		until(t, "the third leads", 20*time.Second, func() bool { return third.Leads(svc) })
		until(t, "it counts those of all", steadyAfter+reportAgain+reportEvery, func() bool { return third.open(svc) == 1+2+3+4 })
	})
}

// A bus whose subscriptions take for ever.
type stuckEars struct {
	*fakeBus
	stuck chan struct{}
}

func (b stuckEars) SubscribeFlows(group string, fn func(core.FlowReport)) (func([]string, bool) error, func(), error) {
	hear, cancel, err := b.fakeBus.SubscribeFlows(group, fn)
	return func(s []string, all bool) error {
		<-b.stuck
		return hear(s, all)
	}, cancel, err
}

// TestFlowsHoldUpNobody: however long it takes to hear, the node takes part.
func TestFlowsHoldUpNobody(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		net := newNet()
		nodes := startAll(t, net, 3)
		n := nodes[0]
		ears := stuckEars{n.bus, make(chan struct{})}
		f := NewFlows(FlowsConfig{Group: "g", Node: "lb1", Inst: "i", Peers: n.Member, Bus: ears})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- f.Run(ctx) }()
		nodes[2].kill(net)
		time.Sleep(settleTime)
		wantOneLeader(t, nodes[:2])
		close(ears.stuck)
		time.Sleep(time.Second)
		if !n.bus.byOne() {
			t.Error("it hears less than it must, with one other node")
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestFlowsOfALead: what others closed counts from the begin of a lead on, and no lead
// begins or ends with a burst.
func TestFlowsOfALead(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		net, peers := newNet(), &fakePeers{gone: map[string]bool{}}
		a := startFlows(t, net, peers, "lb1", "i1")
		lb2 := net.bus(t, "lb2")
		report := func(open, closed uint64) {
			r := core.FlowReport{Node: "lb2", Inst: "i2", Service: "web", At: time.Now(), Live: true,
				Backends: []core.FlowOf{{Name: "web1", Open: open, Closed: closed}}}
			if err := lb2.PublishFlows(r, "g"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		time.Sleep(time.Second)
		a.own.set("web1", core.FlowCount{Open: 5, Closed: 100})
		peers.lead(false)
		report(3, 1000)
		report(4, 2000)
		a.want(t, "another leads", core.FlowCount{Open: 5, Closed: 100})
		peers.lead(true)
		a.want(t, "the lead begins", core.FlowCount{Open: 9, Abroad: 4, Closed: 100})
		report(4, 2010)
		a.want(t, "ten closed", core.FlowCount{Open: 9, Abroad: 4, Closed: 110})
		peers.lead(false)
		a.want(t, "the lead ends", core.FlowCount{Open: 5, Closed: 100})
		report(4, 3000)
		peers.lead(true)
		a.want(t, "it begins again", core.FlowCount{Open: 9, Abroad: 4, Closed: 100})
		report(4, 3001)
		a.want(t, "one closed", core.FlowCount{Open: 9, Abroad: 4, Closed: 101})

		// Its own are of a reading now and then, and so would the sum be.
		if _, live := a.AsOf(); !live {
			t.Error("all are live, and the sum is not")
		}
		r := core.FlowReport{Node: "lb2", Inst: "i2", Service: "web", At: time.Now().Add(-time.Minute), Backends: []core.FlowOf{{Name: "web1", Open: 4}}}
		if err := lb2.PublishFlows(r, "g"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if _, live := a.AsOf(); live {
			t.Error("the counts of lb2 are old, and the sum is live")
		}
		peers.lead(false)
		if _, live := a.AsOf(); !live {
			t.Error("the counts of lb2 are in no sum, and make the own ones old")
		}
	})
}
