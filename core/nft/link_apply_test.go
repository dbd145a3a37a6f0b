// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/steelyard-lb/steelyard/core"
)

func linkPlan() core.Plan {
	var p core.Plan
	for name, g := range linkGoldens() {
		if name == "dsr" || name == "dsr-dual" || name == "stateless6" {
			p.Services = append(p.Services, g.Services...)
		}
	}
	slices.SortFunc(p.Services, func(a, b core.ServicePlan) int { return strings.Compare(a.Name, b.Name) })
	return p
}

// A process that dies while positions move leaves all that the next needs, which
// writes nothing that is there already.
func TestLinkAdopt(t *testing.T) {
	newNetns(t)
	a := open(t, Config{})
	p := linkPlan()
	mustSync(t, a, p)
	for i, s := range p.Services {
		if s.Name != "both" { // which has one backend of each family
			p.Services[i] = weighed(s, 1, 3)
		}
	}
	if _, err := a.Reweight(context.Background(), p.Services); err != nil {
		t.Fatal(err)
	}
	before, rules := a.known, ruleHandles(t)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}

	b := open(t, Config{})
	adopted := inKernel(t, b)
	for i, s := range adopted.Services {
		for k, o := range s.Backends {
			want := p.Services[i].Backends[k]
			if o.Name != want.Name || o.Addr != want.Addr || o.Slots > want.Slots+4096 || o.Slots+4096 < want.Slots {
				t.Errorf("service %s: adopted %+v, want %+v", s.Name, o, want)
			}
		}
	}
	for name, h := range before {
		for i, d := range h.deals {
			if d == nil {
				continue
			}
			n := b.known[name].deals[i]
			if !d.alike(n) || n.moving() != d.moving() {
				t.Errorf("service %s: read %v, want %v", name, n, d)
			}
		}
	}
	if c := mustSync(t, b, p); c.Changed != 0 {
		t.Errorf("the same plan again: %d elements changed, want none", c.Changed)
	}
	if got := ruleHandles(t); got != rules {
		t.Errorf("rules differ:\n%s", cmp.Diff(rules, got))
	}
	if out := nftOutput(t, "list", "tables"); b.flags != 0 && !b.Owned() {
		t.Errorf("not owned: %s", out)
	}
}

// A listing that an admin saved and loaded again is adopted as well.
func TestLinkAdoptsReloadedListing(t *testing.T) {
	newNetns(t)
	needLinkReject(t)
	p := linkPlan()
	file := filepath.Join(t.TempDir(), "saved.nft")
	if err := os.WriteFile(file, []byte(Render(p)), 0o600); err != nil {
		t.Fatal(err)
	}
	nftOutput(t, "-f", file)
	a := open(t, Config{Unowned: true})
	inKernel(t, a)
	if c := mustSync(t, a, p); c.Changed != 0 {
		t.Errorf("the same plan again: %d elements changed, want none", c.Changed)
	}
}

// The second table comes with the first service that needs it and goes with the
// last, and connection tracking's chains are there only while a service needs them.
func TestSecondTableComesAndGoes(t *testing.T) {
	newNetns(t)
	a := open(t, Config{})
	tracked := plan(service("web", "192.0.2.10:80", core.TCP, backend("b", "198.51.100.1:80", core.Slots)))
	link := plan(untracked(tracked.Services[0], core.Stateless, core.BySource))
	for _, step := range []struct {
		name        string
		plan        core.Plan
		link, conns bool
	}{
		{"tracked", tracked, false, true},
		{"the same service, stateless", link, true, false},
		{"back again", tracked, false, true},
		{"stateless again", link, true, false},
		{"none", core.Plan{}, false, true},
	} {
		mustSync(t, a, step.plan)
		if got := strings.Contains(nftOutput(t, "list", "tables"), "netdev"); got != step.link {
			t.Errorf("%s: second table there: %v, want %v", step.name, got, step.link)
		}
		if got := strings.Contains(listTable(t), "type nat"); got != step.conns {
			t.Errorf("%s: nat chains there: %v, want %v", step.name, got, step.conns)
		}
	}
	mustSync(t, a, link)
	if err := a.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	if out := nftOutput(t, "list", "ruleset"); out != "" {
		t.Errorf("after a flush:\n%s", out)
	}
}

// What cannot be had is refused in words, and no other service with it.
func TestLinkRefusals(t *testing.T) {
	newNetns(t)
	a := open(t, Config{})
	web := service("web", "192.0.2.10:80", core.TCP, backend("b1", "198.51.100.1:8080", core.Slots))
	ok := untracked(service("ok", "192.0.2.99:80", core.TCP, backend("b1", "198.51.100.9:8080", core.Slots)), core.Stateless, core.BySource)
	tests := []struct {
		name string
		s    core.ServicePlan
		want string
	}{
		{"interface", with(untracked(web, core.DSR, core.BySource), func(t *core.Traffic) { t.Interfaces = []string{"eth7"} }), "interface eth7 is not there"},
		{"two networks", func() core.ServicePlan {
			s := untracked(service("web", "192.0.2.10:80", core.TCP, backend("b1", "198.51.100.1:0", 1), backend("b2", "198.51.100.2:0", core.Slots-1)), core.DSR, core.BySource)
			s.Backends[1].Hop.Device = "eth1"
			return s
		}(), "have to be on one network"},
		{"answers", untracked(service("web", "192.0.2.10:80", core.TCP, backend("b1", "198.51.100.9:8080", core.Slots)), core.Stateless, core.BySource), "answers from 198.51.100.9:8080/tcp are those of service ok"},
		{"ports", untracked(service("web", "192.0.2.10:80", core.TCP, backend("b1", "198.51.100.1:8080", 1), backend("b2", "198.51.100.2:8081", core.Slots-1)), core.Stateless, core.BySource), "different ports"},
		{"persistence", with(untracked(web, core.DSR, core.BySource), func(t *core.Traffic) { t.Persistence.Timeout = 1 }), "persistence needs connection tracking"},
		{"seed", with(untracked(web, core.DSR, core.BySource), func(t *core.Traffic) { t.Seed = 0 }), "a seed of 0"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, refused, err := a.Sync(context.Background(), plan(ok, test.s))
			if err != nil || len(refused) != 1 || !strings.Contains(errorOf(refused).Error(), test.want) {
				t.Errorf("refused %v, %v: want %q", refused, err, test.want)
			}
		})
	}
}

