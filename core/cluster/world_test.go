// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// worldStep is the grain of the time of a world.
const worldStep = 10 * time.Millisecond

// A world is a group of nodes in one goroutine, with a network that may do anything. Each
// node has a clock of its own that is off.
type world struct {
	t     *testing.T
	rnd   *rand.Rand
	now   time.Time
	nodes []*worldNode
	names []string // of the services

	cut   map[[2]string]bool // by sender and receiver
	hold  bool               // what is cut is delivered late, and not lost
	loss  float64
	twice float64
	delay time.Duration // at most
	flows []packet

	lonely map[[2]string]time.Time // since when a node has no leader of a service that it can hear
	gap    time.Duration           // the longest such time
	last   int                     // instances so far
}

// A packet is one message on its way.
type packet struct {
	from, to string
	at       time.Time
	word     *core.Presence
	vector   *core.Vector
}

// A worldNode is one node: a state, and the applier's part.
type worldNode struct {
	w       *world
	name    string
	s       *state // nil: it is dead
	skew    time.Duration
	frozen  time.Time // until then
	sayAt   time.Time
	seq     uint64
	inbox   []packet
	applied map[string]core.Mark // survives a restart: so does the kernel
	content map[string]uint64    // the Decision in force
	decide  map[string]time.Time // when its policy has an answer
	kept    uint64               // epoch on disk
}

func newWorld(t *testing.T, seed uint64, nodes, services int) *world {
	w := &world{
		t: t, rnd: rand.New(rand.NewPCG(seed, 1)), now: time.Unix(1_800_000_000, 0),
		cut: map[[2]string]bool{}, lonely: map[[2]string]time.Time{}, delay: 20 * time.Millisecond,
	}
	for i := range services {
		w.names = append(w.names, fmt.Sprintf("svc%d", i))
	}
	for i := range nodes {
		n := &worldNode{w: w, name: fmt.Sprintf("lb%d", i+1), applied: map[string]core.Mark{}, content: map[string]uint64{}}
		n.skew = time.Duration(w.rnd.Int64N(int64(4*time.Minute))) - 2*time.Minute
		w.nodes = append(w.nodes, n)
		n.start()
	}
	return w
}

func (n *worldNode) start() {
	w := n.w
	w.last++
	n.decide = map[string]time.Time{}
	n.seq, n.sayAt, n.inbox, n.frozen = 0, time.Time{}, nil, time.Time{}
	spec := core.ClusterSpec{Group: "g", Roles: core.AllRoles, Probers: 1, Quorum: 1, Scheduling: core.ScheduleLeader}
	n.s = newState(spec, core.Presence{
		Node: n.name, Group: "g", Inst: fmt.Sprint("inst", w.last), Roles: core.AllRoles, Epoch: n.kept,
		StartedAt: w.now.Add(n.skew),
	})
	n.s.wall = func(t time.Time) time.Time { return t.Add(n.skew) }
	n.s.follow = n.apply
	n.s.begin(w.now)
	n.s.setServices(w.names, w.now)
	// What a node knew of vectors ends with it, so it may follow an older one first.
	clear(n.applied)
}

// apply is what an engine does: the one thing that must never go backwards.
func (n *worldNode) apply(v core.Vector) {
	if before, ok := n.applied[v.Service]; ok && v.Mark().Compare(before) <= 0 {
		n.w.t.Fatalf("%v: %s goes back from %v to %v of %s", n.w.now.Sub(time.Unix(1_800_000_000, 0)), n.name, before, v.Mark(), v.Service)
	}
	n.applied[v.Service], n.content[v.Service] = v.Mark(), v.Decision
}

func (n *worldNode) running() bool { return n.s != nil && !n.w.now.Before(n.frozen) }

func (n *worldNode) kill() {
	if n.s != nil {
		n.kept = n.s.seen
	}
	n.s, n.inbox = nil, nil
}

func (n *worldNode) leave() {
	n.s.self.Leaving = true
	n.say()
	n.kill()
}

func (n *worldNode) say() {
	n.seq++
	p := n.s.self
	p.Seq, p.At, p.Epoch = n.seq, n.s.wall(n.w.now), n.s.seen
	n.sayAt = n.w.now.Add(presenceEvery - presenceJitter + time.Duration(n.w.rnd.Int64N(int64(2*presenceJitter))))
	n.w.send(n.name, packet{word: &p})
}

// send is what the bus does with a message.
func (w *world) send(from string, p packet) {
	for _, n := range w.nodes {
		if n.name == from {
			continue
		}
		copies := 1
		if w.rnd.Float64() < w.loss {
			copies = 0
		} else if w.rnd.Float64() < w.twice {
			copies = 2
		}
		for range copies {
			q := p
			q.from, q.to = from, n.name
			q.at = w.now.Add(time.Duration(w.rnd.Int64N(int64(w.delay))))
			w.flows = append(w.flows, q)
		}
	}
}

// step lets worldStep pass.
func (w *world) step() {
	w.now = w.now.Add(worldStep)
	w.deliver()
	for _, n := range w.nodes {
		if n.running() {
			n.run()
		}
	}
	w.observe()
}

