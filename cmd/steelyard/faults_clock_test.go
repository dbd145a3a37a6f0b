// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/cluster"
)

// A wrongClock is the bus of a node whose clock is off: on the wire all of its times
// and epochs are those of that clock, and what it hears has them by its own.
type wrongClock struct {
	*bus.Bus
	off time.Duration
}

// epochs is how far the epochs of the clock are off.
func (w wrongClock) epochs() uint64 { return uint64(w.off.Milliseconds() << 8) } // two's complement: adding wraps

func (w wrongClock) PublishPresence(p core.Presence) error {
	p.At, p.StartedAt = p.At.Add(w.off), p.StartedAt.Add(w.off)
	if p.Epoch != 0 {
		p.Epoch += w.epochs()
	}
	return w.Bus.PublishPresence(p)
}

func (w wrongClock) SubscribePresences(group string, fn func(core.Presence)) (func(), error) {
	return w.Bus.SubscribePresences(group, func(p core.Presence) {
		p.At, p.StartedAt = p.At.Add(-w.off), p.StartedAt.Add(-w.off)
		if p.Epoch != 0 {
			p.Epoch -= w.epochs()
		}
		fn(p)
	})
}

func (w wrongClock) PublishVector(v core.Vector) error {
	v.At, v.Epoch = v.At.Add(w.off), v.Epoch+w.epochs()
	return w.Bus.PublishVector(v)
}

func (w wrongClock) SubscribeVectors(group string, fn func(core.Vector)) (func(), error) {
	return w.Bus.SubscribeVectors(group, func(v core.Vector) {
		v.At, v.Epoch = v.At.Add(-w.off), v.Epoch-w.epochs()
		fn(v)
	})
}

// A lateNode is a sixth node, in this process, that probes and schedules as others do,
// by a clock that is off. It has no kernel and no engine: where it leads, it answers as
// the restless policy does for the backends that it has seen up.
type lateNode struct {
	s      *faultStand
	name   string
	bus    wrongClock
	member *cluster.Member
	seq    uint64          // of its samples; of work
	up     map[string]bool // by backend, as its own probes say; of work
}

// wrongClock has a node join whose clock is off, until the end of the blow.
func (s *faultStand) wrongClock(off time.Duration) blow {
	s.t.Helper()
	way, cut := context.WithCancel(context.Background())
	var ways, wg sync.WaitGroup
	ctx, cancel := context.WithCancel(way)
	n := &lateNode{s: s, name: s.nameThatLeads(), up: map[string]bool{}}
	end := sync.OnceFunc(func() {
		cancel()
		wg.Wait() // it has said that it leaves
		if n.bus.Bus != nil {
			n.bus.Close()
		}
		cut()
		ways.Wait()
	})
	s.t.Cleanup(end)
	address := s.outside(way, &ways, s.lab.Balancer, strings.TrimPrefix(s.servers[0].url(), "nats://"))
	if err := n.join(ctx, address, off); err != nil {
		s.t.Fatal(err)
	}
	wg.Go(func() { _ = n.member.Run(ctx) })
	wg.Go(func() { n.work(ctx) })
	s.untilWithin(startPatience, n.name+" decides and probes", n.takesPart)
	return blow{end: end}
}

// nameThatLeads is a new name of a node that will lead a service.
func (s *faultStand) nameThatLeads() string {
	for s.joined++; ; s.joined++ {
		name := "x" + strconv.Itoa(s.joined)
		order := core.NewRendezvous([]string{"lb1", "lb2", "lb3", "s1", name})
		for i := range faultServices {
			if order.Rank(core.KeyOf(faultService(i)), 1)[0] == name {
				return name
			}
		}
	}
}

// join prepares its part in the group.
func (n *lateNode) join(ctx context.Context, address string, off time.Duration) error {
	b, err := bus.Start(ctx, bus.Options{Node: n.name, Servers: []string{"nats://" + address}})
	if err != nil {
		return err
	}
	n.bus = wrongClock{b, off}
	roles := core.Roles{Probe: true, Schedule: true}
	n.member, err = cluster.New(cluster.Config{
		Spec: core.ClusterSpec{Group: faultGroup, Roles: roles, Probers: 1, Quorum: 1, Scheduling: core.ScheduleLeader},
		Self: core.Presence{Node: n.name, Inst: n.name, Roles: roles, StartedAt: time.Now()},
		Bus:  n.bus,
	})
	if err != nil {
		return err
	}
	var services []string
	for i := range faultServices {
		services = append(services, faultService(i))
	}
	n.member.SetServices(services)
	return nil
}

// takesPart says so if another node does not see that it decides and probes.
func (n *lateNode) takesPart() error {
	other := n.s.balancers[0]
	v, err := other.rig.client.Node(n.s.t.Context())
	if err != nil {
		return err
	}
	for _, m := range v.Cluster.Members {
		if m.Node == n.name && m.Leads > 0 && m.Probes > 0 {
			n.s.t.Logf("%s leads %d services and probes %d targets; to %s its clock is %.1f s ahead", n.name, m.Leads, m.Probes, other.name, m.ClockSeconds)
			return nil
		}
	}
	return fmt.Errorf("it does not: %+v", v.Cluster.Members)
}

// work probes and decides until ctx is done.
func (n *lateNode) work(ctx context.Context) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if i%2 == 0 {
			for _, b := range n.s.backends {
				n.probe(ctx, b)
			}
		}
		for i := range faultServices {
			if service := faultService(i); n.member.Leads(service) {
				n.decide(service)
			}
		}
	}
}

// probe asks a backend. It tells the others only of its own targets; by the rest it
// decides.
func (n *lateNode) probe(ctx context.Context, b *faultBackend) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	at := time.Now()
	c, err := n.s.lab.Balancer.DialContext(ctx, "tcp", netip.AddrPortFrom(b.node.Addr4, probePort).String())
	if err == nil {
		_ = c.Close()
	}
	n.up[b.name] = err == nil
	if !n.member.Probes(b.target(), "alive") {
		return
	}
	sample := core.Sample{
		Probe: "alive", Type: core.ProbeTCP, Role: core.HealthRole, Node: n.name,
		TakenAt: at.Add(n.bus.off).UTC(), Took: time.Since(at), OK: err == nil, Code: core.L4OK,
	}
	if err != nil {
		sample.Code, sample.Detail = core.L4Refused, err.Error()
	}
	for i := range faultServices {
		n.seq++
		sample.Backend, sample.Seq = core.BackendID{Service: faultService(i), Backend: b.name}, n.seq
		_ = n.bus.PublishSample(sample) // one that is lost is made up for by the next
	}
}

// decide makes a vector as the restless policy would.
func (n *lateNode) decide(service string) {
	first := float64(4096 + time.Now().UnixMilli()/100%4096)
	var shares []float64
	for i, b := range n.s.backends {
		share := (core.Slots - first) / (faultBackends - 1)
		if i == 0 {
			share = first
		}
		if !n.up[b.name] {
			share = 0
		}
		shares = append(shares, share)
	}
	v := core.Vector{Service: service, Policy: "restless"}
	for i, slots := range core.Quantize(shares) {
		health := core.Up
		if !n.up[n.s.backends[i].name] {
			health = core.Down
		}
		v.Backends = append(v.Backends, core.VectorBackend{Name: n.s.backends[i].name, Slots: slots, Opinion: shares[i], Health: health})
	}
	n.member.Decided(v)
}
