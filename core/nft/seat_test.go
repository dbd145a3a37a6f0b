// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/steelyard-lb/steelyard/core"
)

// openShared is an Applier with a few maps of services' own only.
func openShared(t *testing.T, own int, spares bool) *Applier {
	a := open(t, Config{Unowned: true})
	a.ownMaps, a.spares = own, spares
	return a
}

func withAndWithoutSpares(t *testing.T, f func(t *testing.T, spares bool)) {
	t.Run("plain", func(t *testing.T) { f(t, false) })
	t.Run("spares", func(t *testing.T) { f(t, true) })
}

// TestSharedMapsGolden is the table of more services than have maps of their own:
// what Render says is what the kernel has, and what nft reads.
func TestSharedMapsGolden(t *testing.T) {
	withAndWithoutSpares(t, sharedMapsGolden)
}

func sharedMapsGolden(t *testing.T, spares bool) {
	newNetns(t)
	p := manyServices(40, 3)
	want := render(DefaultTable, p, 5, spares)
	file := filepath.Join(t.TempDir(), "shared.nft")
	writeFile(t, file, want)
	if out, err := exec.Command("nft", "-c", "-f", file).CombinedOutput(); err != nil {
		t.Errorf("nft -c -f: %v\n%s", err, out)
	}
	a := openShared(t, 5, spares)
	mustSync(t, a, p)
	if diff := cmp.Diff(want, listTable(t)); diff != "" {
		t.Errorf("-Render +kernel:\n%s", diff)
	}
	if n := strings.Count(want, "map weights"); n < 3 {
		t.Errorf("%d shared maps: want one for each kind of service", n)
	}
}

// TestSharedMapsChange takes a plan through changes of all kinds, by Sync, Reweight
// and adoption. The kernel must carry each one, and a service that did not change
// must keep its seat.
func TestSharedMapsChange(t *testing.T) {
	withAndWithoutSpares(t, sharedMapsChange)
}

func sharedMapsChange(t *testing.T, spares bool) {
	newNetns(t)
	a := openShared(t, 3, spares)
	all := manyServices(60, 4).Services
	rng := rand.New(rand.NewPCG(1, 2))
	in := map[int]bool{}
	rounds := 40
	if testing.Short() {
		rounds = 12
	}
	for round := range rounds {
		for range 8 {
			i := rng.IntN(len(all))
			in[i] = !in[i]
			s := &all[rng.IntN(len(all))]
			*s = *clonePlan(s)
			from, to := rng.IntN(4), rng.IntN(4)
			n := rng.Uint32N(s.Backends[from].Slots + 1)
			s.Backends[from].Slots -= n
			s.Backends[to].Slots += n
		}
		if i := rng.IntN(len(all)); round%5 == 0 { // another kind of map
			all[i] = with(all[i], func(t *core.Traffic) { t.Distribution = core.RoundRobin })
		} else if round%5 == 1 {
			all[i] = with(all[i], func(t *core.Traffic) { t.Frontends[0].Protocol = core.SCTP })
		}
		var p core.Plan
		for i := range all {
			if in[i] {
				p.Services = append(p.Services, all[i])
			}
		}
		mustSync(t, a, p)
		checkShared(t, a, p, fmt.Sprintf("round %d", round))
		if round%4 == 3 {
			if err := a.Close(); err != nil {
				t.Fatal(err)
			}
			a = openShared(t, 3, spares)
			inKernel(t, a)
			if c := mustSync(t, a, p); c.Changed != 0 {
				t.Errorf("round %d: adopted, %d elements changed: want none", round, c.Changed)
			}
		}
		for i := range p.Services {
			s := &p.Services[i]
			*s = *clonePlan(s)
			s.Backends[0].Slots, s.Backends[1].Slots = s.Backends[1].Slots, s.Backends[0].Slots
		}
		if _, err := a.Reweight(context.Background(), p.Services); err != nil {
			t.Fatal(err)
		}
		checkShared(t, a, p, fmt.Sprintf("round %d, re-weighted", round))
	}
}

// checkShared reads the kernel anew and compares the weights of all services.
func checkShared(t *testing.T, a *Applier, p core.Plan, when string) {
	t.Helper()
	reader := openShared(t, 3, a.spares)
	defer reader.Close()
	l, err := reader.load(context.Background())
	if err != nil || l.wrong != nil {
		t.Fatalf("%s: %v, %v", when, err, l.wrong)
	}
	taken := map[seat]string{}
	for i := range p.Services {
		s := &p.Services[i]
		h := l.services[s.Name]
		if h == nil {
			t.Fatalf("%s: service %s is not there", when, s.Name)
		}
		if other := taken[h.seat]; h.seat.shared() && other != "" {
			t.Fatalf("%s: services %s and %s have one seat", when, s.Name, other)
		}
		taken[h.seat] = s.Name
		if c := (&change{name: s.Name, from: h.read, to: compileAt(s, a.known[s.Name].seat)}); !c.nothing() {
			t.Fatalf("%s: service %s differs: %s", when, s.Name, c.differs())
		}
	}
	if len(l.services) != len(p.Services) {
		t.Fatalf("%s: %d services in the kernel, want %d", when, len(l.services), len(p.Services))
	}
}
