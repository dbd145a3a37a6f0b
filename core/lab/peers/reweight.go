// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/lab"
	"github.com/steelyard-lb/steelyard/core/nft"
)

// singles is how often one service is re-weighted per run.
const singles = 50

const firstPort = 10_000 // of the services; the next one has the next port

// The backends of services that nobody connects to.
func backendAddr(service, backend int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(service >> 8), byte(service), byte(backend + 1)})
}

// reweight has nftlb's daemon and the applier carry the same services, each in a
// lab of its own, and changes the weights of one and of all of them.
func (b *bench) reweight(ctx context.Context) (t table, err error) {
	theirs, err := b.stage(ctx, "theirs", 1)
	if err != nil {
		return t, err
	}
	defer closing(theirs, &err)
	ours, err := b.stage(ctx, "ours", 1)
	if err != nil {
		return t, err
	}
	defer closing(ours, &err)
	peer, err := b.newNftlb(theirs, b.idleFarms(theirs.VIP4))
	if err != nil {
		return t, err
	}
	b.note("re-weighting: nftlb loads %d farms of %d backends", b.services, b.backends)
	if err := peer.start(ctx); err != nil {
		return t, err
	}
	plan := b.idlePlan(ours.VIP4)
	a, err := openApplier(ctx, ours, plan)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	m := reweighting{bench: b, peer: peer, applier: a, plan: plan}
	for run := range b.runs {
		b.note("re-weighting: run %d of %d", run+1, b.runs)
		if err := m.run(ctx); err != nil {
			return t, err
		}
	}
	return m.table(), nil
}

func openApplier(ctx context.Context, l *lab.Lab, plan core.Plan) (a *nft.Applier, err error) {
	err = l.Balancer.Do(func() error {
		a, err = nft.Open(nft.Config{})
		return err
	})
	if err != nil {
		return nil, err
	}
	_, refused, err := a.Sync(ctx, plan)
	if err == nil && len(refused) > 0 {
		err = fmt.Errorf("the kernel refused services: %v", refused)
	}
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

func (b *bench) idleFarms(vip netip.Addr) []farm {
	farms := make([]farm, b.services)
	for i := range farms {
		farms[i] = farm{
			Name: farmName(i), Family: "ipv4", VIP: vip.String(), Ports: text(firstPort + i),
			Mode: "dnat", Protocol: "tcp", Scheduler: "weight", State: "up",
		}
		for j := range b.backends {
			farms[i].Backends = append(farms[i].Backends, farmBackend{
				Name: text(j), Addr: backendAddr(i, j).String(), Weight: "10", State: "up",
			})
		}
	}
	return farms
}

func (b *bench) idlePlan(vip netip.Addr) core.Plan {
	var plan core.Plan
	for i := range b.services {
		var backends []netip.AddrPort
		for j := range b.backends {
			backends = append(backends, netip.AddrPortFrom(backendAddr(i, j), 80))
		}
		plan.Services = append(plan.Services, servicePlan(farmName(i), netip.AddrPortFrom(vip, uint16(firstPort+i)), backends))
	}
	return plan
}

// servicePlan is a TCP service with equal shares.
func servicePlan(name string, vip netip.AddrPort, backends []netip.AddrPort) core.ServicePlan {
	traffic := core.Simple(vip, core.TCP)
	s := core.ServicePlan{Name: name, Traffic: &traffic}
	for i, addr := range backends {
		s.Backends = append(s.Backends, core.BackendPlan{
			Name: fmt.Sprintf("b%03d", i), Addr: addr,
			Slots: core.Slots / uint32(len(backends)), Alive: true, Forwarding: traffic.Forwarding,
		})
	}
	s.Backends[0].Slots += core.Slots % uint32(len(backends))
	return s
}

// A reweighting is the state of the measurement.
type reweighting struct {
	*bench
	peer    *nftlb
	applier *nft.Applier
	plan    core.Plan
	round   int // every round has other weights than the one before

	theirOne, ourOne []time.Duration
	theirAll, ourAll []time.Duration
	theirNone        []time.Duration // a call that changes nothing
}

func (m *reweighting) run(ctx context.Context) error {
	for i := range singles {
		if err := m.both(ctx, i%m.services, 1, &m.theirOne, &m.ourOne); err != nil {
			return err
		}
		took, err := m.theirs(ctx, i%m.services, 1)
		if err != nil {
			return err
		}
		m.theirNone = append(m.theirNone, took)
	}
	before, err := m.peer.rules(ctx, farmName(0))
	if err != nil {
		return err
	}
	if err := m.both(ctx, 0, m.services, &m.theirAll, &m.ourAll); err != nil {
		return err
	}
	after, err := m.peer.rules(ctx, farmName(0))
	if err == nil && bytes.Equal(before, after) {
		err = errors.New("nftlb said that it changed the weights, but the kernel has the old ones")
	}
	return err
}

// both re-weights n services from the first on, at nftlb and at the applier.
func (m *reweighting) both(ctx context.Context, first, n int, theirs, ours *[]time.Duration) error {
	m.round++
	took, err := m.theirs(ctx, first, n)
	if err != nil {
		return err
	}
	*theirs = append(*theirs, took)
	list := m.plan.Services[first : first+n]
	for i := range list {
		m.shift(&list[i])
	}
	began := time.Now()
	if _, err := m.applier.Reweight(ctx, list); err != nil {
		return err
	}
	*ours = append(*ours, time.Since(began))
	return nil
}

// theirs gives the first backend of each farm the weight of the round.
func (m *reweighting) theirs(ctx context.Context, first, n int) (time.Duration, error) {
	farms := make([]farm, n)
	for i := range farms {
		farms[i] = farm{Name: farmName(first + i), Backends: []farmBackend{{Name: "0", Weight: text(11 + m.round%89)}}}
	}
	began := time.Now()
	err := m.peer.post(ctx, farms)
	return time.Since(began), err
}

// shift moves every boundary between backends but the outer ones.
func (m *reweighting) shift(s *core.ServicePlan) {
	n := uint32(len(s.Backends))
	moved := uint32(m.round%89 + 1)
	for i := range s.Backends {
		s.Backends[i].Slots = core.Slots / n
	}
	s.Backends[0].Slots += core.Slots%n - moved
	s.Backends[n-1].Slots += moved
}

func (m *reweighting) table() table {
	t := table{
		title: "Re-weighting",
		intro: fmt.Sprintf("%d services × %d backends are loaded on both sides. nftlb: one POST to its daemon over loopback, until it answers; its API costs %s when nothing changes. "+
			"steelyard: `Reweight` of the applier, read-back included; all boundaries of the weights map move.", m.services, m.backends, ms(quantile(m.theirNone, 0.5))),
		head: []string{"what", "nftlb p50", "nftlb p99", "steelyard p50", "steelyard p99", "p50 ÷ nftlb"},
	}
	add := func(what string, theirs, ours []time.Duration) {
		t.row(what, ms(quantile(theirs, 0.5)), ms(quantile(theirs, 0.99)), ms(quantile(ours, 0.5)), ms(quantile(ours, 0.99)),
			ratio(quantile(ours, 0.5).Seconds(), quantile(theirs, 0.5).Seconds()))
	}
	add(fmt.Sprintf("one service (%d samples)", len(m.ourOne)), m.theirOne, m.ourOne)
	add(fmt.Sprintf("all %d (%d samples: p99 is the largest)", m.services, len(m.ourAll)), m.theirAll, m.ourAll)
	return t
}
