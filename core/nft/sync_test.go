// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/steelyard-lb/steelyard/core"
	"golang.org/x/sys/unix"
)

// comparePlans compares what the table itself tells of a plan.
var comparePlans = cmp.Options{
	cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}, netip.Prefix{}), cmpopts.EquateEmpty(),
	cmpopts.IgnoreFields(core.Plan{}, "LocalClients"), cmpopts.IgnoreFields(core.BackendPlan{}, "Alive", "Forwarding", "Source"),
	cmp.Transformer("frontends", func(t *core.Traffic) []core.Frontend { return t.Frontends }),
}

func plan(services ...core.ServicePlan) core.Plan { return core.Plan{Services: services} }

// inKernel is the plan that a new Applier reads out of the kernel.
func inKernel(t *testing.T, a *Applier) core.Plan {
	t.Helper()
	p, ok, err := a.Adopt(context.Background())
	if err != nil || !ok {
		t.Fatalf("adopt: %v, %v", ok, err)
	}
	if a.replace {
		t.Fatal("the table is not as it should be")
	}
	for name, h := range a.known {
		if h.unknown {
			t.Fatalf("service %s: weights that no plan makes", name)
		}
	}
	return p
}

// changeOf is the way from one plan of a service to another.
func changeOf(from, to *core.ServicePlan) *change {
	c := &change{plan: to}
	if from != nil {
		c.name, c.from = from.Name, compile(from)
	}
	if to != nil {
		c.name, c.to = to.Name, compile(to)
	}
	return c
}

// TestSyncFromAnywhereToAnywhere goes through all pairs of plans that differ in
// each way a service can change, and expects the kernel to carry the second.
func TestSyncFromAnywhereToAnywhere(t *testing.T) {
	base := service("web", "192.0.2.1:80", core.TCP, backend("a", "198.51.100.1:80", 40000), backend("b", "198.51.100.2:80", 25536))
	edited := func(edit func(*core.ServicePlan)) core.Plan {
		s := *clonePlan(&base)
		edit(&s)
		return plan(s)
	}
	udp := service("web", "192.0.2.1:80", core.UDP, base.Backends...)
	dns := service("dns", "192.0.2.1:53", core.UDP, backend("a", "198.51.100.1:53", 65536))
	plans := map[string]core.Plan{
		"nothing":       {},
		"base":          plan(base),
		"other port":    plan(with(base, at("192.0.2.1:81"))),
		"other VIP":     plan(with(base, at("192.0.2.9:80"))),
		"udp":           plan(udp),
		"masquerade":    plan(forwarding(base, core.Masquerade)),
		"drop":          plan(with(base, func(t *core.Traffic) { t.OnEmpty = core.Drop })),
		"weights":       edited(func(s *core.ServicePlan) { s.Backends[0].Slots, s.Backends[1].Slots = 1, 65535 }),
		"all down":      edited(func(s *core.ServicePlan) { s.Backends[0].Slots, s.Backends[1].Slots = 0, 0 }),
		"backend gone":  edited(func(s *core.ServicePlan) { s.Backends = s.Backends[:1]; s.Backends[0].Slots = 65536 }),
		"backend moved": edited(func(s *core.ServicePlan) { s.Backends[1].Addr = netip.MustParseAddrPort("198.51.100.2:8080") }),
		"names swapped": edited(func(s *core.ServicePlan) {
			s.Backends[0].Addr, s.Backends[1].Addr = s.Backends[1].Addr, s.Backends[0].Addr
		}),
		"renamed":        edited(func(s *core.ServicePlan) { s.Name = "www" }),
		"second service": plan(dns, base),
		"ipv6":           plan(service("web", "[2001:db8::1]:80", core.TCP, backend("a", "[2001:db8:1::1]:80", 65536))),
		"many backends":  manyServices(1, 1000),
	}
	if testing.Short() { // as in the kernel lab's emulator
		delete(plans, "many backends")
	}
	newNetns(t)
	a, reader := open(t, Config{Unowned: true}), open(t, Config{Unowned: true})
	for from, p := range plans {
		for to, q := range plans {
			mustSync(t, a, p)
			before, err := a.w.generation()
			if err != nil {
				t.Fatal(err)
			}
			c := mustSync(t, a, q)
			if from == to && (c.Generation != before || c.Changed != 0) {
				t.Errorf("%s again: generation %d to %d, %d elements: want no change", from, before, c.Generation, c.Changed)
			}
			if diff := cmp.Diff(q, inKernel(t, reader), comparePlans); diff != "" {
				t.Errorf("%s to %s (-want +kernel):\n%s", from, to, diff)
			}
		}
	}
}

