// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/steelyard-lb/steelyard/core"
)

// TestDiff says what each edit of one service does to the table.
func TestDiff(t *testing.T) {
	base := func() core.ServicePlan {
		s := sticky(service("web", "192.0.2.10:80", core.TCP, backend("a", "198.51.100.1:8080", 32768), backend("b", "198.51.100.2:8080", 32768)))
		return with(s, func(t *core.Traffic) {
			t.Distribution = core.RoundRobin
			t.Limits = core.Limits{New: core.Rate{PerSecond: 10, Burst: 10}, NewPerClient: core.Rate{PerSecond: 5, Burst: 5}, Open: 100, Clients: 1000, Answer: core.Drop}
		})
	}
	type wanted struct {
		Remade, Rewritten []string
		Lost              string // parts, all of which stand in what is lost
	}
	for _, tt := range []struct {
		name string
		edit func(s *core.ServicePlan)
		want *wanted // nil: the service is not touched
	}{
		{"nothing", func(*core.ServicePlan) {}, nil},
		{"weights", func(s *core.ServicePlan) { s.Backends[0].Slots, s.Backends[1].Slots = 16384, 49152 }, &wanted{}},
		{"a size", func(s *core.ServicePlan) { *s = with(*s, func(t *core.Traffic) { t.Persistence.Size = 9 }) },
			&wanted{[]string{"sticky-web"}, []string{"svc-web", "remember-web"}, "map sticky-web|round robin, in chain svc-web"}},
		{"a limit", func(s *core.ServicePlan) { *s = with(*s, func(t *core.Traffic) { t.Limits.New.PerSecond = 20 }) },
			&wanted{nil, nil, "limit rate-web has counted"}},
		{"a limit per client", func(s *core.ServicePlan) {
			*s = with(*s, func(t *core.Traffic) { t.Limits.NewPerClient.PerSecond = 6 })
		},
			&wanted{[]string{"clientrate-web"}, nil, "in set clientrate-web"}},
		{"open connections", func(s *core.ServicePlan) { *s = with(*s, func(t *core.Traffic) { t.Limits.Open = 50 }) },
			&wanted{nil, []string{"count-web"}, "count of open connections, in chain count-web"}},
		{"forwarding of one", func(s *core.ServicePlan) { s.Backends[1].Forwarding = core.Masquerade }, &wanted{nil, nil, "connections of web/b"}},
		{"on empty", func(s *core.ServicePlan) { *s = with(*s, func(t *core.Traffic) { t.OnEmpty = core.Drop }) },
			&wanted{nil, []string{"svc-web"}, "round robin"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			to := *clonePlan(new(base()))
			tt.edit(&to)
			list := Diff(plan(base()), plan(to))
			if tt.want == nil {
				if len(list) != 0 {
					t.Errorf("got %+v, want nothing", list)
				}
				return
			}
			if len(list) == 0 || list[len(list)-1].Service != "web" {
				t.Fatalf("got %+v, want web", list)
			}
			got := list[len(list)-1]
			if diff := cmp.Diff(tt.want.Remade, got.SetsRemade); diff != "" {
				t.Errorf("sets remade (-want +got):\n%s", diff)
			}
			if tt.want.Rewritten != nil && !cmp.Equal(tt.want.Rewritten, got.ChainsRewritten) {
				t.Errorf("chains rewritten: got %v, want %v", got.ChainsRewritten, tt.want.Rewritten)
			}
			lost := strings.Join(got.Lost, "; ")
			for part := range strings.SplitSeq(tt.want.Lost, "|") {
				if !strings.Contains(lost, part) || (part == "") != (lost == "") {
					t.Errorf("lost %q: want %q", lost, part)
				}
			}
		})
	}
}

