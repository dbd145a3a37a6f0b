// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
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

// TestUnnoticedYield: a lead that ended and began again before the engine looked is one to
// the engine, which decides nothing, and what it had decided must be heard.
func TestUnnoticedYield(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	s := newState(core.ClusterSpec{Group: "g", Scheduling: core.ScheduleLeader}, core.Presence{Node: "lb1", Roles: core.AllRoles, StartedAt: now})
	s.begin(now)
	s.setServices([]string{"web"}, now)
	seq := uint64(0)
	pass := func(d time.Duration, others ...core.Presence) {
		for end := now.Add(d); now.Before(end); {
			now = now.Add(tickEvery)
			for _, p := range others {
				seq++
				p.Inst, p.Seq, p.At, p.StartedAt = "of "+p.Node, seq, now, now.Add(-time.Hour)
				s.hear(p, now)
			}
			s.tick(now)
		}
	}
	applier := core.Presence{Node: "a1", Roles: core.Roles{Apply: true}}
	pass(3*time.Second, applier)
	if !s.decided(core.Vector{Service: "web", Decision: 7}, now) || len(s.due(now)) != 1 {
		t.Fatal("it does not lead alone")
	}
	lb2 := core.Presence{Node: "lb2", Roles: core.AllRoles}
	pass(200*time.Millisecond, applier, lb2)
	s.hearVector(core.Vector{Service: "web", Node: "lb2", Epoch: s.seen + 1, Seq: 1}, now)
	if s.services["web"].ballot.Leads() {
		t.Fatal("it leads in spite of a higher epoch")
	}
	before := s.seen
	lb2.Leaving = true
	pass(tickEvery, applier, lb2)
	if !s.services["web"].ballot.Leads() {
		t.Fatal("it does not lead though lb2 has left")
	}
	pass(decideWithin, applier)
	if got := s.due(now); len(got) != 1 || got[0].Decision != 7 || got[0].Epoch <= before {
		t.Errorf("sent %+v, want decision 7 with an epoch above %d", got, before)
	}
}

// TestSlowStart: what takes long between New and Run is no time in which others were silent.
func TestSlowStart(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		net := newNet()
		var told []core.Event
		m, err := New(Config{
			Spec: core.ClusterSpec{Group: "g", Probers: 1, Scheduling: core.ScheduleLeader}, Bus: net.bus(t, "lb1"),
			Self:  core.Presence{Node: "lb1", Inst: "i", Roles: core.AllRoles, StartedAt: time.Now()},
			Event: func(e core.Event) { told = append(told, e) },
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		m.SetServices(testServices)
		if m.Leads(testServices[0]) {
			t.Error("it leads before it has listened")
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- m.Run(ctx) }()
		time.Sleep(listenFor / 2)
		if m.Leads(testServices[0]) {
			t.Error("it leads before it has listened for long enough")
		}
		time.Sleep(listenFor)
		if !m.Leads(testServices[0]) {
			t.Error("it does not lead alone")
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		for _, e := range told {
			if e.Severity != core.Info {
				t.Errorf("told: %s", e.Message)
			}
		}
	})
}