func (w *world) deliver() {
	kept := w.flows[:0]
	for _, p := range w.flows {
		switch {
		case w.cut[[2]string{p.from, p.to}]:
			if w.hold {
				kept = append(kept, p)
			}
		case w.now.Before(p.at):
			kept = append(kept, p)
		default:
			if n := w.node(p.to); n.s != nil {
				n.inbox = append(n.inbox, p)
			}
		}
	}
	w.flows = kept
}

func (w *world) node(name string) *worldNode {
	for _, n := range w.nodes {
		if n.name == name {
			return n
		}
	}
	return nil
}

func (n *worldNode) run() {
	w := n.w
	// A thawed process runs in any order: what came first, or its timer.
	thawed := w.now.Sub(n.s.lastTick) > frozenAfter
	if thawed && w.rnd.IntN(2) == 0 {
		n.s.tick(w.now)
	}
	for _, p := range n.inbox {
		if p.word != nil {
			n.s.hear(*p.word, w.now)
		} else {
			n.s.hearVector(*p.vector, w.now)
		}
	}
	n.inbox = n.inbox[:0]
	if w.now.Sub(n.s.lastTick) >= tickEvery {
		n.s.tick(w.now)
	}
	n.schedule()
	if n.s.out.presence || !w.now.Before(n.sayAt) {
		n.s.out.presence = false
		n.say()
	}
	for _, v := range n.s.due(w.now) {
		w.send(n.name, packet{vector: &v})
	}
	n.s.out.events = nil
}

// schedule is the policy: it has an answer some time after the lead began, and another
// now and then.
func (n *worldNode) schedule() {
	w := n.w
	for _, name := range w.names {
		sv := n.s.services[name]
		if !sv.ballot.Leads() {
			delete(n.decide, name)
			continue
		}
		at, ok := n.decide[name]
		if !ok {
			n.decide[name] = w.now.Add(time.Duration(w.rnd.Int64N(int64(200 * time.Millisecond))))
			continue
		}
		if w.now.Before(at) {
			continue
		}
		n.decide[name] = w.now.Add(time.Duration(w.rnd.Int64N(int64(4 * time.Second))))
		v := core.Vector{Service: name, Decision: w.rnd.Uint64()}
		if n.s.decided(v, w.now) {
			n.apply(*sv.own)
		}
	}
	// A vector that was sent again under a higher epoch is in force under it.
	for _, name := range w.names {
		if sv := n.s.services[name]; sv.own != nil && sv.ballot.Leads() && sv.own.Mark() != n.applied[name] {
			n.apply(*sv.own)
		}
	}
}

// observe measures for how long nodes have no leader of a service: neither themselves nor
// one that runs and that they can hear.
func (w *world) observe() {
	for _, name := range w.names {
		var leaders []*worldNode
		for _, n := range w.nodes {
			if n.running() && n.s.services[name].ballot.Leads() {
				leaders = append(leaders, n)
			}
		}
		for _, n := range w.nodes {
			key := [2]string{n.name, name}
			led := slices.ContainsFunc(leaders, func(o *worldNode) bool { return o == n || !w.cut[[2]string{o.name, n.name}] })
			if led || !n.running() {
				delete(w.lonely, key)
				continue
			}
			if _, ok := w.lonely[key]; !ok {
				w.lonely[key] = w.now
			}
			w.gap = max(w.gap, w.now.Sub(w.lonely[key]))
		}
	}
}

func (w *world) pass(d time.Duration) {
	for end := w.now.Add(d); w.now.Before(end); {
		w.step()
	}
}

// wantPeace checks that every service has one leader, the first choice, whose vector all
// have.
func (w *world) wantPeace(when string) {
	w.t.Helper()
	var live []string
	for _, n := range w.nodes {
		if n.running() {
			live = append(live, n.name)
		}
	}
	order := core.NewRendezvous(live)
	for _, name := range w.names {
		first := order.Rank(core.KeyOf(name), 1)[0]
		leader := w.node(first)
		if !leader.s.services[name].ballot.Leads() {
			w.t.Fatalf("%s: %s does not lead %s, of which it is the first choice among %v", when, first, name, live)
		}
		for _, n := range w.nodes {
			if !n.running() || n == leader {
				continue
			}
			if n.s.services[name].ballot.Leads() {
				w.t.Fatalf("%s: %s and %s both lead %s", when, n.name, first, name)
			}
			if n.applied[name] != leader.applied[name] || n.content[name] != leader.content[name] {
				w.t.Fatalf("%s: %s has %v of %s, and its leader %v", when, n.name, n.applied[name], name, leader.applied[name])
			}
		}
	}
}

// revive starts whoever is dead.
func (w *world) revive() {
	for _, n := range w.nodes {
		if n.s == nil {
			n.start()
		}
	}
}

// calm ends all faults and lets the group come to rest.
func (w *world) calm() {
	clear(w.cut)
	w.loss, w.twice = 0, 0
	w.revive()
	w.pass(14 * time.Second)
	w.hush()
	w.pass(6 * time.Second)
}

// hush ends all decisions of what is led now, so that soon nothing is on its way.
func (w *world) hush() {
	for _, n := range w.nodes {
		for name := range n.decide {
			n.decide[name] = w.now.Add(time.Hour)
		}
	}
}
