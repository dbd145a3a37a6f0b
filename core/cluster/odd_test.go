// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/lab/bubbletest"
)

func TestTwoOfOneName(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		net := newNet()
		other := start(t, net, nodeSpec{name: "lb2"})
		first := start(t, net, nodeSpec{name: "lb1"})
		time.Sleep(settleTime)
		second := start(t, net, nodeSpec{name: "lb1"})
		time.Sleep(settleTime)
		for _, n := range []*node{other, first, second} {
			if !n.told(core.Error, "two nodes have the name lb1 (instances inst") {
				t.Errorf("%s did not tell of it: %v", n.name, n.events)
			}
			if got := twinsOf(n); got != "lb1" {
				t.Errorf("%s shows twins of %q, want of lb1", n.name, got)
			}
		}
		second.stop()
		time.Sleep(settleTime)
		for _, n := range []*node{other, first} {
			if got := twinsOf(n); got != "" {
				t.Errorf("when one of them has ended %s still shows twins of %q", n.name, got)
			}
		}
	})
}

// twinsOf are the names that two nodes have, as one of the group shows them.
func twinsOf(n *node) string {
	var names []string
	for _, m := range n.View().Members {
		if m.Twin {
			names = append(names, m.Node)
		}
	}
	return strings.Join(names, " ")
}

func TestPoison(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		net := newNet()
		nodes := startAll(t, net, 2)
		bad := net.bus(t, "lb9")
		far := uint64(time.Now().Add(48*time.Hour).UnixMilli()) << 8
		for i := range 20 {
			if err := bad.PublishVector(core.Vector{Service: "web1", Group: "g", Node: "lb9", Epoch: far, Seq: uint64(i + 1)}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		wantOneLeader(t, nodes)
		v := nodes[0].View()
		if v.Refused != 20 || v.Epoch >= far {
			t.Errorf("%d vectors were refused, want 20; the highest epoch is %d", v.Refused, v.Epoch)
		}
		told := 0
		for _, e := range nodes[0].events {
			if e.Severity == core.Error {
				told++
			}
		}
		if told != 1 || !nodes[0].told(core.Error, "the epoch of lb9 is more than a day ahead") {
			t.Errorf("it was told of %d times, want once: %v", told, nodes[0].events)
		}
	})
}

func TestView(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		net := newNet()
		nodes := startAll(t, net, 2)
		nodes[0].SetTargets(testTargets)
		nodes[1].SetSelf(func(p *core.Presence) { p.ConfigHash, p.Revision = "abc", 7 })
		time.Sleep(100 * time.Millisecond)
		v := nodes[0].View()
		if len(v.Members) != 2 || v.Members[0].Node != "lb1" || v.Members[1].Node != "lb2" {
			t.Fatalf("members: %+v", v.Members)
		}
		a, b := v.Members[0], v.Members[1]
		if a.Leads+b.Leads != len(testServices) || a.Leads != v.Leads || a.Leads == 0 || b.Leads == 0 {
			t.Errorf("services: %d and %d, and own %d", a.Leads, b.Leads, v.Leads)
		}
		if a.Probes+b.Probes != len(testTargets) || a.Probes != v.Probes || a.Probes == 0 || b.Probes == 0 {
			t.Errorf("targets: %d and %d, and own %d", a.Probes, b.Probes, v.Probes)
		}
		if b.State != core.MemberLive || b.ConfigHash != "abc" || b.Revision != 7 || b.HeardSeconds > 0.3 {
			t.Errorf("lb2: %+v", b)
		}
		if v.Takeovers == 0 || v.Taken == 0 {
			t.Errorf("%d takeovers, %d vectors taken", v.Takeovers, v.Taken)
		}
		nodes[1].end()
		time.Sleep(100 * time.Millisecond)
		if got := nodes[0].View().Members[1].State; got != core.MemberLeft {
			t.Errorf("lb2 is %s, want left", got)
		}
	})
}

// TestHammer calls everything at once, for the race detector.
func TestHammer(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		nodes := startAll(t, newNet(), 2)
		var wg sync.WaitGroup
		n := nodes[0]
		for _, f := range []func(int){
			func(i int) { n.Leads(testServices[i%len(testServices)]) },
			func(i int) { n.Counts("lb2") },
			func(i int) { n.Probes(testTargets[i%len(testTargets)].Addr, "http") },
			func(i int) { n.Decided(core.Vector{Service: testServices[i%len(testServices)]}) },
			func(i int) { n.Suspects(i%2 == 0) },
			func(i int) { n.SetServices(testServices[i%3:]) },
			func(i int) { n.SetTargets(testTargets) },
			func(i int) { n.SetSelf(func(p *core.Presence) { p.Revision = uint64(i) }) },
			func(i int) { n.Live("lb2"); n.Ahead("lb2") },
			func(i int) { n.View() },
		} {
			wg.Go(func() {
				for i := range 50 {
					f(i)
					time.Sleep(7 * time.Millisecond)
				}
			})
		}
		wg.Wait()
	})
}