// Two services that trade their addresses do it in one transaction.
func TestSyncSwapsAddresses(t *testing.T) {
	newNetns(t)
	a := open(t, Config{})
	x := service("x", "192.0.2.1:80", core.TCP, backend("a", "198.51.100.1:80", 65536))
	y := service("y", "192.0.2.2:80", core.TCP, backend("a", "198.51.100.2:80", 65536))
	before := mustSync(t, a, plan(x, y)).Generation
	x.Traffic, y.Traffic = y.Traffic, x.Traffic
	if after := mustSync(t, a, plan(x, y)).Generation; after != before+1 {
		t.Errorf("took %d transactions: want 1", after-before)
	}
	if diff := cmp.Diff(plan(x, y), inKernel(t, a), comparePlans); diff != "" {
		t.Errorf("-want +kernel:\n%s", diff)
	}
}

func TestSyncRefusesOneServesTheOthers(t *testing.T) {
	good := service("good", "192.0.2.1:80", core.TCP, backend("a", "198.51.100.1:80", 65536))
	tests := []struct {
		name string
		bad  core.ServicePlan
		want string
	}{
		{"same address", service("late", "192.0.2.1:80", core.TCP), "taken by service good"},
		{"long name", service(strings.Repeat("x", 64), "192.0.2.2:80", core.TCP), "64 bytes"},
		{"quote in a name", service(`a"b`, "192.0.2.2:80", core.TCP), "the name has"},
		{"long backend name", service("b", "192.0.2.2:80", core.TCP, backend(strings.Repeat("x", 64), "198.51.100.1:80", 65536)), "b/"},
		{"families mixed", service("b", "192.0.2.2:80", core.TCP, backend("a", "[2001:db8::1]:80", 65536)), "family"},
		{"slots", service("b", "192.0.2.2:80", core.TCP, backend("a", "198.51.100.1:80", 65535)), "65535"},
		{"backend twice", service("b", "192.0.2.2:80", core.TCP, backend("a", "198.51.100.1:80", 0), backend("b", "198.51.100.1:80", 0)), "backend a already"},
		{"no protocol", service("b", "192.0.2.2:80", "icmp"), "want tcp, udp or sctp"},
		{"port 0", service("b", "192.0.2.2:0", core.TCP), "port is 0"},
		{"mapped", service("b", "[::ffff:192.0.2.2]:80", core.TCP), "write it as IPv4"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			newNetns(t)
			a := open(t, Config{})
			_, refused, err := a.Sync(context.Background(), plan(good, tt.bad))
			if err != nil || len(refused) != 1 {
				t.Fatalf("sync: %v, refused %v", err, refused)
			}
			if e := refused[tt.bad.Name]; e == nil || !strings.Contains(e.Error(), tt.want) {
				t.Errorf("refused with %q: want %q in it", e, tt.want)
			}
			if diff := cmp.Diff(plan(good), inKernel(t, a), comparePlans); diff != "" {
				t.Errorf("-want +kernel:\n%s", diff)
			}
		})
	}
}

