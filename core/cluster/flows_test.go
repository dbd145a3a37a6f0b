// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/lab/bubbletest"
)

// A fakeCounter counts what a test says.
type fakeCounter struct {
	mu     sync.Mutex
	counts map[core.BackendID]core.FlowCount
	at     time.Time // zero: live
	down   []core.BackendID
	idle   []core.BackendID
}

func (c *fakeCounter) set(backend string, f core.FlowCount) {
	c.mu.Lock()
	defer c.mu.Unlock()
	counts := map[core.BackendID]core.FlowCount{}
	for id, old := range c.counts {
		counts[id] = old
	}
	counts[core.BackendID{Service: "web", Backend: backend}] = f
	c.counts = counts
}

// read makes the counts those of a reading now.
func (c *fakeCounter) read() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = time.Now()
}

func (c *fakeCounter) Counts() map[core.BackendID]core.FlowCount {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts
}

func (c *fakeCounter) AsOf() (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at, c.at.IsZero()
}

func (c *fakeCounter) SetIdle(b core.BackendID, _ bool)        { c.idle = append(c.idle, b) }
func (c *fakeCounter) SetDown(b core.BackendID, _ core.OnDown) { c.down = append(c.down, b) }
func (c *fakeCounter) SetUp(core.BackendID)                    {}

// fakePeers are all live, but for those in gone. Their node leads all but one service.
type fakePeers struct {
	mu    sync.Mutex
	gone  map[string]bool
	ahead time.Duration
	other string // the one that another node leads
}

func (p *fakePeers) Live(node string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.gone[node]
}

func (p *fakePeers) Ahead(string) time.Duration { return p.ahead }

func (p *fakePeers) Leads(service string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return service != p.other
}

func (p *fakePeers) lead(yes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.other = "web"; yes {
		p.other = ""
	}
}

func (p *fakePeers) Hears() ([]string, bool) { return nil, true }
func (p *fakePeers) Heard() <-chan struct{}  { return nil }

// A flowNode is one node's Flows.
type flowNode struct {
	*Flows
	own *fakeCounter
	bus *fakeBus
}

func startFlows(t *testing.T, net *fakeNet, peers *fakePeers, name, inst string) *flowNode {
	t.Helper()
	n := &flowNode{own: &fakeCounter{}, bus: net.bus(t, name)}
	n.Flows = NewFlows(FlowsConfig{Group: "g", Node: name, Inst: inst, Own: n.own, Peers: peers, Bus: n.bus})
	n.SetReported(map[string][]string{"web": {"web1", "web2"}})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := n.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
	return n
}

func (n *flowNode) want(t *testing.T, when string, want core.FlowCount) {
	t.Helper()
	got := n.Counts()[core.BackendID{Service: "web", Backend: "web1"}]
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", when, diff)
	}
}

func TestFlowsAdd(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		net, peers := newNet(), &fakePeers{gone: map[string]bool{}}
		a, b := startFlows(t, net, peers, "lb1", "i1"), startFlows(t, net, peers, "lb2", "i2")
		a.own.set("web1", core.FlowCount{Open: 5, Opened: 105, Closed: 100, Unanswered: 3})
		b.own.set("web1", core.FlowCount{Open: 7, Opened: 1007, Closed: 1000, Unanswered: 9})
		time.Sleep(1500 * time.Millisecond)
		a.want(t, "what lb2 closed before is no burst of now, and what it misses is its own",
			core.FlowCount{Open: 12, Abroad: 7, Opened: 105, Closed: 100, Unanswered: 3})
		b.own.set("web1", core.FlowCount{Open: 8, Opened: 1018, Closed: 1010})
		time.Sleep(time.Second)
		a.want(t, "lb2 closed ten more", core.FlowCount{Open: 13, Abroad: 8, Opened: 105, Closed: 110, Unanswered: 3})
		if _, live := a.AsOf(); !live {
			t.Error("all are live, and the sum is not")
		}

		peers.mu.Lock()
		peers.gone["lb2"] = true
		peers.mu.Unlock()
		a.want(t, "lb2 is gone", core.FlowCount{Open: 5, Opened: 105, Closed: 110, Unanswered: 3})
	})
}

