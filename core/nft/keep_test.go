// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/steelyard-lb/steelyard/core"
)

// refusable are services of all kinds, each of which a slot too many makes one that
// is refused.
func refusable() map[string]core.ServicePlan {
	dual := service("bad", "192.0.2.2:80", core.UDP, backend("a", "198.51.100.2:8080", core.Slots/2), backend("b", "198.51.100.3:8080", core.Slots/2))
	list := map[string]core.ServicePlan{"plain": dual, "masquerade": forwarding(dual, core.Masquerade)}
	for name, edit := range map[string]func(*core.Traffic){
		"much": func(t *core.Traffic) {
			t.Frontends[0].Ports = core.PortRange{First: 80, Last: 90}
			t.Persistence = core.Persistence{Timeout: time.Minute, Prefix4: 24, Prefix6: 64, Size: 100}
			t.Pins = []core.Pin{{Client: netip.MustParsePrefix("10.1.0.0/16"), Backend: "b"}}
			t.Bytes, t.Hairpin = true, true
		},
		"turned away": func(t *core.Traffic) {
			t.Deny, t.Log = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}, core.LogRule{PerSecond: 5}
			r := core.Rate{PerSecond: 5, Burst: 5}
			t.Limits = core.Limits{New: r, NewPerClient: r, ResetsPerClient: r, Open: 10, OpenPerClient: 5, Strict: true, Clients: 100, Answer: core.Reject}
		},
	} {
		list[name] = with(dual, edit)
	}
	for _, name := range []string{"dsr", "stateless6"} {
		bad := linkGoldens()[name].Services[0]
		bad.Name = "bad"
		list[name] = bad
	}
	for _, d := range []core.Distribution{core.RoundRobin, core.Hash} {
		list[string(d)] = with(dual, func(t *core.Traffic) { t.Distribution, t.Seed = d, 7 })
	}
	return list
}

// A service that is refused keeps what it had, also where the table has to be
// replaced at that moment, as somebody has put something strange into it; and also
// one that was adopted and is known by nothing but what the kernel tells.
func TestReplacedTableKeepsRefused(t *testing.T) {
	for name, bad := range refusable() {
		if testing.Short() && name != "turned away" { // in the kernel lab's emulator each takes a quarter of a minute
			continue
		}
		t.Run(name, func(t *testing.T) { replacedTable(t, bad, ownMaps) })
	}
	t.Run("plain, in a shared map", func(t *testing.T) { replacedTable(t, refusable()["plain"], 0) })
}

// linesOfBoth is sortedLines of both tables.
func linesOfBoth(t *testing.T) []string {
	list := listTable(t)
	_, second, _ := strings.Cut(list, "table netdev")
	return append(sortedLines(list), sortedLines(layout+second)...)
}

func replacedTable(t *testing.T, bad core.ServicePlan, own int) {
	newNetns(t)
	start := func() *Applier {
		a := open(t, Config{Unowned: true})
		a.ownMaps = own
		return a
	}
	good := service("good", "192.0.2.1:80", core.TCP, backend("a", "198.51.100.1:80", core.Slots))
	a := start()
	mustSync(t, a, plan(bad, good))
	want := linesOfBoth(t)
	// Once by a process that has adopted the table, and then by one that has written it.
	for _, adopt := range []bool{true, false} {
		if adopt {
			if err := a.Close(); err != nil {
				t.Fatal(err)
			}
			a = start()
		}
		nftOutput(t, "add", "set", "inet", DefaultTable, "strange", "{ type ipv4_addr; elements = { 192.0.2.9 }; }")
		if adopt {
			if _, ok, err := a.Adopt(context.Background()); err != nil || !ok {
				t.Fatal(ok, err)
			}
		} else if _, drifted, err := a.Drift(context.Background()); err != nil || !drifted {
			t.Fatal(drifted, err)
		}
		if !a.replace {
			t.Fatal("the table is not to be replaced")
		}
		keepsRefused(t, a, bad, good, want)
		mustSync(t, a, plan(bad, good))
		if diff := cmp.Diff(want, linesOfBoth(t)); diff != "" {
			t.Fatalf("adopted %t, once it is good again (-before +after):\n%s", adopt, diff)
		}
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	inKernel(t, start())
}

// keepsRefused syncs a plan in which bad is refused again and again, and without it
// being written again; another service that comes takes nothing of it, not even its
// seat.
func keepsRefused(t *testing.T, a *Applier, bad, good core.ServicePlan, want []string) {
	t.Helper()
	other := service("other", "192.0.2.3:80", bad.Frontends[0].Protocol, backend("a", "198.51.100.9:80", core.Slots))
	bad = *clonePlan(&bad)
	bad.Backends[0].Slots = 5
	before := a.gen
	for round, p := range []core.Plan{plan(bad, good), plan(bad, good), plan(bad, good, other), plan(bad, good)} {
		c, r, err := a.Sync(context.Background(), p)
		if err != nil || len(r) != 1 || r["bad"] == nil {
			t.Fatalf("sync %d: %v, %v", round, err, r)
		}
		if round == 1 && c.Generation != before {
			t.Errorf("sync %d: generation %d after %d: want nothing written again", round, c.Generation, before)
		}
		before = c.Generation
		if diff := cmp.Diff(want, linesOfBoth(t)); diff != "" && len(p.Services) == 2 {
			t.Fatalf("sync %d (-before +after):\n%s", round, diff)
		}
	}
}

// What drift has made strange is replaced, and counts go on.
func TestReplacedTableKeepsCounts(t *testing.T) {
	newNetns(t)
	a := open(t, Config{Unowned: true})
	p := plan(service("web", "192.0.2.1:80", core.TCP, backend("a", "198.51.100.1:80", core.Slots)))
	mustSync(t, a, p)
	const key = "192.0.2.1 . tcp . 80 . 198.51.100.1 . 80"
	nftOutput(t, "delete", "element", "inet", DefaultTable, "conns4", "{ "+key+" }")
	nftOutput(t, "add", "element", "inet", DefaultTable, "conns4", "{ "+key+" counter packets 5 bytes 300 comment \"web/a\" : accept }")
	nftOutput(t, "add", "set", "inet", DefaultTable, "strange", "{ type ipv4_addr; elements = { 192.0.2.9 }; }")
	if _, drifted, err := a.Drift(context.Background()); err != nil || !drifted || !a.replace {
		t.Fatal(drifted, a.replace, err)
	}
	mustSync(t, a, p)
	if list := listTable(t); !strings.Contains(list, key+" counter packets 5 bytes 300") || strings.Contains(list, "strange") {
		t.Errorf("after the repair:\n%s", list)
	}
}
