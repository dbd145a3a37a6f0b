// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
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

func TestTwoOfOneName(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		net := newNet()
		other := start(t, net, nodeSpec{name: "lb2"})
		start(t, net, nodeSpec{name: "lb1"})
		time.Sleep(settleTime)
		start(t, net, nodeSpec{name: "lb1"})
		time.Sleep(settleTime)
		if !other.told(core.Error, "two nodes have the name lb1 (instances inst") {
			t.Errorf("nobody told of it: %v", other.events)
		}
	})
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

func TestEpochKept(t *testing.T) {
	dir := t.TempDir()
	bubbletest.Run(t, func(t *testing.T) {
		n := start(t, newNet(), nodeSpec{name: "lb1", dir: dir})
		time.Sleep(settleTime)
		epoch := n.View().Epoch
		n.end()
		again := start(t, newNet(), nodeSpec{name: "lb1", dir: dir})
		if got := again.View().Epoch; got != epoch || epoch == 0 {
			t.Errorf("after a restart the highest epoch is %d, want %d", got, epoch)
		}
	})
}

// TestEpochFileBroken: a node starts with whatever is on its disk, and says so.
func TestEpochFileBroken(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"cut off":   {"12", "its line has no end"},
		"empty":     {"", "its line has no end"},
		"no number": {"x\n", "want one number"},
		"too far":   {"18446744073709551615\n", "more than a day ahead"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "cluster-epoch"), []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			var log strings.Builder
			m, err := New(Config{
				Spec: core.ClusterSpec{Group: "g"}, Self: core.Presence{Node: "lb1", Inst: "i"}, Dir: dir,
				Log: slog.New(slog.NewTextHandler(&log, nil)),
			})
			if err != nil {
				t.Fatal(err)
			}
			if !contains(log.String(), test.want) || !contains(log.String(), dir) {
				t.Errorf("logged %q, want the path and %q", log.String(), test.want)
			}
			if err := m.epochs.write(77); err != nil {
				t.Error(err)
			}
			if f, err := openEpochFile(dir, time.Now()); err != nil || f.kept != 77 {
				t.Errorf("after a write: %+v, %v", f, err)
			}
		})
	}
}

func FuzzParseEpoch(f *testing.F) {
	f.Add("439000000000000\n")
	f.Add("")
	f.Add("-1\n")
	f.Fuzz(func(t *testing.T, text string) {
		n, err := parseEpoch(text)
		if err == nil && fmt.Sprintln(n) != text && !strings.HasPrefix(text, "0") && !strings.HasPrefix(text, "+") {
			t.Errorf("%q is read as %d", text, n)
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
