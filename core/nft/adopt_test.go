// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/nlmsg"
	"golang.org/x/sys/unix"
)

// TestAdoptAfterDeath ends one Applier as a killed process does, by closing its
// sockets, and starts the next: nothing is rebuilt, and the counters live on.
func TestAdoptAfterDeath(t *testing.T) {
	newNetns(t)
	a := open(t, Config{})
	want := manyServices(12, 5)
	want.Services[3].Backends[2].Slots = 0 // a backend without an interval
	want.Services[3].Backends[0].Slots += core.Slots / 5
	mustSync(t, a, want)
	setCounter(t, a, &want.Services[0], 7)
	rules := ruleHandles(t)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}

	b := open(t, Config{})
	if diff := cmp.Diff(want, inKernel(t, b), comparePlans); diff != "" {
		t.Errorf("-want +adopted:\n%s", diff)
	}
	if b.flags != 0 && !b.Owned() {
		t.Error("the orphan was not taken over")
	}
	if c := mustSync(t, b, want); c.Changed != 0 {
		t.Errorf("the same plan again: %d elements changed, want none", c.Changed)
	}
	if got := ruleHandles(t); got != rules {
		t.Errorf("rules differ:\n%s", cmp.Diff(rules, got))
	}
	wantCounter(t, b, &want.Services[0], 7)
}

// setCounter gives the first backend of a service a count, as traffic would.
func setCounter(t *testing.T, a *Applier, s *core.ServicePlan, n uint64) {
	t.Helper()
	from := compile(s)
	var to fragment
	for _, e := range from.elems {
		if _, ok := connKinds[e.set.name]; ok {
			list := slices.Clone(e.list)
			list[0].counter = counter{packets: n, bytes: 60 * n}
			to.elems = append(to.elems, setElems{e.set, list[:1]})
		}
	}
	a.b.reset(a.table, a.w.seq)
	for _, e := range to.elems {
		list := []*elem{&e.list[0]}
		a.b.writeElems(e.set, list, a.b.delElements)
		a.b.writeElems(e.set, list, a.b.addElements)
	}
	a.b.finish()
	if list, err := a.w.transact(&a.b); err != nil || len(list) > 0 {
		t.Fatal(list, err)
	}
}

func wantCounter(t *testing.T, a *Applier, s *core.ServicePlan, n uint64) {
	t.Helper()
	all, err := a.Counters(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []core.CounterKey{{Service: s.Name}, {Service: s.Name, Backend: s.Backends[0].Name}} {
		if got := all[id].Connections; got != n {
			t.Errorf("%v: %d connections, want %d", id, got, n)
		}
	}
}

// A change of one service leaves the counters of the others, and of its own
// backends that stay, alone.
func TestSyncKeepsCounters(t *testing.T) {
	newNetns(t)
	a := open(t, Config{})
	p := manyServices(4, 4)
	mustSync(t, a, p)
	setCounter(t, a, &p.Services[1], 5)
	p.Services[1] = with(p.Services[1], func(t *core.Traffic) { t.OnEmpty = core.Drop })
	p.Services[1].Backends = p.Services[1].Backends[:3]
	p.Services[1].Backends[0].Slots += core.Slots / 4
	p.Services = p.Services[1:]
	mustSync(t, a, p)
	wantCounter(t, a, &p.Services[0], 5)
}

// A table that has to be replaced goes on counting from where it was.
func TestReplacedTableKeepsCounters(t *testing.T) {
	newNetns(t)
	a := open(t, Config{Unowned: true})
	p := manyServices(4, 4)
	mustSync(t, a, p)
	setCounter(t, a, &p.Services[1], 9)
	nftOutput(t, "add", "chain", "inet", DefaultTable, "stranger")
	mustSync(t, a, p)
	if _, ok := mustNames(t, a)["stranger"]; ok {
		t.Fatal("the table was not replaced")
	}
	wantCounter(t, a, &p.Services[1], 9)
}

func mustNames(t *testing.T, a *Applier) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	err := a.w.dump(unix.NFT_MSG_GETCHAIN, a.table, unix.NFTA_CHAIN_TABLE, func(body []byte) error {
		names[nlmsg.Text(nlmsg.Find(body, unix.NFTA_CHAIN_NAME))] = true
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// A listing that an admin saved and loaded again is adopted as well.
func TestAdoptReloadedListing(t *testing.T) {
	newNetns(t)
	want := manyServices(12, 5)
	file := filepath.Join(t.TempDir(), "saved.nft")
	if err := os.WriteFile(file, []byte(Render(want)), 0o600); err != nil {
		t.Fatal(err)
	}
	nftOutput(t, "-f", file)
	a := open(t, Config{Unowned: true})
	if diff := cmp.Diff(want, inKernel(t, a), comparePlans); diff != "" {
		t.Errorf("-want +adopted:\n%s", diff)
	}
	if c := mustSync(t, a, want); c.Changed != 0 {
		t.Errorf("the same plan again: %d elements changed, want none", c.Changed)
	}
}

// Where the kernel can keep others out but the table was made without, Sync
// replaces it by one that is owned.
func TestSyncGainsOwnership(t *testing.T) {
	newNetns(t)
	a := open(t, Config{Unowned: true})
	p := manyServices(3, 3)
	mustSync(t, a, p)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	b := open(t, Config{})
	got, ok, err := b.Adopt(context.Background())
	if err != nil || !ok || !cmp.Equal(p, got, comparePlans) {
		t.Fatalf("adopt: %v, %v:\n%s", ok, err, cmp.Diff(p, got, comparePlans))
	}
	mustSync(t, b, p)
	if b.flags != 0 && !b.Owned() {
		t.Error("not owned after a sync")
	}
	if diff := cmp.Diff(p, inKernel(t, b), comparePlans); diff != "" {
		t.Errorf("-want +kernel:\n%s", diff)
	}
}

// The places of a ring are read back as slots that add up, or the plan that was
// read could not be compared with: 5:1:1 of 420 places leaves a slot to rounding.
func TestAdoptRing(t *testing.T) {
	newNetns(t)
	s := with(service("web", "192.0.2.10:80", core.TCP, backend("a", "198.51.100.1:80", 46812), backend("b", "198.51.100.2:80", 9362), backend("c", "198.51.100.3:80", 9362)),
		func(t *core.Traffic) { t.Distribution = core.RoundRobin })
	mustSync(t, open(t, Config{Unowned: true}), plan(s))
	sum := uint32(0)
	for _, b := range inKernel(t, open(t, Config{Unowned: true})).Services[0].Backends {
		sum += b.Slots
	}
	if sum != core.Slots {
		t.Errorf("the slots that were read add up to %d, want %d", sum, core.Slots)
	}
}