// Who may connect is asked without connection tracking, too, and told in the log.
func TestLinkLists(t *testing.T) {
	for _, f := range []core.Forwarding{core.DSR, core.Stateless} {
		t.Run(string(f), func(t *testing.T) {
			newNetns(t)
			web := service("web", "192.0.2.10:80", core.TCP, backend("b1", "198.51.100.1:0", core.Slots))
			mustSync(t, open(t, Config{}), plan(with(untracked(web, f, core.BySource), func(t *core.Traffic) {
				t.Allow, t.Deny = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, []netip.Prefix{netip.MustParsePrefix("192.0.2.7/32")}
				t.Log.PerSecond = 5
			})))
			got := nftOutput(t, "list", "chain", "netdev", DefaultTable, "svc-web")
			for _, want := range []string{"ip saddr @deny-web goto denied-web", "ip saddr != @allow-web goto denied-web"} {
				if !strings.Contains(got, want) {
					t.Errorf("no %q in\n%s", want, got)
				}
			}
		})
	}
}

// Who only reads sees that nothing would change.
func TestLinkDiff(t *testing.T) {
	newNetns(t)
	needLinkReject(t)
	a := open(t, Config{})
	p := linkPlan()
	mustSync(t, a, p)
	read, err := Read(context.Background(), "")
	if err != nil {
		t.Fatal(err)
	}
	if list := read.Diff(p); len(list) > 0 {
		t.Errorf("the same plan: %+v", list)
	}
	changed := plan(append([]core.ServicePlan{}, p.Services...)...)
	for i := range changed.Services {
		if s := &changed.Services[i]; s.Name == "web" {
			*s = weighed(*s, 1, 3)
		}
	}
	if list := read.Diff(changed); len(list) != 1 || list[0].Service != "web" || list[0].ElementsAdded == 0 || len(list[0].ChainsRewritten) > 0 {
		t.Errorf("another weight: %+v", list)
	}
	p.Services = p.Services[:1]
	if list := read.Diff(p); len(list) != 3 { // two services, and the interfaces' chains
		t.Errorf("two services less: %+v", list)
	}
}

// A service may change from one forwarding without connection tracking to the
// other, and away; what that changes can be told without the kernel.
func TestLinkForwardingChanges(t *testing.T) {
	newNetns(t)
	a := open(t, Config{})
	web := service("web", "192.0.2.10:80", core.TCP, backend("b1", "198.51.100.1:0", core.Slots/2), backend("b2", "198.51.100.2:0", core.Slots/2))
	before := core.Plan{}
	for _, s := range []core.ServicePlan{
		untracked(web, core.DSR, core.BySource), weighed(untracked(web, core.DSR, core.BySource), 1, 3),
		untracked(web, core.Stateless, core.BySource), untracked(web, core.DSR, core.BySource), forwarding(web, core.DNAT),
	} {
		if list := Diff(before, plan(s)); len(list) == 0 {
			t.Errorf("to %s: nothing would change", s.Forwarding)
		}
		before = plan(s)
		mustSync(t, a, before)
	}
	if list := Diff(before, core.Plan{}); len(list) == 0 {
		t.Error("to no service: nothing would change")
	}
}

// A service whose interface has gone is refused, and no other with it; when it is
// back, with another number, the service is, too.
func TestLinkInterfaceGoes(t *testing.T) {
	newNetns(t)
	a := open(t, Config{})
	add := func() { ip(t, "link", "add", "v0", "type", "veth", "peer", "name", "v1") }
	add()
	web := service("web", "192.0.2.10:80", core.TCP, backend("b1", "198.51.100.1:0", core.Slots))
	gone := with(untracked(web, core.DSR, core.BySource), func(t *core.Traffic) { t.Interfaces = []string{"v0"} })
	gone.Backends[0].Hop.Device = "v0"
	other := untracked(service("other", "192.0.2.11:80", core.TCP, backend("b1", "198.51.100.1:0", core.Slots)), core.DSR, core.BySource)
	p := plan(other, gone)
	mustSync(t, a, p)
	ip(t, "link", "del", "v0")
	for range 2 {
		_, refused, err := a.Sync(context.Background(), p)
		if err != nil || len(refused) != 1 || refused["web"] == nil {
			t.Fatalf("refused %v, %v: want web", refused, err)
		}
		a.known = nil
	}
	add()
	mustSync(t, a, p)
	if list := listTable(t); !strings.Contains(list, `hook ingress device "v0"`) || !strings.Contains(list, `fwd to "v0"`) {
		t.Errorf("the interface is back, and the table is not:\n%.2000s", list)
	}
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %v: %v: %s", args, err, out)
	}
}
