// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/steelyard-lb/steelyard/core"
	"github.com/vishvananda/netns"
)

// sticky is s with persistence.
func sticky(s core.ServicePlan) core.ServicePlan {
	return with(s, func(t *core.Traffic) {
		t.Persistence = core.Persistence{Timeout: 90 * time.Second, Prefix4: 32, Prefix6: 128, Size: 65536}
	})
}

func persistGoldens() map[string]core.Plan {
	a, b := backend("a", "198.51.100.1:8080", 32768), backend("b", "198.51.100.2:8080", 32768)
	a6 := backend("a", "[2001:db8:1::1]:8080", 65536)

	plain := sticky(service("plain", "192.0.2.10:80", core.TCP, a, b))
	nets := with(sticky(service("nets", "192.0.2.11:80", core.TCP, a, b)), func(t *core.Traffic) { t.Persistence.Prefix4 = 24 })
	nets.Backends[1].Forwarding = core.Masquerade
	v6 := with(sticky(service("v6", "[2001:db8::11]:80", core.TCP, a6)), func(t *core.Traffic) { t.Persistence.Prefix6 = 56 })
	pinned := with(service("pinned", "192.0.2.12:80", core.TCP, a, b), func(t *core.Traffic) {
		t.Pins = []core.Pin{
			{Client: netip.MustParsePrefix("10.1.2.3/32"), Backend: "b"},
			{Client: netip.MustParsePrefix("10.1.0.0/16"), Backend: "a"},
		}
	})
	pinned.Backends = append(pinned.Backends, backend("c", "[2001:db8:1::3]:8080", 65536))
	pinned = with(pinned, func(t *core.Traffic) {
		t.Frontends = append(t.Frontends, core.ExactFrontend(netip.MustParseAddrPort("[2001:db8::12]:80"), core.TCP))
		t.Pins = append(t.Pins, core.Pin{Client: netip.MustParsePrefix("2001:db8:7::/48"), Backend: "c"}, core.Pin{Client: netip.MustParsePrefix("2001:db8:8::/48"), Backend: "c"})
	})
	return map[string]core.Plan{"persistence": plan(nets, plain), "persistence6": plan(v6), "pins": plan(pinned)}
}

