// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// delay is how long a message of a fakeNet takes.
const delay = time.Millisecond

// A fakeNet is a bus in memory. Messages of one node arrive in order, after delay.
type fakeNet struct {
	mu    sync.Mutex
	buses []*fakeBus
	cut   map[[2]string]bool // by sender and receiver; "*" for all others
}

// A fakeBus is the end of one node.
type fakeBus struct {
	net   *fakeNet
	node  string
	queue chan func()

	presence func(core.Presence) // these are guarded by net.mu
	vector   func(core.Vector)
	flows    func(core.FlowReport)
	heard    map[string]bool // services whose reports it is delivered
	hearsAll bool
	got      []core.FlowReport // those that it was delivered
	vectors  []core.Vector     // what this node published
	reports  []core.FlowReport
	said     int
}

var errGone = errors.New("no bus")

func newNet() *fakeNet { return &fakeNet{cut: map[[2]string]bool{}} }

// bus joins a node. It delivers until t ends.
func (n *fakeNet) bus(t *testing.T, node string) *fakeBus {
	b := &fakeBus{net: n, node: node, queue: make(chan func(), 1<<16)}
	n.mu.Lock()
	n.buses = append(n.buses, b)
	n.mu.Unlock()
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-over:
				return
			case f := <-b.queue:
				f()
			}
		}
	}()
	t.Cleanup(func() {
		close(over)
		<-done
	})
	return b
}

// sever cuts a node off in both directions, and join ends that.
func (n *fakeNet) sever(node string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[[2]string{node, "*"}] = true
}

func (n *fakeNet) join() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cut)
}

// deliver has pick choose what each of the others does with a message. As on a real bus,
// those of the same name get the presences of each other only.
func (b *fakeBus) deliver(pick func(*fakeBus) func()) error {
	b.net.mu.Lock()
	defer b.net.mu.Unlock()
	if b.net.cut[[2]string{b.node, "*"}] {
		return errGone
	}
	due := time.Now().Add(delay)
	for _, o := range b.net.buses {
		if o == b || b.net.cut[[2]string{o.node, "*"}] {
			continue
		}
		if f := pick(o); f != nil {
			o.queue <- func() { time.Sleep(time.Until(due)); f() }
		}
	}
	return nil
}

func (b *fakeBus) PublishPresence(p core.Presence) error {
	return b.deliver(func(o *fakeBus) func() {
		b.said++
		if fn := o.presence; fn != nil {
			return func() { fn(p) }
		}
		return nil
	})
}

func (b *fakeBus) PublishVector(v core.Vector) error {
	b.net.mu.Lock()
	b.vectors = append(b.vectors, v)
	b.net.mu.Unlock()
	return b.deliver(func(o *fakeBus) func() {
		if fn := o.vector; fn != nil && o.node != b.node {
			return func() { fn(v) }
		}
		return nil
	})
}

func (b *fakeBus) PublishFlows(r core.FlowReport, _ string) error {
	b.net.mu.Lock()
	b.reports = append(b.reports, r)
	b.net.mu.Unlock()
	return b.deliver(func(o *fakeBus) func() {
		if fn := o.flows; fn != nil && o.node != b.node && (o.hearsAll || o.heard[r.Service]) {
			o.got = append(o.got, r)
			return func() { fn(r) }
		}
		return nil
	})
}

func (b *fakeBus) SubscribePresences(_ string, fn func(core.Presence)) (func(), error) {
	b.net.mu.Lock()
	defer b.net.mu.Unlock()
	b.presence = fn
	return func() { b.net.mu.Lock(); defer b.net.mu.Unlock(); b.presence = nil }, nil
}

func (b *fakeBus) SubscribeVectors(_ string, fn func(core.Vector)) (func(), error) {
	b.net.mu.Lock()
	defer b.net.mu.Unlock()
	b.vector = fn
	return func() { b.net.mu.Lock(); defer b.net.mu.Unlock(); b.vector = nil }, nil
}

func (b *fakeBus) SubscribeFlows(_ string, fn func(core.FlowReport)) (func([]string, bool) error, func(), error) {
	b.net.mu.Lock()
	defer b.net.mu.Unlock()
	b.flows = fn
	return b.hear, func() { b.net.mu.Lock(); defer b.net.mu.Unlock(); b.flows = nil }, nil
}