// BenchmarkTick is one look at a thousand services of twenty nodes, which happens twenty
// times a second.
func BenchmarkTick(b *testing.B) {
	now := time.Unix(1_800_000_000, 0)
	s := newState(core.ClusterSpec{Group: "g", Scheduling: core.ScheduleLeader}, core.Presence{Node: "lb0", Roles: core.AllRoles, StartedAt: now})
	s.begin(now)
	var names []string
	for i := range 1000 {
		names = append(names, fmt.Sprint("web", i))
	}
	s.setServices(names, now)
	for i := range 20 {
		s.hear(core.Presence{Node: fmt.Sprint("lb", i), Inst: "i", Seq: 1, Roles: core.AllRoles, At: now, StartedAt: now}, now)
	}
	b.ReportAllocs()
	for b.Loop() {
		s.tick(now)
	}
}

// TestBusBlocks: a bus that takes nothing holds up neither the engine nor what is heard.
func TestBusBlocks(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		net := newNet()
		bus := &stuckBus{fakeBus: net.bus(t, "lb1"), stuck: make(chan struct{})}
		n := start(t, net, nodeSpec{name: "lb1", bus: bus})
		start(t, net, nodeSpec{name: "lb2"})
		time.Sleep(settleTime)
		begin := time.Now()
		for i := range 1000 {
			n.Decided(core.Vector{Service: testServices[i%len(testServices)]})
		}
		if took := time.Since(begin); took > 0 {
			t.Errorf("a thousand decisions took %v of fake time", took)
		}
		if got := len(n.View().Members); got != 2 {
			t.Errorf("%d members, want 2: what others say is heard", got)
		}
		close(bus.stuck)
	})
}

// A stuckBus does not take presences until stuck is closed.
type stuckBus struct {
	*fakeBus
	stuck chan struct{}
}

func (b *stuckBus) PublishPresence(p core.Presence) error {
	<-b.stuck
	return b.fakeBus.PublishPresence(p)
}

// A voiceless node may publish all but its vectors, as by a permission that is missing.
type voiceless struct{ *fakeBus }

func (voiceless) PublishVector(core.Vector) error { return nil }

// A node whose vectors nobody hears leads for itself, and others lead for the rest: it
// says so, and they go on.
func TestVectorsThatNobodyHears(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		net := newNet()
		other := start(t, net, nodeSpec{name: "lb2"})
		mute := start(t, net, nodeSpec{name: "lb1", bus: voiceless{net.bus(t, "lb1")}})
		nodes := []*node{other, mute}
		decide := func(number uint64) {
			for _, n := range nodes {
				for _, svc := range testServices {
					if n.Leads(svc) {
						n.Decided(core.Vector{Service: svc, Decision: number})
					}
				}
			}
		}
		for i := range 40 {
			decide(uint64(i))
			time.Sleep(time.Second)
		}
		for _, svc := range testServices {
			if !other.Leads(svc) {
				t.Errorf("lb2 goes without a leader of %s", svc)
			}
		}
		if !mute.told(core.Error, "and does not follow this node") {
			t.Errorf("lb1 did not tell: %v", mute.events)
		}
		told := 0
		for _, e := range mute.events {
			if e.Severity == core.Error {
				told++
			}
		}
		if told != 1 || other.told(core.Error, "") {
			t.Errorf("told %d times, and lb2 %v; want once, and lb2 never", told, other.events)
		}
	})
}

// More nodes than can be remembered have come and gone: the next one is heard all the same.
func TestRoomForOneMore(t *testing.T) {
	s := newState(core.ClusterSpec{Group: "g"}, core.Presence{Node: "lb1", Inst: "i1", Roles: core.AllRoles})
	now := time.Unix(1_800_000_000, 0)
	s.begin(now)
	said := func(name string) core.Presence {
		return core.Presence{Node: name, Group: "g", Inst: "i", Seq: 1, At: now, Roles: core.AllRoles, StartedAt: now}
	}
	for i := range maxMembers {
		s.hear(said(fmt.Sprint("lb-", i)), now)
	}
	s.hear(said("late"), now)
	if s.members["late"] != nil {
		t.Error("all are there, and one more has room")
	}
	now = now.Add(time.Hour)
	s.lastTick = now
	s.hear(said("late"), now)
	if s.members["late"] == nil || len(s.members) > maxMembers {
		t.Errorf("of %d members all are gone, and a new one is not heard", len(s.members))
	}
}
