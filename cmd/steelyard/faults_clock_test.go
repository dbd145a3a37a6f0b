// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/cluster"
	"github.com/steelyard-lb/steelyard/core/lab"
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
// by a clock that is off. It has no kernel and no engine: where it leads, all backends
// that it has seen up have slots as by the restless policy.
type lateNode struct {
	s      *faultStand
	bus    wrongClock
	member *cluster.Member
	seq    uint64
	up     map[string]bool // by backend, as its own probes say
}

// wrongClock has a node join whose clock is off.
func (s *faultStand) wrongClock(off time.Duration) ([]*faultNode, func()) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	servers := s.servers[0]
	address := s.outside(ctx, &wg, s.lab.Balancer, strings.TrimPrefix(servers.url(), "nats://"))
	name := "x" + strconv.Itoa(len(s.rows))
	b, err := bus.Start(ctx, bus.Options{Node: name, Servers: []string{"nats://" + address}, Log: slog.New(slog.NewTextHandler(s.log, nil))})
	if err != nil {
		cancel()
		s.t.Fatal(err)
	}
	n := &lateNode{s: s, bus: wrongClock{b, off}, up: map[string]bool{}}
	n.member, err = cluster.New(cluster.Config{
		Spec: core.ClusterSpec{Group: faultGroup, Roles: core.Roles{Probe: true, Schedule: true}, Probers: 1, Quorum: 1, Scheduling: core.ScheduleLeader},
		Self: core.Presence{Node: name, Inst: name, Roles: core.Roles{Probe: true, Schedule: true}, StartedAt: time.Now()},
		Bus:  n.bus,
	})
	if err != nil {
		cancel()
		s.t.Fatal(err)
	}
	var services []string
	for i := range faultServices {
		services = append(services, faultService(i))
	}
	n.member.SetServices(services)
	wg.Go(func() { _ = n.member.Run(ctx) })
	wg.Go(func() { n.work(ctx) })
	end := sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		b.Close()
	})
	s.t.Cleanup(end)
	s.untilWithin(startPatience, name+" decides and probes", func() error {
		v, err := s.nodes[0].rig.client.Node(s.t.Context())
		if err != nil {
			return err
		}
		for _, m := range v.Cluster.Members {
			if m.Node == name && m.Leads > 0 && m.Probes > 0 {
				s.t.Logf("%s leads %d services and probes %d targets; %s sees its clock %.1f s ahead", name, m.Leads, m.Probes, s.nodes[0].name, m.ClockSeconds)
				return nil
			}
		}
		return fmt.Errorf("it does not: %+v", v.Cluster.Members)
	})
	return nil, end
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
			n.probe(ctx)
		}
		for i := range faultServices {
			if service := faultService(i); n.member.Leads(service) {
				n.decide(service)
			}
		}
	}
}

// probe asks what this node has to ask, and tells all.
func (n *lateNode) probe(ctx context.Context) {
	for _, b := range n.s.backends {
		at := time.Now()
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		c, err := n.s.lab.Balancer.DialContext(ctx, "tcp", netip.AddrPortFrom(b.node.Addr4, probePort).String())
		cancel()
		n.up[b.name] = err == nil
		sample := core.Sample{Probe: "alive", Type: core.ProbeTCP, Role: core.HealthRole, TakenAt: at.Add(n.bus.off).UTC(), Took: time.Since(at), OK: err == nil, Code: core.L4OK}
		if err == nil {
			_ = c.Close()
		} else {
			sample.Code, sample.Detail = core.L4Refused, err.Error()
		}
		if !n.member.Probes(b.target(), "alive") {
			continue // asked for its own decisions alone
		}
		for i := range faultServices {
			n.seq++
			sample.Backend, sample.Seq, sample.Node = core.BackendID{Service: faultService(i), Backend: b.name}, n.seq, n.name()
			_ = n.bus.PublishSample(sample)
		}
	}
}

func (n *lateNode) name() string { return "x" + strconv.Itoa(len(n.s.rows)) }

// decide makes a vector as the restless policy would.
func (n *lateNode) decide(service string) {
	v := core.Vector{Service: service, Policy: "restless"}
	first := uint32(4096 + time.Now().UnixMilli()/100%4096)
	var serve []string
	for _, b := range n.s.backends {
		if n.up[b.name] {
			serve = append(serve, b.name)
		}
	}
	if len(serve) < 2 {
		return // it has not asked all yet
	}
	left := uint32(core.Slots)
	for i, b := range n.s.backends {
		one := core.VectorBackend{Name: b.name, Opinion: 1, Health: core.Down}
		if n.up[b.name] {
			one.Health, one.Slots = core.Up, (core.Slots-first)/uint32(len(serve)-1)
			if i == 0 {
				one.Slots = first
			}
			one.Slots = min(one.Slots, left)
			left -= one.Slots
		}
		v.Backends = append(v.Backends, one)
	}
	for i := len(v.Backends) - 1; left > 0; i-- {
		if v.Backends[i].Slots > 0 {
			v.Backends[i].Slots += left
			left = 0
		}
	}
	n.member.Decided(v)
}

// outside makes an address of a lab's node reachable from this process: nats.go dials
// from goroutines of its own.
func (s *faultStand) outside(ctx context.Context, wg *sync.WaitGroup, from *lab.Node, to string) string {
	s.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	context.AfterFunc(ctx, func() { _ = l.Close() })
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { relay(ctx, c, from, to) })
		}
	})
	return l.Addr().String()
}

// relay joins a connection with another one, which it opens from a node.
func relay(ctx context.Context, c net.Conn, from *lab.Node, to string) {
	defer c.Close()
	o, err := from.DialContext(ctx, "tcp", to)
	if err != nil {
		return
	}
	defer o.Close()
	stop := context.AfterFunc(ctx, func() {
		_ = c.Close()
		_ = o.Close()
	})
	defer stop()
	go func() {
		_, _ = io.Copy(o, c)
		_ = o.Close()
	}()
	_, _ = io.Copy(c, o)
}

// push stores definitions as `steelyard push` does.
func (s *faultStand) push(text string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	inner, stop := context.WithCancel(ctx)
	defer stop()
	var urls []string
	for _, n := range s.servers {
		urls = append(urls, "nats://"+s.outside(inner, &wg, s.lab.Balancer, strings.TrimPrefix(n.url(), "nats://")))
	}
	b, err := bus.Start(ctx, bus.Options{Node: "ops", Servers: urls})
	if err != nil {
		return err
	}
	defer b.Close()
	d := b.Definitions(faultGroup)
	defer d.Close()
	_, err = d.Push(ctx, []byte("services: {}\n"), map[string][]byte{"policy.lua": []byte(text)}, bus.Revision{}, bus.AnyRevision)
	return err
}