func TestFlowsNeverGoBack(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		net, peers := newNet(), &fakePeers{gone: map[string]bool{}}
		a := startFlows(t, net, peers, "lb1", "i1")
		lb2 := net.bus(t, "lb2")
		report := func(inst string, closed uint64) {
			r := core.FlowReport{Node: "lb2", Inst: inst, Service: "web", At: time.Now(), Live: true,
				Backends: []core.FlowOf{{Name: "web1", Open: 1, Closed: closed}}}
			if err := lb2.PublishFlows(r, "g"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		time.Sleep(time.Second)
		report("i2", 500)
		report("i2", 510)
		a.want(t, "ten closed", core.FlowCount{Open: 1, Abroad: 1, Closed: 10})
		report("i3", 0)
		a.want(t, "restarted", core.FlowCount{Open: 1, Abroad: 1, Closed: 10})
		report("i3", 5)
		a.want(t, "five more", core.FlowCount{Open: 1, Abroad: 1, Closed: 15})
		report("i3", 3)
		a.want(t, "counts that fall", core.FlowCount{Open: 1, Abroad: 1, Closed: 15})
		time.Sleep(reportGone)
		a.want(t, "silent", core.FlowCount{Closed: 15})
		report("i3", 900)
		a.want(t, "heard again: what it closed meanwhile is no burst of now", core.FlowCount{Open: 1, Abroad: 1, Closed: 15})
		report("i3", 901)
		a.want(t, "one more", core.FlowCount{Open: 1, Abroad: 1, Closed: 16})
	})
}

func TestFlowsAsOf(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		net, peers := newNet(), &fakePeers{gone: map[string]bool{}, ahead: 2 * time.Minute}
		a := startFlows(t, net, peers, "lb1", "i1")
		lb2 := net.bus(t, "lb2")
		time.Sleep(time.Second)
		read := time.Now()
		r := core.FlowReport{Node: "lb2", Inst: "i2", Service: "web", At: read.Add(peers.ahead), Backends: []core.FlowOf{{Name: "web1", Open: 1}}}
		if err := lb2.PublishFlows(r, "g"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		if at, live := a.AsOf(); live || !at.Equal(read) {
			t.Errorf("as of %v, live %v; want %v, the time of the reading by our clock", at, live, read)
		}
		a.own.mu.Lock()
		a.own.at = read.Add(-time.Second)
		a.own.mu.Unlock()
		if at, live := a.AsOf(); live || !at.Equal(read.Add(-time.Second)) {
			t.Errorf("as of %v, live %v; want the oldest, our own", at, live)
		}
	})
}

// TestFlowsSeldom: what does not change is not said all the time.
func TestFlowsSeldom(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		net, peers := newNet(), &fakePeers{gone: map[string]bool{}}
		a := startFlows(t, net, peers, "lb1", "i1")
		a.own.set("web1", core.FlowCount{Open: 5})
		a.own.set("db1", core.FlowCount{Open: 5})
		sent := func() int {
			net.mu.Lock()
			defer net.mu.Unlock()
			return len(a.bus.reports)
		}
		time.Sleep(20*time.Second + 500*time.Millisecond)
		if n := sent(); n < 4 || n > 5 {
			t.Errorf("%d reports in 20 s of what does not change, want 4", n)
		}
		if got := a.bus.reports[0]; len(got.Backends) != 1 || got.Backends[0] != (core.FlowOf{Name: "web1", Open: 5}) {
			t.Errorf("reported %+v, want the one backend that was asked for", got)
		}
		before := sent()
		for i := range 50 {
			a.own.set("web1", core.FlowCount{Open: uint64(i)})
			time.Sleep(100 * time.Millisecond)
		}
		if n := sent() - before; n < 4 || n > 6 {
			t.Errorf("%d reports in 5 s of what changes all the time, want 5", n)
		}
		a.SetReported(nil)
		before = sent()
		time.Sleep(20 * time.Second)
		if n := sent() - before; n > 0 {
			t.Errorf("%d reports of what nobody asked for", n)
		}
	})
}

