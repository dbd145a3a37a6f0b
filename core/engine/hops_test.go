// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// dsrSetup is a service of dsr with two backends, and what the kernel carries of
// it from an earlier life.
func dsrSetup() (Setup, core.Plan) {
	s := web("web", "weighted", 1, 1)
	s.Forwarding = core.DSR
	left := core.ServicePlan{Name: "web", Traffic: &core.Traffic{Forwarding: core.DSR}}
	for _, b := range s.Backends {
		left.Backends = append(left.Backends, core.BackendPlan{Name: b.Name, Addr: b.Addr, Slots: core.Slots / 2, Alive: true, Forwarding: core.DSR})
	}
	return setupOf(s), core.Plan{Services: []core.ServicePlan{left}}
}

// lateLink is a link that finds a backend's address some time after the start.
type lateLink struct {
	link
	late map[netip.Addr]time.Duration
}

func (n *lateLink) Changed() <-chan struct{} {
	if n.changed == nil {
		n.link.Changed()
		for a, d := range n.late {
			time.AfterFunc(d, func() {
				n.mu.Lock()
				if n.hops == nil {
					n.hops = map[netip.Addr]core.Hop{}
				}
				n.hops[a] = core.Hop{MAC: [6]byte{2, 0, 0, 0, 0, 1}, Device: "eth0"}
				n.mu.Unlock()
				select {
				case n.changed <- struct{}{}:
				default:
				}
			})
		}
	}
	return n.changed
}

// A start that adopts a table waits for the link addresses of the backends in it,
// so that the first plan takes nobody's flows away, but not for long.
func TestStartAwaitsHops(t *testing.T) {
	for _, tt := range []struct {
		name   string
		second time.Duration // when the second backend is found
		want   []uint32
		took   time.Duration
	}{
		{"soon", 200 * time.Millisecond, []uint32{32768, 32768}, 200 * time.Millisecond},
		{"never", time.Hour, []uint32{65536, 0}, hopPatience},
	} {
		t.Run(tt.name, func(t *testing.T) {
			setup, left := dsrSetup()
			k, b := &kernel{left: left}, setup.Services[0].Backends
			n := &lateLink{late: map[netip.Addr]time.Duration{b[0].Addr.Addr(): time.Millisecond, b[1].Addr.Addr(): tt.second}}
			engineTestWith(t, k, policies{"weighted": weighted}, setup, Config{Neighbours: n}, func(t *testing.T, e *Engine, l *log) {
				if k.syncs != 1 {
					t.Errorf("%d syncs at the start, want 1", k.syncs)
				}
				want(t, k, "web", tt.want...)
				if took := time.Since(e.startedAt); took != tt.took {
					t.Errorf("ready after %v, want %v", took, tt.took)
				}
			})
		})
	}
}

// A link address that changes is brought in by a full sync, since a re-weight
// cannot: no commit fails for it.
func TestHopMoves(t *testing.T) {
	setup, _ := dsrSetup()
	k, n, b := &kernel{}, &link{}, setup.Services[0].Backends
	engineTestWith(t, k, policies{"weighted": weighted}, setup, Config{Neighbours: n}, func(t *testing.T, e *Engine, l *log) {
		e.up("b1", "b2")
		for mac := range byte(3) {
			n.set(b[0].Addr.Addr(), mac+1)
			synctest.Wait()
			k.mu.Lock()
			if got := k.plans["web"].Backends[0].Hop.MAC[5]; got != mac+1 {
				t.Errorf("the kernel sends to %d, want %d", got, mac+1)
			}
			k.mu.Unlock()
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, ev := range l.events {
			if ev.Severity == core.Error && ev.Topic == "kernel" {
				t.Errorf("event %+v", ev)
			}
		}
	})
}
