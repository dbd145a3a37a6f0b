// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

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
