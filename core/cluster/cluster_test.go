// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/lab/bubbletest"
)

func contains(s, part string) bool { return strings.Contains(s, part) }

// settleTime is enough for nodes that start together.
const settleTime = 4 * time.Second

// startAll starts lb1 to lbN and waits until they have settled.
func startAll(t *testing.T, net *fakeNet, n int) []*node {
	t.Helper()
	var out []*node
	for i := range n {
		out = append(out, start(t, net, nodeSpec{name: fmt.Sprintf("lb%d", i+1)}))
	}
	time.Sleep(settleTime)
	wantOneLeader(t, out)
	return out
}

// wantOneLeader checks that each service has one leader, the first choice, whose vector
// the others have.
func wantOneLeader(t *testing.T, nodes []*node) {
	t.Helper()
	synctest.Wait()
	var names []string
	for _, n := range nodes {
		names = append(names, n.name)
	}
	order := core.NewRendezvous(names)
	for _, s := range testServices {
		first := order.Rank(core.KeyOf(s), 1)[0]
		for _, n := range nodes {
			if n.Leads(s) != (n.name == first) {
				t.Errorf("%s leads %s: %v, and the first choice is %s", n.name, s, n.Leads(s), first)
			}
			n.mu.Lock()
			if by := n.taken[s].Node; n.name != first && by != first {
				t.Errorf("%s follows %q for %s, want %s", n.name, by, s, first)
			}
			n.mu.Unlock()
		}
	}
}

// until waits until ok, which must be within limit, and returns how long it took.
func until(t *testing.T, what string, limit time.Duration, ok func() bool) time.Duration {
	t.Helper()
	begin := time.Now()
	for !ok() {
		if time.Since(begin) > limit {
			t.Fatalf("%s: not within %v", what, limit)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(begin)
}

// testTargets are what the nodes probe.
var testTargets = func() (out []Target) {
	for i := range 200 {
		out = append(out, Target{netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 80), "http"})
	}
	return out
}()

// probers are how many of the nodes probe each target: the least and the most.
func probers(nodes []*node) (least, most int) {
	least = len(nodes)
	for _, target := range testTargets {
		n := 0
		for _, o := range nodes {
			if o.Probes(target.Addr, target.Probe) {
				n++
			}
		}
		least, most = min(least, n), max(most, n)
	}
	return least, most
}

func wantProbedOnce(t *testing.T, nodes []*node) {
	t.Helper()
	if least, most := probers(nodes); least != 1 || most != 1 {
		t.Errorf("targets are probed by %d to %d nodes, want 1", least, most)
	}
}

func TestShared(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		nodes := startAll(t, newNet(), 3)
		wantProbedOnce(t, nodes)
		var takeovers uint64
		for _, n := range nodes {
			takeovers += n.View().Takeovers
			if len(n.led()) == 0 {
				t.Errorf("%s leads nothing", n.name)
			}
			for _, o := range nodes {
				if !n.Counts(o.name) {
					t.Errorf("at %s the verdicts of %s do not count", n.name, o.name)
				}
			}
			if n.Counts("lb9") {
				t.Error("the verdicts of a node that nobody knows count")
			}
		}
		if takeovers != uint64(len(testServices)) {
			t.Errorf("%d leads began for %d services, want one each", takeovers, len(testServices))
		}
	})
}

func TestKilled(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		net := newNet()
		nodes := startAll(t, net, 3)
		nodes[0].kill(net)
		rest := nodes[1:]
		took := until(t, "services move", 1500*time.Millisecond, func() bool {
			return len(rest[0].led())+len(rest[1].led()) == len(testServices)
		})
		t.Logf("services moved within %v", took)
		if !rest[0].Counts("lb1") {
			t.Error("its verdicts count no more though it is silent for a second only")
		}
		took += until(t, "targets move", 4*time.Second, func() bool { least, _ := probers(rest); return least == 1 })
		t.Logf("targets moved within %v", took)
		time.Sleep(time.Second)
		wantOneLeader(t, rest)
		wantProbedOnce(t, rest)
		if rest[0].Counts("lb1") {
			t.Error("the verdicts of a node that is gone count")
		}
		if !rest[0].told(core.Warn, "lb1 is silent") {
			t.Errorf("nobody told of it: %v", rest[0].events)
		}
		if gap := rest[0].View().GapSeconds; gap < 0.7 || gap > 1.5 {
			t.Errorf("longest gap: %v s, want about 1.1", gap)
		}
	})
}

func TestLeaving(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		nodes := startAll(t, newNet(), 3)
		nodes[0].end()
		rest := nodes[1:]
		took := until(t, "all moves", 100*time.Millisecond, func() bool {
			least, _ := probers(rest)
			return least == 1 && len(rest[0].led())+len(rest[1].led()) == len(testServices)
		})
		t.Logf("all moved within %v", took)
		if rest[0].Counts("lb1") {
			t.Error("the verdicts of a node that left count")
		}
	})
}

func TestJoining(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		net := newNet()
		nodes := startAll(t, net, 2)
		last := start(t, net, nodeSpec{name: "lb3"})
		took := until(t, "the newcomer has all vectors", 300*time.Millisecond, func() bool {
			last.mu.Lock()
			defer last.mu.Unlock()
			return len(last.taken) == len(testServices)
		})
		t.Logf("the newcomer had all vectors within %v", took)
		nodes = append(nodes, last)
		took += until(t, "the newcomer has its part", 3*time.Second, func() bool {
			_, most := probers([]*node{last})
			least, _ := probers(nodes)
			if least == 0 {
				t.Fatal("a target is probed by nobody")
			}
			return len(last.led()) > 0 && most == 1
		})
		t.Logf("it had its part within %v", took)
		time.Sleep(time.Second)
		wantOneLeader(t, nodes)
		wantProbedOnce(t, nodes)
	})
}

