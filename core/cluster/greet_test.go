// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A greeter is a node that leads all of so many services, in a group of so many others that
// decide nothing.
type greeter struct {
	*state
	now    time.Time
	others []core.Presence
	seq    uint64
	sent   map[string]int // vectors, by service
	at     []time.Time    // when they were sent
}

func newGreeter(t *testing.T, services, others int) *greeter {
	t.Helper()
	now := time.Unix(1_800_000_000, 0)
	g := &greeter{now: now, sent: map[string]int{}}
	g.state = newState(core.ClusterSpec{Group: "g", Scheduling: core.ScheduleLeader}, core.Presence{Node: "lb1", Roles: core.AllRoles, StartedAt: now})
	g.begin(now)
	var names []string
	for i := range services {
		names = append(names, fmt.Sprint("web", i))
	}
	g.setServices(names, now)
	for i := range others {
		g.meet(fmt.Sprint("a", i), core.Roles{Apply: true})
	}
	g.pass(3 * time.Second)
	for _, name := range names {
		if !g.decided(core.Vector{Service: name}, g.now) {
			t.Fatalf("it does not lead %s", name)
		}
	}
	g.pass(2 * resendEvery)
	return g
}

// meet has a node say for the first time that it is there.
func (g *greeter) meet(name string, roles core.Roles) {
	g.others = append(g.others, core.Presence{Node: name, Inst: "i", Roles: roles, At: g.now, StartedAt: g.now})
	g.say(len(g.others) - 1)
}

func (g *greeter) say(i int) {
	g.seq++
	g.others[i].Seq, g.others[i].At = g.seq, g.now
	g.hear(g.others[i], g.now)
}

// pass lets time pass, in which all others are there and this node sends what is due.
func (g *greeter) pass(d time.Duration) {
	for end := g.now.Add(d); g.now.Before(end); {
		g.now = g.now.Add(tickEvery)
		for i := range g.others {
			g.say(i)
		}
		g.tick(g.now)
		for _, v := range g.due(g.now) {
			g.sent[v.Service]++
			g.at = append(g.at, g.now)
		}
	}
}

// forget begins to count anew.
func (g *greeter) forget() { clear(g.sent); g.at = nil }

// most is how many vectors were sent at most within a second.
func (g *greeter) most() (n int) {
	for i := range g.at {
		in := 0
		for in < len(g.at)-i && g.at[i+in].Sub(g.at[i]) < time.Second {
			in++
		}
		n = max(n, in)
	}
	return n
}

// TestGreetInALargeGroup: what a newcomer needs is sent to all, at a rate that goes by how
// many that is.
func TestGreetInALargeGroup(t *testing.T) {
	const services, others = 1000, 99
	g := newGreeter(t, services, others)
	usual := g.most()
	g.forget()
	g.meet("a-new", core.Roles{Apply: true})
	g.pass(spread(services, others+2) + tickEvery)
	if len(g.sent) != services {
		t.Errorf("%d services were sent, want all", len(g.sent))
	}
	if most := g.most(); most > spreadRate/others+usual+100 {
		t.Errorf("%d vectors to %d nodes within a second, want %d and the %d of every second at most", most, others, spreadRate/others, usual)
	}
	for _, size := range []struct {
		services, nodes int
		want            time.Duration
	}{{100, 10, spreadLeast}, {1000, 10, 200 * time.Millisecond}, {1000, 100, 2 * time.Second}, {10_000, 100, spreadMost}} {
		if got := spread(size.services, size.nodes); got != size.want {
			t.Errorf("%d services to %d nodes over %v, want %v", size.services, size.nodes, got, size.want)
		}
	}
}