// TestKernelRefusesOne makes the kernel itself refuse: a foreign chain stands
// where the service's is to go. The complaint must find its service, and the
// others must be served, made and removed all the same.
func TestKernelRefusesOne(t *testing.T) {
	newNetns(t)
	a := open(t, Config{Unowned: true})
	old := service("old", "192.0.2.3:80", core.TCP, backend("a", "198.51.100.1:80", 65536))
	mustSync(t, a, plan(old))
	a.gen++ // as if the foreign change below had not been seen
	nftOutput(t, "add", "chain", "inet", DefaultTable, "svc-bad")

	list := manyServices(20, 3).Services
	bad := service("bad", "192.0.2.2:80", core.TCP, backend("a", "198.51.100.1:80", 65536))
	r := result{}
	all := plan(append(slices.Clone(list), bad)...)
	changes := []*change{{from: a.shared, to: compileShared(needsOf(&all))}, changeOf(&old, nil), changeOf(nil, &bad)}
	for i := range list {
		changes = append(changes, changeOf(nil, &list[i]))
	}
	if err := a.apply(context.Background(), job{list: changes}, &r); err != nil {
		t.Fatal(err)
	}
	if e := r.refused["bad"]; len(r.refused) != 1 || !errors.Is(e, unix.EEXIST) || !strings.Contains(e.Error(), "service bad") {
		t.Errorf("refused %v: want only bad, with EEXIST", r.refused)
	}
	if len(r.done) != 22 { // the shared part is one
		t.Errorf("%d changes done: want 21", len(r.done))
	}
	text := listTable(t)
	for name, want := range map[string]bool{"goto svc-old": false, "goto svc-bad": false, "goto svc-s0000": true, "goto svc-s0019": true} {
		if strings.Contains(text, name) != want {
			t.Errorf("%q in the table: %t, want %t", name, !want, want)
		}
	}
	// Sync itself would not have been fooled: it sees that the table is not as
	// it should be, and replaces it.
	mustSync(t, a, plan(append(list, bad)...))
	if p := inKernel(t, a); len(p.Services) != 21 {
		t.Errorf("%d services after the repair: want 21", len(p.Services))
	}
}

// A service that takes the address of one to be removed, and is refused, must
// not leave the address without any.
func TestRefusedSuccessorKeepsPredecessor(t *testing.T) {
	newNetns(t)
	a := open(t, Config{Unowned: true})
	old := service("old", "192.0.2.1:80", core.TCP, backend("a", "198.51.100.1:80", 65536))
	heir := service("heir", "192.0.2.1:80", core.TCP, backend("a", "198.51.100.2:80", 65536))
	mustSync(t, a, plan(old))
	nftOutput(t, "add", "chain", "inet", DefaultTable, "svc-heir")
	r := result{}
	err := a.apply(context.Background(), job{list: []*change{changeOf(&old, nil), changeOf(nil, &heir)}}, &r)
	if err != nil || r.refused["heir"] == nil || r.refused["old"] == nil || len(r.done) != 0 {
		t.Errorf("err %v, refused %v, done %d: want both refused", err, r.refused, len(r.done))
	}
	if !strings.Contains(listTable(t), "goto svc-old") {
		t.Error("the predecessor is gone")
	}
}

func TestForeignWriterIsKeptOut(t *testing.T) {
	newNetns(t)
	a := open(t, Config{})
	mustSync(t, a, manyServices(3, 3))
	if !a.Owned() {
		if kernelAtLeast(t, 6, 9) {
			t.Fatal("not owned, on a kernel that has owner and persist")
		}
		t.Skip("this kernel is from before the flags owner and persist")
	}
	out, err := exec.Command("nft", "flush", "table", "inet", DefaultTable).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "Operation not permitted") {
		t.Errorf("nft flush table: %v, %s: want EPERM", err, out)
	}
	nftOutput(t, "flush", "ruleset") // passes by what it may not touch
	if p := inKernel(t, a); len(p.Services) != 3 {
		t.Errorf("%d services are left: want 3", len(p.Services))
	}

	b := open(t, Config{})
	if _, _, err := b.Adopt(context.Background()); !errors.Is(err, unix.EPERM) {
		t.Errorf("a second Applier adopts: %v: want EPERM", err)
	}
	if _, _, err := b.Sync(context.Background(), core.Plan{}); !errors.Is(err, unix.EPERM) {
		t.Errorf("a second Applier syncs: %v: want EPERM", err)
	}
}

func kernelAtLeast(t *testing.T, major, minor int) bool {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	var a, b int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &a, &b); err != nil {
		t.Fatal(err)
	}
	return a > major || a == major && b >= minor
}

