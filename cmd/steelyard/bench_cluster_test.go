// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/bus/bustest"
	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/cluster"
	"github.com/steelyard-lb/steelyard/core/engine"
	"github.com/steelyard-lb/steelyard/core/lab"
	"github.com/steelyard-lb/steelyard/core/lab/labtest"
	"github.com/steelyard-lb/steelyard/core/nft"
	"github.com/steelyard-lb/steelyard/plugins"
)

// BenchmarkClusterDeath is the time from a bad sample's publication by the prober of one
// node to the read-back of the commit that takes the backend out of the kernel of another,
// over a cluster of three nats-servers, with 1,000 services of 16 backends in both kernels,
// each decided once a second. The nodes are at different servers; both are in this process,
// so that they share its clock, two workers and the processors.
func BenchmarkClusterDeath(b *testing.B) {
	p := newPair(b, 1000, 16)
	var took []float64
	for b.Loop() {
		took = append(took, p.flap(b, len(took)))
	}
	report(b, took)
}

// BenchmarkClusterWeights is the time from a decision of the node that leads a service to
// the read-back of its commit in the kernel of the node that follows, in the same setting.
// leader-p50-ms is that of the leader's own commit.
func BenchmarkClusterWeights(b *testing.B) {
	p := newPair(b, 1000, 16)
	var took, own []float64
	for b.Loop() {
		far, near := p.reweigh(b, len(took))
		took, own = append(took, far), append(own, near)
	}
	slices.Sort(own)
	b.ReportMetric(1000*own[len(own)/2], "leader-p50-ms")
	report(b, took)
}

func report(b *testing.B, took []float64) {
	slices.Sort(took)
	b.ReportMetric(1000*took[len(took)/2], "p50-ms")
	b.ReportMetric(1000*took[len(took)*99/100], "p99-ms")
	b.ReportMetric(0, "ns/op") // a round is more than what is measured
}

// A pair is two nodes of a group, the first of which probes for both.
type pair struct {
	nodes    [2]*pairNode
	services []core.Service
	seq      uint64
}

// A pairNode is the daemon without probes: bus, member, engine, worker and kernel.
type pairNode struct {
	name   string
	bus    *bus.Bus
	member *cluster.Member
	engine *engine.Engine
	made   chan core.Decision // the latest that the kernel took
}

func newPair(b *testing.B, services, backends int) *pair {
	b.Helper()
	p := &pair{}
	for i := range services {
		p.services = append(p.services, manyBackends(i, backends))
	}
	l := labtest.New(b, lab.Config{Backends: 1})
	urls := natsCluster(b)
	for i, where := range []*lab.Node{l.Balancer, l.Backends[0]} {
		p.nodes[i] = p.join(b, fmt.Sprint("lb", i+1), where, urls[i])
	}
	p.raise(b)
	return p
}

// natsCluster runs three servers that know one another, and returns where they listen.
func natsCluster(b *testing.B) []string {
	b.Helper()
	var routes, urls []string
	var ports []int
	for range 3 {
		ports = append(ports, bustest.FreePort(b))
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", ports[len(ports)-1]))
	}
	for i := range ports {
		port := bustest.FreePort(b)
		bustest.StartServer(b, port, nil, "-n", fmt.Sprint("nats", i+1), "--cluster_name", "bench", "--cluster", routes[i], "--routes", strings.Join(routes, ","))
		urls = append(urls, fmt.Sprintf("nats://127.0.0.1:%d", port))
	}
	return urls
}

func (p *pair) join(b *testing.B, name string, where *lab.Node, url string) *pairNode {
	b.Helper()
	log := slog.New(slog.DiscardHandler)
	n := &pairNode{name: name, made: make(chan core.Decision, 64)}
	var applier *nft.Applier
	if err := where.Do(func() (err error) { applier, err = nft.Open(nft.Config{}); return err }); err != nil {
		b.Fatal(err)
	}
	n.bus = bustest.StartWith(b, bus.Options{Node: name, Servers: []string{url}})
	spec := core.ClusterSpec{Group: "bench", Roles: core.AllRoles, Probers: 1, Quorum: 1, Scheduling: core.ScheduleLeader}
	var err error
	n.member, err = cluster.New(cluster.Config{Spec: spec, Bus: n.bus,
		Self: core.Presence{Node: name, Inst: name, Roles: core.AllRoles, StartedAt: time.Now()}})
	if err != nil {
		b.Fatal(err)
	}
	host := plugins.NewHost(plugins.Config{})
	setup := engine.Setup{Services: p.services, Cluster: spec, Probes: map[string]core.ProbeSpec{
		"alive": {Name: "alive", Type: core.ProbeTCP, Role: core.HealthRole, Rise: 1, Fall: 1}}}
	n.engine = engine.New(engine.Config{Node: name, Scheduler: host, Applier: applier, Cluster: n.member,
		Publisher: madeTap{publisher{bus: n.bus, log: log}, n.made}, Log: log}, setup)
	n.member.Follow(n.engine.OfferVector)
	var names []string
	for _, s := range p.services {
		names = append(names, s.Name)
	}
	n.member.SetServices(names)
	ctx, cancel := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	b.Cleanup(func() {
		cancel()
		wg.Wait()
		_ = applier.Close()
	})
	wg.Go(func() { _ = host.Run(ctx) })
	if err := host.Load(ctx, nil); err != nil {
		b.Fatal(err)
	}
	unsubscribe, err := n.bus.SubscribeSamples(n.engine.Offer)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(unsubscribe)
	for _, run := range []func(context.Context) error{n.member.Run, n.engine.Run} {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				b.Error(err)
			}
		})
	}
	<-n.engine.Ready()
	return n
}

