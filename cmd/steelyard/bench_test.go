// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/engine"
	"github.com/steelyard-lb/steelyard/core/lab"
	"github.com/steelyard-lb/steelyard/core/lab/labtest"
	"github.com/steelyard-lb/steelyard/core/nft"
	"github.com/steelyard-lb/steelyard/plugins"
)

// BenchmarkDeathToCommit1000x16 is the time from a bad sample's publication on
// the bus to the read-back of the commit that takes the backend out, with 1,000
// services of 16 backends decided once a second by a policy in the worker.
func BenchmarkDeathToCommit1000x16(b *testing.B) {
	r := newLoop(b, 1000, 16, "weighted")
	var took []float64
	for b.Loop() {
		took = append(took, r.flap(b, len(took)))
	}
	slices.Sort(took)
	b.ReportMetric(1000*took[len(took)/2], "p50-ms")
	b.ReportMetric(1000*took[len(took)*99/100], "p99-ms")
	b.ReportMetric(0, "ns/op") // a flap is a death and a recovery
}

// A loop is the daemon without probes: bus, engine, worker and kernel.
type loop struct {
	bus      *bus.Bus
	engine   *engine.Engine
	services []core.Service
	seq      uint64
	applied  chan core.Decision // the latest decisions with a transition as trigger
}

func newLoop(b *testing.B, services, backends int, policy string, specs ...core.PolicySpec) *loop {
	b.Helper()
	log := slog.New(slog.DiscardHandler)
	l := labtest.New(b, lab.Config{Backends: 1})
	var applier *nft.Applier
	if err := l.Balancer.Do(func() (err error) { applier, err = nft.Open(nft.Config{}); return err }); err != nil {
		b.Fatal(err)
	}
	s, err := bus.Start(b.Context(), bus.Options{Node: "test"})
	if err != nil {
		b.Fatal(err)
	}
	host := plugins.NewHost(plugins.Config{})
	r := &loop{bus: s, applied: make(chan core.Decision, 64)}
	for i := range services {
		r.services = append(r.services, manyBackends(i, backends))
		r.services[i].Policy = policy
	}
	setup := engine.Setup{Services: r.services, Probes: map[string]core.ProbeSpec{
		"alive": {Name: "alive", Type: core.ProbeTCP, Role: core.HealthRole, Rise: 1, Fall: 1}}}
	r.engine = engine.New(engine.Config{Node: "test", Scheduler: host, Applier: applier, Publisher: tap{publisher{bus: s, log: log}, r.applied}, Log: log}, setup)
	ctx, cancel := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = host.Run(ctx) })
	if err := host.Load(ctx, specs); err != nil {
		b.Fatal(err)
	}
	unsubscribe, err := s.SubscribeSamples(r.engine.Offer)
	if err != nil {
		b.Fatal(err)
	}
	wg.Go(func() {
		if err := r.engine.Run(ctx); err != nil {
			b.Error(err)
		}
	})
	b.Cleanup(func() {
		cancel()
		wg.Wait()
		unsubscribe()
		s.Close()
		_ = applier.Close()
	})
	<-r.engine.Ready()
	r.raise(b)
	return r
}

// raise brings every backend up and waits until the kernel carries all.
func (r *loop) raise(b *testing.B) {
	b.Helper()
	for i, s := range r.services {
		for _, be := range s.Backends {
			r.say(b, core.BackendID{Service: s.Name, Backend: be.Name}, true)
		}
		if i%500 == 499 { // no more at once than the engine queues
			for r.bus.Stats().Received < r.seq {
				wait(time.Millisecond)
			}
			if _, err := r.engine.View(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
	for deadline := time.Now().Add(time.Minute); ; wait(200 * time.Millisecond) {
		v, err := r.engine.View(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if !slices.ContainsFunc(v.Services, func(s core.ServiceView) bool { return s.Backends[len(s.Backends)-1].Slots == 0 }) {
			break
		}
		if time.Now().After(deadline) {
			b.Fatalf("the services did not come up; the engine dropped %d samples, the bus: %+v", v.SamplesDropped, r.bus.Stats())
		}
	}
	for quiet := time.After(2 * time.Second); ; {
		select {
		case <-r.applied:
		case <-quiet:
			return
		}
	}
}

func (r *loop) say(b *testing.B, id core.BackendID, ok bool) {
	b.Helper()
	r.seq++
	err := r.bus.PublishSample(core.Sample{
		Backend: id, Probe: "alive", Type: core.ProbeTCP, Role: core.HealthRole, Node: "test",
		Seq: r.seq, TakenAt: time.Now().UTC(), OK: ok, Code: core.L4Refused, Detail: "connection refused",
	})
	if err != nil {
		b.Fatal(err)
	}
}

// flap kills one backend and raises it again; it returns the seconds from the
// death's publication to its commit.
func (r *loop) flap(b *testing.B, i int) float64 {
	b.Helper()
	s := r.services[(i*7919)%len(r.services)]
	id := core.BackendID{Service: s.Name, Backend: s.Backends[i%len(s.Backends)].Name}
	start := time.Now()
	r.say(b, id, false)
	d := <-r.applied
	if d.Service != id.Service || d.Trigger != id.Backend+" went down" {
		b.Fatalf("got the decision %q of %s, want the death of %s", d.Trigger, d.Service, id)
	}
	took := d.Commit.At.Sub(start).Seconds()
	r.say(b, id, true)
	<-r.applied
	return took
}

// A tap hands on decisions that a transition made.
type tap struct {
	publisher
	applied chan<- core.Decision
}

func (t tap) Decision(d core.Decision) {
	t.publisher.Decision(d)
	if (d.Outcome == core.Applied || d.Outcome == core.Superseded) && d.Trigger != "interval" && d.Trigger != "start" {
		select {
		case t.applied <- d:
		default: // while all come up nobody reads
		}
	}
}

func manyBackends(i, backends int) core.Service {
	s := core.Service{
		Name: fmt.Sprintf("s%d", i), Traffic: core.Simple(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 80), core.TCP),
		Policy: "weighted", Every: time.Second, Probes: []string{"alive"},
		Shaping: core.Shaping{Hold: time.Minute, Step: 0.25, DeadBand: 0.005},
	}
	for k := range backends {
		s.Backends = append(s.Backends, core.Backend{
			Name: fmt.Sprintf("b%02d", k), Weight: 100,
			Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(2 + k), byte(i >> 8), byte(i)}), 80),
		})
	}
	return s
}