func (b *fakeBus) hear(services []string, all bool) error {
	b.net.mu.Lock()
	defer b.net.mu.Unlock()
	b.heard, b.hearsAll = map[string]bool{}, all
	for _, s := range services {
		b.heard[s] = true
	}
	return nil
}

// A node is a Member with the part of an engine.
type node struct {
	*Member
	name string
	bus  *fakeBus
	stop context.CancelFunc
	done chan struct{}

	mu     sync.Mutex
	taken  map[string]core.Vector // guarded by mu
	events []core.Event           // guarded by mu
}

// starts counts instances.
var starts struct {
	sync.Mutex
	n int
}

// A nodeSpec is what is special about a node.
type nodeSpec struct {
	name     string
	roles    core.Roles
	spec     core.ClusterSpec
	dir      string
	services []string
	bus      Bus // nil: of the net
}

// testServices are enough for each of a few nodes to lead some.
var testServices = func() (out []string) {
	for i := range 24 {
		out = append(out, fmt.Sprintf("web%d", i))
	}
	return out
}()

// start runs a node until t ends or stop is called.
func start(t *testing.T, net *fakeNet, s nodeSpec) *node {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	n := &node{name: s.name, stop: stop, done: make(chan struct{}), taken: map[string]core.Vector{}}
	if s.bus == nil {
		n.bus = net.bus(t, s.name)
		s.bus = n.bus
	}
	if s.roles == (core.Roles{}) {
		s.roles = core.AllRoles
	}
	if s.spec.Group == "" {
		s.spec = core.ClusterSpec{Group: "g", Probers: 1, Quorum: 1, Scheduling: core.ScheduleLeader}
	}
	starts.Lock()
	starts.n++
	inst := fmt.Sprint("inst", starts.n)
	starts.Unlock()
	var err error
	n.Member, err = New(Config{
		Spec: s.spec, Dir: s.dir, Bus: s.bus,
		Self: core.Presence{Node: s.name, Inst: inst, Roles: s.roles, Version: "v1", StartedAt: time.Now()},
		Event: func(e core.Event) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.events = append(n.events, e)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	n.Follow(func(v core.Vector) {
		n.mu.Lock()
		defer n.mu.Unlock()
		if before, ok := n.taken[v.Service]; ok && v.Mark().Compare(before.Mark()) <= 0 {
			t.Errorf("%s: %v comes after %v", n.name, v.Mark(), before.Mark())
		}
		n.taken[v.Service] = v
	})
	if s.services == nil {
		s.services = testServices
	}
	n.SetServices(s.services)
	go func() {
		defer close(n.done)
		if err := n.Run(ctx); err != nil {
			t.Errorf("%s: %v", n.name, err)
		}
	}()
	engine := make(chan struct{})
	go func() {
		defer close(engine)
		n.engine(ctx)
	}()
	t.Cleanup(func() {
		n.end()
		<-engine
	})
	return n
}

// engine decides at once what the node leads.
func (n *node) engine(ctx context.Context) {
	decided := map[string]bool{}
	for {
		for _, s := range testServices {
			if leads := n.Leads(s); leads != decided[s] {
				if decided[s] = leads; leads {
					n.Decided(core.Vector{Service: s, Policy: "rr", Backends: []core.VectorBackend{{Name: "b1", Slots: core.Slots}}})
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

// end has the node leave, kill ends it without a word.
func (n *node) end() {
	n.stop()
	<-n.done
}

func (n *node) kill(net *fakeNet) {
	net.mu.Lock()
	n.bus.node += " (dead)"
	n.bus.presence, n.bus.vector, n.bus.flows = nil, nil, nil
	net.cut[[2]string{n.bus.node, "*"}] = true
	net.mu.Unlock()
	n.end()
}

// led are the services that the node leads.
func (n *node) led() []string {
	var out []string
	for _, s := range testServices {
		if n.Leads(s) {
			out = append(out, s)
		}
	}
	return out
}

// told reports whether an event says so.
func (n *node) told(severity core.Severity, part string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.ContainsFunc(n.events, func(e core.Event) bool {
		return e.Severity == severity && contains(e.Message, part)
	})
}