// raise waits until both nodes share the services, and then brings every backend up.
func (p *pair) raise(b *testing.B) {
	b.Helper()
	p.untilAll(b, "both lead some, and each counts the other", func() bool {
		first, second := p.leads(0), p.leads(1)
		return p.nodes[1].member.Counts("lb1") && first > 0 && second > 0 && first+second == len(p.services)
	})
	for i, s := range p.services {
		for _, be := range s.Backends {
			p.say(b, core.BackendID{Service: s.Name, Backend: be.Name}, true)
		}
		if i%100 == 99 { // no more at once than is queued on the way
			p.untilAll(b, "the samples arrive", func() bool {
				return p.nodes[0].bus.Stats().Received >= p.seq && p.nodes[1].bus.Stats().Received >= p.seq
			})
		}
	}
	p.untilAll(b, "both kernels carry every backend", func() bool {
		return !slices.ContainsFunc(p.nodes[:], func(n *pairNode) bool {
			v, err := n.engine.View(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			return slices.ContainsFunc(v.Services, func(s core.ServiceView) bool {
				return slices.ContainsFunc(s.Backends, func(b core.BackendView) bool { return b.Slots == 0 })
			})
		})
	})
	for quiet := time.After(2 * time.Second); ; {
		select {
		case <-p.nodes[0].made:
		case <-p.nodes[1].made:
		case <-quiet:
			return
		}
	}
}

// leads is how many services a node leads.
func (p *pair) leads(node int) (n int) {
	for _, s := range p.services {
		if p.nodes[node].member.Leads(s.Name) {
			n++
		}
	}
	return n
}

func (*pair) untilAll(b *testing.B, what string, ok func() bool) {
	b.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); wait(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("not within a minute: %s", what)
		}
	}
}

// say publishes a sample of the first node's prober.
func (p *pair) say(b *testing.B, id core.BackendID, ok bool) {
	b.Helper()
	p.seq++
	err := p.nodes[0].bus.PublishSample(core.Sample{
		Backend: id, Probe: "alive", Type: core.ProbeTCP, Role: core.HealthRole, Node: p.nodes[0].name,
		Seq: p.seq, TakenAt: time.Now().UTC(), OK: ok, Code: core.L4Refused, Detail: "connection refused",
	})
	if err != nil {
		b.Fatal(err)
	}
}

// pick is another backend of another service in each round.
func (p *pair) pick(i int) core.BackendID {
	s := p.services[(i*7919)%len(p.services)]
	return core.BackendID{Service: s.Name, Backend: s.Backends[i%len(s.Backends)].Name}
}

// flap kills one backend and raises it again; it returns the seconds from the death's
// publication to its commit in the other node's kernel.
func (p *pair) flap(b *testing.B, i int) float64 {
	b.Helper()
	id := p.pick(i)
	start := time.Now()
	p.say(b, id, false)
	d := p.nodes[1].until(b, id, func(slots uint32) bool { return slots == 0 })
	p.nodes[0].until(b, id, func(slots uint32) bool { return slots == 0 })
	p.say(b, id, true)
	for _, n := range p.nodes {
		n.until(b, id, func(slots uint32) bool { return slots > 0 })
	}
	return d.Commit.At.Sub(start).Seconds()
}

// reweigh halves the weight of a backend on the node that leads its service, and gives it
// back. It returns the seconds from the decision to the commits of the other and of the
// leader.
func (p *pair) reweigh(b *testing.B, i int) (far, near float64) {
	b.Helper()
	id := p.pick(i)
	leader, follower := p.nodes[0], p.nodes[1]
	if follower.member.Leads(id.Service) {
		leader, follower = follower, leader
	}
	const even = core.Slots / 16
	ask := func(r core.OverrideRequest) {
		if _, err := leader.engine.Override(b.Context(), id, r); err != nil {
			b.Fatal(err)
		}
	}
	ask(core.OverrideRequest{Kind: core.OverrideWeight, Weight: 50, Author: "bench"})
	lower := func(slots uint32) bool { return slots < even }
	here, there := leader.until(b, id, lower), follower.until(b, id, lower)
	ask(core.OverrideRequest{Kind: core.OverrideReady, Author: "bench"})
	for _, n := range p.nodes {
		n.until(b, id, func(slots uint32) bool { return slots >= even })
	}
	return there.Commit.At.Sub(here.At).Seconds(), here.Commit.At.Sub(here.At).Seconds()
}

// until waits for the commit of a decision that gives a backend such slots.
func (n *pairNode) until(b *testing.B, id core.BackendID, ok func(slots uint32) bool) core.Decision {
	b.Helper()
	late := time.After(20 * time.Second)
	for {
		select {
		case d := <-n.made:
			if d.Service != id.Service {
				continue
			}
			if at := slices.IndexFunc(d.Backends, func(b core.BackendDecision) bool { return b.Backend == id.Backend }); ok(d.Backends[at].Slots) {
				return d
			}
		case <-late:
			b.Fatalf("%s: no such commit of %s in 20 s", n.name, id)
		}
	}
}

// A madeTap hands on decisions that the kernel took.
type madeTap struct {
	publisher
	made chan<- core.Decision
}

func (t madeTap) Decision(d core.Decision) {
	t.publisher.Decision(d)
	if d.Outcome == core.Applied || d.Outcome == core.Superseded && d.Commit != nil {
		select {
		case t.made <- d:
		default: // while all come up nobody reads
		}
	}
}
