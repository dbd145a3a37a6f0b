// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// reloadTo brings a setup in force, and waits for what follows.
func reloadTo(t *testing.T, e *Engine, setup Setup) {
	t.Helper()
	if _, err := e.Reload(t.Context(), setup); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second)
}

// A reload that takes the other backend away lets the held one in.
func TestReloadSparesTheLast(t *testing.T) {
	alive := core.ProbeSpec{Name: "alive", Type: core.ProbeTCP}
	for name, change := range map[string]func(*Setup){
		"removed": func(s *Setup) { s.Services[0].Backends = s.Services[0].Backends[:1] },
		"weight":  func(s *Setup) { s.Services[0].Backends[1].Weight = 0 },
		"sorry":   func(s *Setup) { s.Services[0].Backends[1].Sorry = true },
		"window":  func(s *Setup) { s.Maintenance = []core.Maintenance{once(0, 2*time.Hour, "web/b2")} },
	} {
		t.Run(name, func(t *testing.T) {
			k := &kernel{}
			engineTest(t, k, policies{"weighted": weighted}, probed(flapping, alive), func(t *testing.T, e *Engine, l *log) {
				e.up("b1", "b2")
				e.flap("b1", 3)
				want(t, k, "web", 0, 65536)
				next := probed(flapping, alive)
				change(&next)
				k.slow(100 * time.Millisecond)
				done := make(chan error, 1)
				go func() {
					_, err := e.Reload(t.Context(), next)
					done <- err
				}()
				for range 20 { // nor is it out of the weights for a moment
					time.Sleep(20 * time.Millisecond)
					if slots := k.get("web"); !slices.ContainsFunc(slots, func(n uint32) bool { return n > 0 }) {
						t.Fatalf("slots %v", slots)
					}
				}
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * time.Second)
				if slots := k.get("web"); slots[0] != core.Slots {
					t.Errorf("slots %v", slots)
				}
				if ch := l.changes(); ch[len(ch)-1] != "b1 down→up  FLAP: no other backend is up: no longer held down" {
					t.Errorf("changes %q", ch)
				}
			})
		})
	}
}

// A backend that is up and that no packet can be sent to does not serve.
func TestUnreachableIsNoOther(t *testing.T) {
	k, n := &kernel{}, &link{hops: map[netip.Addr]core.Hop{}}
	setup := probed(flapping, core.ProbeSpec{Name: "alive", Type: core.ProbeTCP})
	setup.Services[0].Forwarding = core.DSR
	b1 := setup.Services[0].Backends[0].Addr.Addr()
	n.hops[b1] = core.Hop{MAC: [6]byte{2, 0, 0, 0, 0, 1}, Device: "eth0"}
	engineTestWith(t, k, policies{"weighted": weighted}, setup, Config{Neighbours: n}, func(t *testing.T, e *Engine, l *log) {
		time.Sleep(10 * time.Second)
		e.up("b1", "b2")
		time.Sleep(2 * time.Second)
		want(t, k, "web", core.Slots, 0)
		e.flap("b1", 3)
		want(t, k, "web", core.Slots, 0)
	})
}
