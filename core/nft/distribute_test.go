// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/steelyard-lb/steelyard/core"
)

func distributed(s core.ServicePlan, d core.Distribution, key core.HashKey) core.ServicePlan {
	return with(s, func(t *core.Traffic) { t.Distribution, t.HashKey, t.Seed = d, key, 0x5ee1 })
}

func distributeGoldens() map[string]core.Plan {
	a, b := backend("a", "198.51.100.1:8080", 43690), backend("b", "198.51.100.2:8080", 21846)
	web := service("web", "192.0.2.10:80", core.TCP, a, b)
	web6 := service("web6", "[2001:db8::10]:80", core.TCP, backend("a", "[2001:db8:1::1]:8080", 65536))
	own := forwarding(service("own", "192.0.2.11:80", core.TCP, backend("a", "127.0.0.1:8080", 65536)), core.Local)
	own = with(own, func(t *core.Traffic) {
		t.Frontends = append(t.Frontends, core.ExactFrontend(netip.MustParseAddrPort("[2001:db8::11]:80"), core.TCP))
	})
	return map[string]core.Plan{
		"local-hash":      plan(distributed(own, core.Hash, core.BySource)),
		"local-hash-port": plan(distributed(own, core.Hash, core.BySourcePort)),
		"roundrobin":      plan(distributed(web, core.RoundRobin, core.BySource)),
		"hash":            plan(distributed(web, core.Hash, core.BySource)),
		"hash-port":       plan(distributed(web, core.Hash, core.BySourcePort)),
		"hash6":           plan(distributed(web6, core.Hash, core.BySource)),
		"hash6-port":      plan(distributed(web6, core.Hash, core.BySourcePort)),
		"symhash":         plan(distributed(web, core.SymHash, core.BySource)),
	}
}

// TestRoundRobin asks a service of weights 5:1:1. Over a cycle the shares are
// exact, the light ones never come twice in a row, and a re-weight does not begin
// the ring anew.
func TestRoundRobin(t *testing.T) {
	s := distributed(service("web", "10.0.9.1:80", core.TCP,
		backend("b1", "10.0.2.11:8080", 46812), backend("b2", "10.0.2.12:8080", 9362), backend("b3", "10.0.2.13:8080", 9362)), core.RoundRobin, core.BySource)
	w, a := newTraffic(t, plan(s))
	size := core.RingSize(3)
	asked := func(n int) (order []string) {
		w.in(w.client, func() {
			for range n {
				name, _, err := ask("tcp", "10.0.9.1:80", patience)
				w.must(err)
				order = append(order, name)
			}
		})
		return order
	}
	count := map[string]int{}
	order := asked(size)
	for i, name := range order {
		count[name]++
		if i > 0 && name != "b1" && order[i-1] != "b1" {
			t.Errorf("the light ones %s and %s in a row, at %d", order[i-1], name, i)
		}
	}
	if count["b1"] != size*5/7 || count["b2"] != size/7 || count["b3"] != size/7 {
		t.Errorf("over a cycle of %d: %v: want 5:1:1", size, count)
	}

	// The ring goes on from where it was: what comes next is what the layout says
	// is next, not what it begins with.
	asked(3)
	s = *clonePlan(&s)
	s.Backends[0].Slots, s.Backends[1].Slots, s.Backends[2].Slots = 9362, 9362, 46812
	if _, err := a.Reweight(t.Context(), []core.ServicePlan{s}); err != nil {
		t.Fatal(err)
	}
	m := compileWeights(&s, seat{}).maps[0]
	var want []string
	for i := range 10 {
		to, _ := m.at((3 + i) % size)
		want = append(want, backendAt(&s, to))
	}
	if got := asked(10); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("after a re-weight at the third place:\n%v, want\n%v", got, want)
	}
}

// TestHash asks a service from many addresses. A client gets the backend that the
// table says, on a second node with the same seed as well, and keeps it when a
// backend that is not its own goes.
func TestHash(t *testing.T) {
	s := distributed(service("web", "10.0.9.1:80", core.UDP,
		backend("b1", "10.0.2.11:8080", 21846), backend("b2", "10.0.2.12:8080", 21845), backend("b3", "10.0.2.13:8080", 21845)), core.Hash, core.BySource)
	w, a := newTraffic(t, plan(s))
	const clients = 120
	w.in(w.client, func() {
		for i := range clients {
			w.up("c1", fmt.Sprintf("10.0.1.%d/24", 10+i))
		}
	})
	from := func() map[int]string {
		got := map[int]string{}
		w.in(w.client, func() {
			for i := range clients {
				name, _, err := askFrom("udp", fmt.Sprintf("10.0.1.%d:0", 10+i), "10.0.9.1:80", patience)
				w.must(err)
				got[i] = name
			}
		})
		return got
	}
	before, again := from(), from()
	count := map[string]int{}
	for i, name := range before {
		count[name]++
		if again[i] != name {
			t.Errorf("client %d got %s and then %s", i, name, again[i])
		}
	}
	if len(count) != 3 || count["b1"] < clients/6 {
		t.Errorf("clients by backend: %v: want about a third each", count)
	}
	s = *clonePlan(&s)
	s.Backends[0].Slots, s.Backends[1].Slots, s.Backends[2].Slots = 0, 32768, 32768
	if _, err := a.Reweight(t.Context(), []core.ServicePlan{s}); err != nil {
		t.Fatal(err)
	}
	var torn []string
	for i, name := range from() {
		if before[i] != "b1" && name != before[i] {
			torn = append(torn, fmt.Sprint(i))
		}
		if name == "b1" {
			t.Errorf("client %d still gets b1", i)
		}
	}
	if len(torn) > clients/20 {
		t.Errorf("clients %s lost their backend though it stayed", strings.Join(torn, " "))
	}
}