// TestPinSpans lays nested prefixes out side by side; each is A.B to A.B@BACKEND.
func TestPinSpans(t *testing.T) {
	pin := func(client, backend string) core.Pin {
		return core.Pin{Client: netip.MustParsePrefix(client), Backend: backend}
	}
	tests := []struct {
		name string
		pins []core.Pin
		want []string
	}{
		{"apart", []core.Pin{pin("10.2.0.0/16", "a"), pin("10.1.0.0/16", "b")}, []string{"10.1.0.0-10.1.255.255@b", "10.2.0.0-10.2.255.255@a"}},
		{"one within another", []core.Pin{pin("10.1.2.3/32", "b"), pin("10.1.0.0/16", "a")},
			[]string{"10.1.0.0-10.1.2.2@a", "10.1.2.3-10.1.2.3@b", "10.1.2.4-10.1.255.255@a"}},
		{"three deep, in any order", []core.Pin{pin("10.0.0.0/8", "a"), pin("10.1.0.0/24", "a"), pin("10.1.0.0/16", "b")},
			[]string{"10.0.0.0-10.0.255.255@a", "10.1.0.0-10.1.0.255@a", "10.1.1.0-10.1.255.255@b", "10.2.0.0-10.255.255.255@a"}},
		{"another one in between", []core.Pin{pin("10.1.0.0/16", "b"), pin("172.16.0.0/12", "a"), pin("10.0.0.0/8", "a")},
			[]string{"10.0.0.0-10.0.255.255@a", "10.1.0.0-10.1.255.255@b", "10.2.0.0-10.255.255.255@a", "172.16.0.0-172.31.255.255@a"}},
		{"of a dead backend", []core.Pin{pin("10.1.2.3/32", "dead"), pin("10.1.0.0/16", "a")}, []string{"10.1.0.0-10.1.255.255@a"}},
		{"of everything", []core.Pin{pin("0.0.0.0/0", "a"), pin("255.255.255.255/32", "b")},
			[]string{"0.0.0.0-255.255.255.254@a", "255.255.255.255-255.255.255.255@b"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := with(service("web", "192.0.2.10:80", core.TCP, backend("a", "10.9.0.1:80", 1), backend("b", "10.9.0.2:80", 1), backend("dead", "10.9.0.3:80", 0)),
				func(t *core.Traffic) { t.Pins = tt.pins })
			var got []string
			for _, p := range pinSpans(&s, false) {
				got = append(got, p.first.String()+"-"+p.last.String()+"@"+p.to.Name)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestPersistence follows one client. It stays on its backend while that is alive
// or drained, leaves it at once when it dies (a balancer that only takes the
// weights away keeps it there until it gives up), and stays on the next.
func TestPersistence(t *testing.T) {
	for _, vip := range []string{"10.0.9.1:80", "[fd00:9::1]:80"} {
		t.Run(vip, func(t *testing.T) {
			v6 := strings.HasPrefix(vip, "[")
			addrs := []string{"10.0.2.11:8080", "10.0.2.12:8080", "10.0.2.13:8080"}
			if v6 {
				addrs = []string{"[fd00:2::11]:8080", "[fd00:2::12]:8080", "[fd00:2::13]:8080"}
			}
			s := sticky(service("web", vip, core.TCP, backend("b1", addrs[0], 30000), backend("b2", addrs[1], 30000), backend("b3", addrs[2], 5536)))
			w, a := newTraffic(t, plan(s))
			askOne := func() (name string) {
				w.in(w.client, func() {
					var err error
					name, _, err = ask("tcp", vip, patience)
					w.must(err)
				})
				return name
			}
			stays := func(want string) {
				t.Helper()
				for range 20 {
					if got := askOne(); got != want {
						t.Fatalf("the client got %s: want %s", got, want)
					}
				}
			}
			reweight := func(edit func(b *core.BackendPlan)) {
				t.Helper()
				s = *clonePlan(&s)
				for i := range s.Backends {
					edit(&s.Backends[i])
				}
				if _, err := a.Reweight(t.Context(), []core.ServicePlan{s}); err != nil {
					t.Fatal(err)
				}
			}
			first := askOne()
			stays(first)
			found, err := a.Sessions(t.Context(), s, core.SessionFilter{}, 0)
			if list := found.List; err != nil || len(list) != 1 || list[0].Backend != first || list[0].ExpiresIn <= 80 {
				t.Fatalf("sessions %+v, %v: want the one client on %s", list, err, first)
			}

			// Drained: no slots, but alive.
			shift := func(away string) func(b *core.BackendPlan) {
				var given bool
				return func(b *core.BackendPlan) {
					b.Slots = 0
					if b.Name != away && !given {
						b.Slots, given = core.Slots, true
					}
				}
			}
			reweight(shift(first))
			stays(first)

			// Dead.
			reweight(func(b *core.BackendPlan) { b.Alive = b.Name != first })
			second := askOne()
			if second == first {
				t.Fatalf("the client is still sent to %s, which is dead", first)
			}
			stays(second)

			// Back again: the client is not torn away from its new backend.
			reweight(func(b *core.BackendPlan) { b.Alive = true })
			reweight(shift(second))
			stays(second)
		})
	}
}

// A pinned client goes to its backend whatever the weights, unless that is dead.
func TestPins(t *testing.T) {
	s := with(service("web", "10.0.9.1:80", core.TCP, backend("b1", "10.0.2.11:8080", 65536), backend("b2", "10.0.2.12:8080", 0)), func(t *core.Traffic) {
		t.Pins = []core.Pin{{Client: netip.MustParsePrefix("10.0.1.0/24"), Backend: "b2"}}
	})
	s.Backends[1].Alive = true
	w, a := newTraffic(t, plan(s))
	for _, alive := range []bool{true, false, true} {
		s = *clonePlan(&s)
		s.Backends[1].Alive = alive
		if _, err := a.Reweight(t.Context(), []core.ServicePlan{s}); err != nil {
			t.Fatal(err)
		}
		want := map[bool]string{true: "b2", false: "b1"}[alive]
		w.in(w.client, func() {
			for range 10 {
				name, _, err := ask("tcp", "10.0.9.1:80", patience)
				w.must(err)
				if name != want {
					t.Errorf("b2 alive is %t: the client got %s, want %s", alive, name, want)
				}
			}
		})
	}
}

// A client of a backend that has left the configuration is balanced anew, and the
// table full of clients turns nobody away.
func TestPersistenceAfterRemovalAndWhenFull(t *testing.T) {
	b1, b2 := backend("b1", "10.0.2.11:8080", 65536), backend("b2", "10.0.2.12:8080", 65536)
	s := with(sticky(service("web", "10.0.9.1:80", core.TCP, b1)), func(t *core.Traffic) { t.Persistence.Size = 1 })
	w, a := newTraffic(t, plan(s))
	asked := func(from netns.NsHandle, want string) {
		t.Helper()
		w.in(from, func() {
			name, _, err := ask("tcp", "10.0.9.1:80", patience)
			w.must(err)
			if name != want {
				t.Errorf("the client got %s: want %s", name, want)
			}
		})
	}
	asked(w.client, "b1")
	s.Backends = []core.BackendPlan{b2}
	mustSync(t, a, plan(s))
	asked(w.client, "b2")
	if found, err := a.Sessions(t.Context(), s, core.SessionFilter{}, 0); err != nil || len(found.List) != 1 || found.List[0].Backend != "b2" {
		t.Errorf("sessions %+v, %v: want one, on b2", found, err)
	}
	// The map is full now. The balancer itself is another client.
	local := plan(s)
	local.LocalClients = true
	mustSync(t, a, local)
	asked(w.balancer, "b2")
	if found, err := a.Sessions(t.Context(), s, core.SessionFilter{}, 0); err != nil || len(found.List) != 1 {
		t.Errorf("sessions %+v, %v: want still one", found, err)
	}
}

// TestBoundToPortOfThisNode pins a client of a service whose backends are ports of this
// node, and has persistence remember it: either leads it to the port that answers,
// while the weights lead to one that does not.
func TestBoundToPortOfThisNode(t *testing.T) {
	for _, tt := range []struct{ vip, client string }{{"10.0.9.1:80", "10.0.1.0/24"}, {"[fd00:9::1]:80", "fd00:1::/64"}} {
		s := forwarding(service("own", tt.vip, core.TCP, backend("one", "127.0.0.1:80", 65536), backend("two", "127.0.0.1:9", 0)), core.Local)
		s.Backends[1].Alive = true
		away := *clonePlan(&s)
		away.Backends[0].Slots, away.Backends[1].Slots = 0, core.Slots
		pinned := with(away, func(t *core.Traffic) { t.Pins = []core.Pin{{Client: netip.MustParsePrefix(tt.client), Backend: "one"}} })
		w, a := newTraffic(t, plan(pinned))
		answers := func(when string) {
			t.Helper()
			w.in(w.client, func() {
				if name, _, err := ask("tcp", tt.vip, patience); err != nil || name != "balancer" {
					t.Errorf("%s, %s: %q, %v", tt.vip, when, name, err)
				}
			})
		}
		answers("pinned")
		bound := func(s core.ServicePlan) core.ServicePlan {
			return with(s, func(t *core.Traffic) {
				t.Persistence = core.Persistence{Timeout: time.Minute, Prefix4: 32, Prefix6: 64, Size: 100}
			})
		}
		mustSync(t, a, plan(bound(s)))
		answers("new")
		mustSync(t, a, plan(bound(away)))
		answers("remembered")
		found, err := a.Sessions(t.Context(), bound(away), core.SessionFilter{}, 5)
		if err != nil || len(found.List) != 1 || found.List[0].Backend != "one" {
			t.Errorf("%s: sessions %+v, %v: want one, of backend one", tt.vip, found, err)
		}
	}
}