// TestGreetWhoWillLead: what the newcomer takes over comes at once, however large the group.
func TestGreetWhoWillLead(t *testing.T) {
	g := newGreeter(t, 1000, 99)
	g.forget()
	g.meet("lb2", core.AllRoles)
	g.pass(spreadLeast + tickEvery)
	order := core.NewRendezvous([]string{"lb1", "lb2"})
	its := 0
	for name := range g.services {
		if order.Place("lb2", core.KeyOf(name)) == 0 {
			if its++; g.sent[name] == 0 {
				t.Fatalf("%s was not sent, which lb2 leads next", name)
			}
		}
	}
	if its < 300 || len(g.sent) > its+200 {
		t.Errorf("lb2 will lead %d services, and %d were sent at once", its, len(g.sent))
	}
}

// TestGreetMany: who comes while another is greeted postpones nothing.
func TestGreetMany(t *testing.T) {
	g := newGreeter(t, 1000, 99)
	g.forget()
	begin := g.now
	for i := range 100 {
		g.meet(fmt.Sprint("b", i), core.Roles{Apply: true})
		g.pass(tickEvery)
		if len(g.sent) == len(g.services) {
			break
		}
		if took := g.now.Sub(begin); took > spread(1000, 200) {
			t.Fatalf("%d of %d services were sent in %v, in which %d nodes came", len(g.sent), len(g.services), took, i+1)
		}
	}
}

// TestGreetTheFirst: a node alone sends nothing, and has not to catch up with it all at
// once when another comes.
func TestGreetTheFirst(t *testing.T) {
	g := newGreeter(t, 1000, 0)
	g.forget()
	g.meet("a0", core.Roles{Apply: true})
	g.pass(tickEvery)
	if n := len(g.sent); n == 0 || n == len(g.services) {
		t.Errorf("%d of %d vectors were sent in the first %v, want a part", n, len(g.services), tickEvery)
	}
}

// TestGreetAfterAllWereCutOff: each node led all, and yet not each sends all.
func TestGreetAfterAllWereCutOff(t *testing.T) {
	const nodes, services = 20, 800
	now := time.Unix(1_800_000_000, 0)
	var names []string
	for i := range services {
		names = append(names, fmt.Sprint("web", i))
	}
	var all []*state
	var words []core.Presence
	for i := range nodes {
		p := core.Presence{Node: fmt.Sprint("lb", i), Inst: "i", Roles: core.AllRoles, At: now, StartedAt: now.Add(-time.Hour)}
		s := newState(core.ClusterSpec{Group: "g", Scheduling: core.ScheduleLeader}, p)
		s.begin(now)
		s.setServices(names, now)
		all, words = append(all, s), append(words, p)
	}
	meet := func(seq uint64) {
		for i, s := range all {
			for j, p := range words {
				if p.Seq = seq; i != j {
					s.hear(p, now)
				}
			}
		}
	}
	sent := 0
	pass := func(d time.Duration) {
		for end := now.Add(d); now.Before(end); {
			now = now.Add(tickEvery)
			var under []core.Vector // way: all speak before any hears
			for _, s := range all {
				s.tick(now)
				under = append(under, s.due(now)...)
			}
			sent += len(under)
			for _, v := range under {
				for _, s := range all {
					s.hearVector(v, now) // but its own
				}
			}
		}
	}
	meet(1)
	pass(3 * time.Second)
	for _, s := range all {
		for name, sv := range s.services {
			if !sv.ballot.Leads() {
				t.Fatalf("%s, which hears nobody, does not lead %s", s.self.Node, name)
			}
			s.decided(core.Vector{Service: name}, now)
		}
	}
	if sent > 0 {
		t.Fatalf("%d vectors were sent to nobody", sent)
	}
	meet(2)
	meet(3)
	pass(quietFor)
	meet(4)
	pass(spread(services, nodes))
	if sent < services || sent > services*nodes*3/5 {
		t.Errorf("%d vectors of %d services were sent by %d nodes, want far fewer than each of each", sent, services, nodes)
	}
	t.Logf("%.1f vectors of each service were sent", float64(sent)/services)
}
