// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/steelyard-lb/steelyard/core"
)

// Who puts back what was read of a table, in whichever way its services find their
// backends and whoever of those is down or drained, changes nothing.
func TestWhatWasReadIsInForce(t *testing.T) {
	newNetns(t)
	a := open(t, Config{})
	var want core.Plan
	add := func(name string, edit func(core.ServicePlan) core.ServicePlan) {
		vip := fmt.Sprintf("192.0.2.%d:80", len(want.Services)+10)
		s := service(name, vip, core.TCP)
		for i := range 5 {
			s.Backends = append(s.Backends, backend(fmt.Sprintf("b%d", i+1), fmt.Sprintf("198.51.100.%d:80", 10*len(want.Services)+i+1), 0))
		}
		s = weighed(edit(s), 1, 3, 7, 0, 0)
		s.Backends[3].Alive = true // drained; the last is down
		want.Services = append(want.Services, s)
	}
	pinned := func(s core.ServicePlan) core.ServicePlan {
		return with(sticky(s), func(t *core.Traffic) {
			t.Pins = []core.Pin{{Client: netip.MustParsePrefix("192.0.2.99/32"), Backend: "b4"}, {Client: netip.MustParsePrefix("192.0.2.98/32"), Backend: "b5"}}
		})
	}
	for _, d := range []core.Distribution{core.Random, core.RoundRobin, core.Hash, core.SymHash} {
		add("as-"+string(d), func(s core.ServicePlan) core.ServicePlan {
			return pinned(with(s, func(t *core.Traffic) { t.Distribution, t.Seed = d, 0x5ee1 }))
		})
	}
	for _, f := range []core.Forwarding{core.DSR, core.Stateless} {
		add("by-"+string(f), func(s core.ServicePlan) core.ServicePlan {
			return with(untracked(s, f, core.BySource), func(t *core.Traffic) { t.OnEmpty = core.Drop })
		})
	}
	slices.SortFunc(want.Services, func(x, y core.ServicePlan) int { return len(x.Name) - len(y.Name) })
	mustSync(t, a, want)
	read, err := Read(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	back := core.Plan{}
	for _, s := range want.Services {
		s.Backends = slices.Clone(s.Backends)
		k := slices.IndexFunc(read.Plan.Services, func(r core.ServicePlan) bool { return r.Name == s.Name })
		if k < 0 {
			t.Fatalf("%s was not read", s.Name)
		}
		for i := range s.Backends {
			b := &s.Backends[i]
			b.Slots, b.Alive, b.Hop = 0, false, core.Hop{}
			for _, r := range read.Plan.Services[k].Backends {
				if r.Name == b.Name && r.Addr == b.Addr {
					b.Slots, b.Alive, b.Hop = r.Slots, r.Alive, r.Hop
				}
			}
			if wanted := want.Services[slices.IndexFunc(want.Services, func(w core.ServicePlan) bool { return w.Name == s.Name })].Backends[i].Hop; b.Hop != wanted && b.Alive {
				t.Errorf("%s/%s goes by %+v, want %+v", s.Name, b.Name, b.Hop, wanted)
			}
		}
		if s.Forwarding != core.DSR && len(read.Plan.Services[k].Backends) != len(s.Backends) {
			t.Errorf("%s: %d backends were read, want %d", s.Name, len(read.Plan.Services[k].Backends), len(s.Backends))
		}
		back.Services = append(back.Services, s)
	}
	if list := read.Diff(back); len(list) > 0 {
		t.Errorf("putting back what was read changes: %+v", list)
	}
	for i := range back.Services {
		s := back.Services[i]
		other := core.Plan{Services: slices.Clone(back.Services)}
		other.Services[i] = weighed(s, 7, 3, 1, 0, 0)
		if list := read.Diff(other); len(list) != 1 || list[0].Service != s.Name || list[0].ElementsAdded == 0 {
			t.Errorf("other weights of %s: %+v", s.Name, list)
		}
	}
}

// A restart moves no client of a hash, and leaves no turn: nor does a change of
// something else after it.
func TestAdoptedRingsStay(t *testing.T) {
	for _, d := range []core.Distribution{core.Hash, core.SymHash, core.RoundRobin} {
		t.Run(string(d), func(t *testing.T) {
			newNetns(t)
			a := open(t, Config{Unowned: true})
			s := service("web", "192.0.2.10:80", core.TCP, backend("a", "198.51.100.1:80", 2006), backend("b", "198.51.100.2:80", 3344), backend("c", "198.51.100.3:80", 60186), backend("d", "198.51.100.4:80", 0))
			s = with(s, func(t *core.Traffic) { t.Distribution, t.Seed = d, 1 })
			mustSync(t, a, plan(s))
			ring := a.known["web"].tables[0].set.name
			want := nftOutput(t, "list", "map", "inet", "steelyard", ring)
			if err := a.Close(); err != nil {
				t.Fatal(err)
			}
			b := open(t, Config{Unowned: true})
			adopted, found, err := b.Adopt(t.Context())
			if !found || err != nil {
				t.Fatalf("found %t, %v", found, err)
			}
			s = *clonePlan(&s)
			for i := range s.Backends {
				s.Backends[i].Slots = adopted.Services[0].Backends[i].Slots
			}
			if c := mustSync(t, b, plan(s)); c.Changed != 0 {
				t.Errorf("%d elements changed, want none", c.Changed)
			}
			s = with(s, func(t *core.Traffic) { t.OnEmpty = core.Drop })
			mustSync(t, b, plan(s))
			if diff := cmp.Diff(want, nftOutput(t, "list", "map", "inet", "steelyard", ring)); diff != "" {
				t.Errorf("-before +after:\n%s", diff)
			}
			s = *clonePlan(&s)
			s.Backends[0].Slots, s.Backends[2].Slots = 10000, core.Slots-10000-s.Backends[1].Slots
			if _, err := b.Reweight(t.Context(), []core.ServicePlan{s}); err != nil {
				t.Errorf("reweight: %v", err)
			}
			if diff := cmp.Diff(Render(plan(s)), listTable(t)); diff != "" {
				t.Errorf("after a reweight: -want +kernel:\n%s", diff)
			}
		})
	}
}