// Where the table has no owner, Sync finds foreign changes by the generation.
func TestSyncRepairsDrift(t *testing.T) {
	want := manyServices(5, 4)
	for name, args := range map[string][]string{
		"ruleset flushed":  {"flush", "ruleset"},
		"table deleted":    {"delete", "table", "inet", DefaultTable},
		"chain flushed":    {"flush", "chain", "inet", DefaultTable, "svc-s0001"},
		"rule added":       {"add", "rule", "inet", DefaultTable, "svc-s0001", "accept"},
		"chain added":      {"add", "chain", "inet", DefaultTable, "other"},
		"weights flushed":  {"flush", "map", "inet", DefaultTable, "w-s0001"},
		"services flushed": {"flush", "map", "inet", DefaultTable, "services4"},
		"counters flushed": {"flush", "map", "inet", DefaultTable, "conns4"},
	} {
		t.Run(name, func(t *testing.T) {
			newNetns(t)
			a := open(t, Config{Unowned: true})
			mustSync(t, a, want)
			nftOutput(t, args...)
			mustSync(t, a, want)
			if diff := cmp.Diff(Render(want), listTable(t)); diff != "" {
				t.Errorf("-want +kernel:\n%s", diff)
			}
		})
	}
}

// A table of another layout is replaced in one transaction; what it has of
// ours is not asked for.
func TestSyncReplacesOtherLayout(t *testing.T) {
	newNetns(t)
	nftOutput(t, "add table inet "+DefaultTable+" { comment \"steelyard layout 0\"; }")
	nftOutput(t, "add chain inet "+DefaultTable+" svc-s0000")
	a := open(t, Config{})
	if _, ok, err := a.Adopt(context.Background()); ok || err != nil {
		t.Fatalf("adopt: %v, %v: want false", ok, err)
	}
	before, err := a.w.generation()
	if err != nil {
		t.Fatal(err)
	}
	want := manyServices(600, 2) // more than a chunk
	if after := mustSync(t, a, want).Generation; after != before+1 {
		t.Errorf("took %d transactions: want 1", after-before)
	}
	if diff := cmp.Diff(want, inKernel(t, a), comparePlans); diff != "" {
		t.Errorf("-want +kernel:\n%s", diff)
	}
}

// What a service leads to outlives its refusal by the kernel: the service is to go on
// as before.
func TestKernelRefusalKeepsWhatIsShared(t *testing.T) {
	newNetns(t)
	a := open(t, Config{Unowned: true})
	web := sticky(forwarding(service("web", "192.0.2.1:53", core.UDP, backend("a", "198.51.100.1:0", 65536)), core.Masquerade))
	other := service("other", "192.0.2.2:80", core.TCP, backend("a", "198.51.100.1:80", 65536))
	mustSync(t, a, plan(other, web))
	want := nftOutput(t, "list", "chain", "inet", DefaultTable, "account") + nftOutput(t, "list", "chain", "inet", DefaultTable, "masq")
	// A stranger holds the map fast, and is not seen.
	nftOutput(t, "add", "chain", "inet", DefaultTable, "stranger")
	nftOutput(t, "add", "rule", "inet", DefaultTable, "stranger", "ip daddr set ip saddr map @sticky-web")
	a.gen, _ = a.w.generation()

	next := with(forwarding(web, core.DNAT), at("192.0.2.1:53"))
	next = with(next, func(t *core.Traffic) { t.Persistence.Timeout, t.Frontends[0].Protocol = 2*time.Minute, core.TCP })
	_, refused, err := a.Sync(context.Background(), plan(other, next))
	if err != nil || !errors.Is(refused["web"], unix.EBUSY) {
		t.Fatalf("sync: %v, refused %v: want web, with EBUSY", err, refused)
	}
	got := nftOutput(t, "list", "chain", "inet", DefaultTable, "account") + nftOutput(t, "list", "chain", "inet", DefaultTable, "masq")
	if !strings.Contains(got, "udp") {
		t.Errorf("of the service that goes on is left:\n%s\nof\n%s", got, want)
	}

	nftOutput(t, "flush", "chain", "inet", DefaultTable, "stranger")
	mustSync(t, a, plan(other, next))
	if text := listTable(t); strings.Contains(text, "udp") || strings.Contains(text, "chain masq") {
		t.Errorf("what nobody needs any more is left:\n%s", text)
	}
}