// TestFlowsWithoutKernel: a node that carries nothing sums those of others.
func TestFlowsWithoutKernel(t *testing.T) {
	f := NewFlows(FlowsConfig{Group: "g", Node: "s1", Inst: "i", Peers: &fakePeers{}})
	f.SetIdle(core.BackendID{}, true)
	f.SetDown(core.BackendID{}, core.Reset)
	f.SetUp(core.BackendID{})
	f.keep(nil, true)
	f.hear(core.FlowReport{Node: "lb1", Service: "web", Live: true, Backends: []core.FlowOf{{Name: "web1", Open: 4}}}, time.Now())
	if got := f.Counts()[core.BackendID{Service: "web", Backend: "web1"}].Open; got != 4 {
		t.Errorf("%d open, want 4", got)
	}
	if _, live := f.AsOf(); !live {
		t.Error("not live")
	}
}

func TestFlowsPassOn(t *testing.T) {
	own := &fakeCounter{}
	f := NewFlows(FlowsConfig{Group: "g", Node: "lb1", Own: own, Peers: &fakePeers{}})
	id := core.BackendID{Service: "web", Backend: "web1"}
	f.SetIdle(id, true)
	f.SetDown(id, core.Reset)
	if len(own.idle) != 1 || len(own.down) != 1 {
		t.Errorf("%v idle, %v down: not passed on", own.idle, own.down)
	}
}

// TestFlowsOfDrain: what a backend that gets no new connections has left is reported
// whatever the policy goes by, once it was counted after that.
func TestFlowsOfDrain(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		net, peers := newNet(), &fakePeers{gone: map[string]bool{}}
		a, b := startFlows(t, net, peers, "lb1", "i1"), startFlows(t, net, peers, "lb2", "i2")
		id := core.BackendID{Service: "web", Backend: "web1"}
		for _, n := range []*flowNode{a, b} {
			n.SetReported(nil)
			n.own.set("web1", core.FlowCount{Open: 7})
			n.own.set("web2", core.FlowCount{Open: 100})
			n.own.read() // now and then
		}
		time.Sleep(2 * time.Second)
		a.want(t, "nobody asked", core.FlowCount{Open: 7})
		b.SetIdle(id, true)
		time.Sleep(2 * time.Second)
		a.want(t, "lb2 has not counted since", core.FlowCount{Open: 7})
		b.own.read()
		time.Sleep(2 * time.Second)
		a.want(t, "lb2 drains it", core.FlowCount{Open: 14, Abroad: 7})
		if got := a.Counts()[core.BackendID{Service: "web", Backend: "web2"}].Open; got != 100 {
			t.Errorf("%d connections of a backend that serves, want those of lb1", got)
		}
		if at, _ := a.AsOf(); !at.Equal(a.own.at) {
			t.Error("the drain on lb2 makes the counts of lb1 older")
		}
		b.own.set("web1", core.FlowCount{Open: 0})
		time.Sleep(2 * time.Second)
		a.want(t, "the last one of lb2 is closed", core.FlowCount{Open: 7})
		b.own.set("web1", core.FlowCount{Open: 3})
		b.SetIdle(id, false)
		time.Sleep(reportGone)
		a.want(t, "lb2 drains it no more", core.FlowCount{Open: 7})
	})
}

// Nodes that come and go under new names leave nothing behind.
func TestFlowsOfNodesThatAreGone(t *testing.T) {
	peers := &fakePeers{gone: map[string]bool{}}
	f := NewFlows(FlowsConfig{Group: "g", Node: "s1", Inst: "i", Peers: peers})
	f.keep(nil, true)
	now := time.Now()
	for i := range 1000 {
		name := fmt.Sprint("lb-", i)
		f.hear(core.FlowReport{Node: name, Service: "web", Live: true, Backends: []core.FlowOf{{Name: "web1", Open: 1}}}, now.Add(-time.Minute))
		peers.gone[name] = true
	}
	f.Counts()
	if n := len(f.heard); n > 0 {
		t.Errorf("%d reports are kept", n)
	}
}
