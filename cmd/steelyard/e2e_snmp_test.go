// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/probes/probestest"
)

// From Debian's snmpd to the kernel's weights: two backends whose CPU counters
// we drive, read over v2c by one service and over v3 (SHA-256, AES) by another.
// The idle one gets the connections; when they swap, so do the shares.
func TestCPUFromSNMPToTheKernel(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	var busy [2]atomic.Uint64 // percent
	busy[0].Store(80)
	busy[1].Store(20)
	for i := range 2 {
		r.drive(t, i, &busy[i])
	}
	service := func(name string, port int, probe string) string {
		return fmt.Sprintf("  %s: {vip: %s, port: %d, policy: least-cpu, every: 200ms, probes: [alive, %s], backends: %s}\n",
			name, r.lab.VIP4, port, probe, r.backends(false, 50, 50))
	}
	r.write(`  v2: {type: snmp_cpu, interval: 500ms, timeout: 400ms, window: 1s, community: public}
  v3: {type: snmp_cpu, interval: 500ms, timeout: 400ms, window: 1s, version: "3", user: steelyard,
       auth: {protocol: SHA256, password: authentication}, priv: {protocol: AES, password: encryption}}
services:
` + service("two", 80, "v2") + service("three", 81, "v3"))
	r.start()
	stop80, stop81 := r.background("tcp", r.vip4(80)), r.background("tcp", r.vip4(81))
	defer stop81()
	defer stop80()
	for _, name := range []string{"two", "three"} {
		r.untilWithin(startPatience, name+": the idle backend has most of the shares", func() error { return r.leads(name, 1, &busy) })
	}
	busy[0].Store(20)
	busy[1].Store(80)
	for _, name := range []string{"two", "three"} {
		r.untilWithin(startPatience, name+": the shares followed", func() error { return r.leads(name, 0, &busy) })
	}
}

// leads checks that a backend has over 65 % and that both CPUs are seen as driven.
func (r *rig) leads(service string, i int, busy *[2]atomic.Uint64) error {
	s, err := r.service(service)
	if err != nil {
		return err
	}
	for k, b := range s.Backends {
		if b.CPU == nil {
			return fmt.Errorf("%s has no cpu yet", b.Name)
		}
		if want := float64(busy[k].Load()) / 100; math.Abs(*b.CPU-want) > 0.05 {
			return fmt.Errorf("%s is seen at %.2f, driven at %.2f", b.Name, *b.CPU, want)
		}
	}
	if b := s.Backends[i]; b.Share < 0.65 {
		return fmt.Errorf("%s has %.2f (%s)", b.Name, b.Share, b.Why)
	}
	return nil
}

// drive starts a real snmpd in a backend and moves its counters 10 times a
// second by the wall clock.
func (r *rig) drive(t *testing.T, i int, percent *atomic.Uint64) {
	t.Helper()
	n := r.lab.Backends[i]
	ctx, cancel := context.WithCancel(t.Context())
	first := probestest.CPU{User: 1000, Idle: 1000, Cores: 1}
	agent, err := probestest.StartSnmpd(ctx, probestest.SnmpdConfig{
		Dir: t.TempDir(), Addr: netip.AddrPortFrom(n.Addr4, 161), Exec: []string{"ip", "netns", "exec", n.Namespace},
		Community: "public", User: "steelyard", AuthPassword: "authentication", PrivPassword: "encryption", Counters: first,
	})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		c, last := first, time.Now()
		var user, idle float64 // ticks not yet shown
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case now := <-tick.C:
				ticks := 100 * now.Sub(last).Seconds()
				last = now
				share := float64(percent.Load()) / 100
				user, idle = user+share*ticks, idle+(1-share)*ticks
				c.User, c.Idle = first.User+uint32(user), first.Idle+uint32(idle)
				if err := agent.SetCounters(c); err != nil && ctx.Err() == nil {
					t.Errorf("set counters: %v", err)
					return
				}
			}
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		if err := agent.Stop(); err != nil {
			t.Errorf("stop snmpd: %v", err)
		}
	})
}