// What Diff says is what Sync does: no more, no less.
func TestDiffIsWhatSyncDoes(t *testing.T) {
	newNetns(t)
	a := open(t, Config{})
	from := plan(service("web", "192.0.2.10:80", core.TCP, backend("a", "198.51.100.1:8080", 65536)), service("old", "192.0.2.11:80", core.TCP, backend("a", "198.51.100.1:8080", 65536)))
	to := plan(service("web", "192.0.2.10:80", core.TCP, backend("a", "198.51.100.1:8080", 32768), backend("b", "198.51.100.2:8080", 32768)), service("new", "192.0.2.12:80", core.TCP, backend("a", "198.51.100.1:8080", 65536)))
	mustSync(t, a, from)
	list := Diff(from, to)
	elements := 0
	var names []string
	for _, d := range list {
		elements += d.ElementsAdded + d.ElementsRemoved
		names = append(names, d.Service)
	}
	if diff := cmp.Diff([]string{"new", "old", "web"}, names); diff != "" {
		t.Errorf("services (-want +got):\n%s", diff)
	}
	if c := mustSync(t, a, to); c.Changed != elements {
		t.Errorf("Sync changed %d elements, Diff said %d: %+v", c.Changed, elements, list)
	}
	if list := Diff(to, to); len(list) > 0 {
		t.Errorf("of the same: %+v", list)
	}
}

// What a kernel cannot do and a service goes without is no difference.
func TestReadOfAnUnableKernel(t *testing.T) {
	newNetns(t)
	a := open(t, Config{})
	for i := range a.features {
		a.features[i].Present = a.features[i].Present && a.features[i].Name != featureFlowtable
	}
	web := plan(with(service("web", "192.0.2.10:80", core.TCP, backend("a", "198.51.100.1:8080", 65536)), func(t *core.Traffic) { t.Offload = true }))
	web.OffloadDevices = []string{"lo"}
	mustSync(t, a, web)
	got, err := Read(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	got.Features = a.Features()
	if list := got.Diff(web); len(list) > 0 {
		t.Errorf("offload without flowtables differs: %+v", list)
	}
}

// Reading changes nothing, and takes the table from nobody: neither from the
// process that owns it nor, when that has died, from the next.
func TestReadLeavesAlone(t *testing.T) {
	newNetns(t)
	if got, err := Read(t.Context(), ""); err != nil || !got.None() || got.Wrong != nil || len(got.Features) == 0 {
		t.Fatalf("without a table: %+v, %v", got, err)
	}
	a := open(t, Config{})
	want := plan(sticky(service("web", "192.0.2.10:80", core.TCP, backend("a", "198.51.100.1:8080", 65536))))
	mustSync(t, a, want)
	for _, owned := range []bool{a.owned, false} {
		before := nftOutput(t, "-a", "list", "ruleset")
		got, err := Read(t.Context(), "")
		if err != nil || got.None() || got.Owned != owned || len(got.Plan.Services) != 1 || got.Plan.Services[0].Backends[0].Slots != core.Slots {
			t.Fatalf("Read: %+v, %v", got, err)
		}
		if list := got.Diff(want); len(list) > 0 {
			t.Errorf("the table differs from its plan: %+v", list)
		}
		other := plan(with(want.Services[0], func(t *core.Traffic) { t.Persistence.Timeout = time.Hour }))
		if list := got.Diff(other); len(list) != 1 || !cmp.Equal(list[0].SetsRemade, []string{"sticky-web"}) {
			t.Errorf("another timeout: %+v", list)
		}
		if after := nftOutput(t, "-a", "list", "ruleset"); after != before {
			t.Errorf("Read changed the ruleset:\n%s", cmp.Diff(before, after))
		}
		if owned {
			mustSync(t, a, want) // it is still ours
		}
		if err := a.Close(); err != nil && owned {
			t.Fatal(err)
		}
	}
	b := open(t, Config{})
	if _, found, err := b.Adopt(t.Context()); err != nil || !found {
		t.Errorf("the next owner: %t, %v", found, err)
	}
}