func TestRestarted(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		net := newNet()
		nodes := startAll(t, net, 3)
		nodes[0].kill(net)
		again := start(t, net, nodeSpec{name: "lb1"})
		until(t, "it has all vectors", 1500*time.Millisecond, func() bool {
			again.mu.Lock()
			defer again.mu.Unlock()
			return len(again.taken) == len(testServices)
		})
		if led := again.led(); len(led) > 0 {
			t.Errorf("it leads %v before it knows anything", led)
		}
		if led := len(nodes[1].led()) + len(nodes[2].led()); led != len(testServices) {
			t.Errorf("the others lead %d services, want %d", led, len(testServices))
		}
		time.Sleep(settleTime)
		wantOneLeader(t, []*node{again, nodes[1], nodes[2]})
	})
}

// TestFlapping: a node that comes and goes moves nothing.
func TestFlapping(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		net := newNet()
		nodes := startAll(t, net, 2)
		takeovers := func() uint64 { return nodes[0].View().Takeovers + nodes[1].View().Takeovers }
		before := takeovers()
		for range 5 {
			n := start(t, net, nodeSpec{name: "lb3"})
			time.Sleep(1900 * time.Millisecond)
			if led := n.led(); len(led) > 0 {
				t.Errorf("it leads %v", led)
			}
			if least, _ := probers(nodes); least == 0 {
				t.Error("a target is left to it")
			}
			n.kill(net)
		}
		time.Sleep(settleTime)
		if got := takeovers() - before; got > 0 {
			t.Errorf("services moved %d times", got)
		}
	})
}

func TestCutOff(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		net := newNet()
		nodes := startAll(t, net, 3)
		net.sever("lb1")
		time.Sleep(40 * time.Second)
		if got := len(nodes[0].led()); got != len(testServices) {
			t.Errorf("alone it leads %d services, want all %d", got, len(testServices))
		}
		wantProbedOnce(t, nodes[:1])
		wantProbedOnce(t, nodes[1:])
		sent := len(nodes[0].bus.vectors)
		net.join()
		time.Sleep(settleTime)
		wantOneLeader(t, nodes)
		wantProbedOnce(t, nodes)
		// What it decided alone is in nobody's interest now.
		for _, v := range nodes[0].bus.vectors[sent:] {
			if !nodes[0].Leads(v.Service) {
				t.Errorf("it sent what it had decided alone for %s", v.Service)
			}
		}
	})
}

func TestAlone(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		net := newNet()
		n := start(t, net, nodeSpec{name: "lb1"})
		took := until(t, "it leads all", 1200*time.Millisecond, func() bool { return len(n.led()) == len(testServices) })
		t.Logf("it led all within %v", took)
		wantProbedOnce(t, []*node{n})
		time.Sleep(20 * time.Second)
		if sent := len(n.bus.vectors); sent > 0 {
			t.Errorf("%d vectors were sent to nobody", sent)
		}
	})
}

// A node that joins a large group takes thousands of services over, one by one: what each
// costs the node that yields them must not grow with how many there are.
func TestYieldIsCheap(t *testing.T) {
	const few, many = 1000, 8000
	yielding := func(n int) uint64 { // bytes that are allocated for each
		m, err := New(Config{Spec: core.ClusterSpec{Group: "g"}, Self: core.Presence{Node: "lb1", Inst: "i1", Roles: core.AllRoles}})
		if err != nil {
			t.Fatal(err)
		}
		names := make([]string, n)
		for i := range names {
			names[i] = fmt.Sprint("web", i)
		}
		m.SetServices(names)
		m.step(func(s *state, now time.Time) {
			s.begin(now.Add(-time.Minute))
			s.lastTick = now
			s.tick(now)
			s.hear(core.Presence{Node: "lb2", Group: "g", Inst: "i2", Seq: 1, At: now, Roles: core.AllRoles, StartedAt: now}, now)
		})
		epoch := core.NextEpoch(m.epoch(), time.Now(), "lb2")
		before := allocated()
		for _, name := range names {
			if !m.Leads(name) {
				t.Fatalf("lb1 does not lead %s", name)
			}
			m.step(func(s *state, now time.Time) {
				s.hearVector(core.Vector{Service: name, Group: "g", Node: "lb2", Epoch: epoch, Seq: 1}, now)
			})
			if m.Leads(name) {
				t.Fatalf("lb1 leads %s still", name)
			}
		}
		return (allocated() - before) / uint64(n)
	}
	short, long := yielding(few), yielding(many)
	if long > 2*short+1024 {
		t.Errorf("one of %d services is yielded with %d bytes, one of %d with %d", few, short, many, long)
	}
}

// allocated is how many bytes were allocated since the start.
func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// What happens in the group is in the log of each node, too, and not only on a bus that
// may be what is broken.
func TestEventsAreLogged(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		var text strings.Builder
		net := newNet()
		m, err := New(Config{
			Spec: core.ClusterSpec{Group: "g"}, Self: core.Presence{Node: "lb1", Inst: "i1", Roles: core.AllRoles},
			Bus: net.bus(t, "lb1"), Log: slog.New(slog.NewTextHandler(&text, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- m.Run(ctx) }()
		start(t, net, nodeSpec{name: "lb2"})
		time.Sleep(time.Second)
		net.sever("lb2")
		time.Sleep(3 * time.Second)
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		for _, want := range []string{"level=INFO msg=\"lb2 is here: probe,schedule,apply (v1)\" part=cluster", "level=WARN msg=\"lb2 is silent;"} {
			if !strings.Contains(text.String(), want) {
				t.Errorf("the log lacks %q:\n%s", want, text.String())
			}
		}
	})
}
