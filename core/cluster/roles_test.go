// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/lab/bubbletest"
)

func TestSuspects(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		nodes := startAll(t, newNet(), 3)
		nodes[0].Suspects(true)
		took := until(t, "others take its targets over", 100*time.Millisecond, func() bool {
			least, _ := probers(nodes[1:])
			return least == 1 && !nodes[1].Counts("lb1")
		})
		t.Logf("its targets moved within %v", took)
		if _, most := probers(nodes[:1]); most == 0 {
			t.Error("it probes nothing and will never know that it is well")
		}
		wantOneLeader(t, nodes)
		nodes[1].Suspects(true)
		nodes[2].Suspects(true)
		time.Sleep(time.Second)
		wantProbedOnce(t, nodes)
		for _, n := range nodes {
			n.Suspects(false)
		}
		time.Sleep(time.Second)
		wantProbedOnce(t, nodes)
	})
}

func TestRoles(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		net := newNet()
		var nodes []*node
		for name, roles := range map[string]core.Roles{
			"p1": {Probe: true}, "p2": {Probe: true}, "s1": {Schedule: true}, "a1": {Apply: true}, "a2": {Apply: true},
		} {
			nodes = append(nodes, start(t, net, nodeSpec{name: name, roles: roles}))
		}
		time.Sleep(settleTime)
		wantProbedOnce(t, nodes)
		for _, n := range nodes {
			want := 0
			if n.name == "s1" {
				want = len(testServices)
			}
			if got := len(n.led()); got != want {
				t.Errorf("%s leads %d services, want %d", n.name, got, want)
			}
			if n.Counts("s1") && n.name != "s1" {
				t.Errorf("at %s the verdicts of a node that does not probe count", n.name)
			}
		}
		s1 := nodes[slices.IndexFunc(nodes, func(n *node) bool { return n.name == "s1" })]
		s1.SetSelf(func(p *core.Presence) { p.Roles = core.Roles{Apply: true} })
		if got := len(s1.led()); got != 0 {
			t.Errorf("without the role it leads %d services", got)
		}
	})
}

func TestProbers(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		net := newNet()
		var nodes []*node
		for i := range 4 {
			nodes = append(nodes, start(t, net, nodeSpec{name: fmt.Sprintf("lb%d", i+1), spec: core.ClusterSpec{Group: "g", Probers: 2, Quorum: 2, Scheduling: core.ScheduleLocal}}))
		}
		time.Sleep(settleTime)
		if least, most := probers(nodes); least != 2 || most != 2 {
			t.Errorf("targets are probed by %d to %d nodes, want 2", least, most)
		}
		for _, n := range nodes {
			if got := len(n.led()); got != len(testServices) {
				t.Errorf("%s decides %d services for itself, want all", n.name, got)
			}
			if len(n.taken) > 0 || len(n.bus.vectors) > 0 {
				t.Errorf("%s exchanged vectors", n.name)
			}
		}
	})
}

// TestNewService: who reloads after the leader follows it at once.
func TestNewService(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		net := newNet()
		few := testServices[:1]
		nodes := []*node{start(t, net, nodeSpec{name: "lb1", services: few}), start(t, net, nodeSpec{name: "lb2", services: few})}
		time.Sleep(settleTime)
		nodes[0].SetServices(testServices)
		time.Sleep(2 * time.Second)
		led := nodes[0].led()
		nodes[1].SetServices(testServices)
		synctest.Wait()
		for _, s := range led {
			nodes[1].mu.Lock()
			if by := nodes[1].taken[s].Node; by != "lb1" {
				t.Errorf("lb2 follows %q for %s, want lb1", by, s)
			}
			nodes[1].mu.Unlock()
		}
		time.Sleep(settleTime)
		wantOneLeader(t, nodes)
		if got := nodes[0].View().Takeovers + nodes[1].View().Takeovers; got != uint64(len(testServices)) {
			t.Errorf("%d leads began for %d services", got, len(testServices))
		}
	})
}

// TestOnlyHere: a service that the first choice does not have is led by the next.
func TestOnlyHere(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		net := newNet()
		lb1 := start(t, net, nodeSpec{name: "lb1"})
		start(t, net, nodeSpec{name: "lb2", services: testServices[:1]})
		time.Sleep(settleTime)
		until(t, "lb1 leads what lb2 does not have", 4*time.Second, func() bool { return len(lb1.led()) >= len(testServices)-1 })
	})
}
