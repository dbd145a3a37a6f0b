// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/steelyard-lb/steelyard/core"
)

// TestDriftOfLink changes the second table behind the Applier's back. A Sync puts
// everything back where it was, so that flows that nobody remembers stay where they
// are, and what somebody else does next is noticed.
func TestDriftOfLink(t *testing.T) {
	p := linkGoldens()["keep-port"]
	frames := linkGoldens()["dsr"]
	one := frames // two addresses of one machine
	one.Services = slices.Clone(one.Services)
	one.Services[0].Backends = slices.Clone(one.Services[0].Backends)
	one.Services[0].Backends[0].Hop = hop(2, "lo")
	tests := []struct {
		name, args string
		plan       core.Plan
		want       string // in what is told; empty: no drift
	}{
		{"another table", "add table inet other", p, ""},
		{"another table, one link address", "add table inet other", one, ""},
		{"shared part, one link address", "flush chain inet steelyard account", core.Plan{Services: slices.Concat(one.Services, manyServices(2, 2).Services)}, "what all services share"},
		{"rules flushed", "flush chain netdev steelyard svc-web", p, "service web: chain svc-web"},
		{"positions flushed", "flush map netdev steelyard pos-web", frames, "service web: backends in map pos-web"},
		{"position deleted", "delete element netdev steelyard pos-web { 7 }", p, "service web: backends in map pos-web"},
		{"backends flushed", "flush set netdev steelyard live-web", p, "service web"},
		{"backend deleted", "delete element netdev steelyard live-web { 198.51.100.1 }", p, "service web"},
		{"service unlisted", "flush map netdev steelyard services4", p, "service web: elements of services4"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			newNetns(t)
			needAllOf(t, tt.plan)
			a := open(t, Config{Unowned: true})
			mustSync(t, a, tt.plan)
			before := nftOutput(t, "-s", "list", "table", "netdev", "steelyard")
			nftOutput(t, strings.Fields(tt.args)...)
			d, drifted, err := a.Drift(t.Context())
			if told := strings.Join(d.What, "; "); err != nil || drifted != (tt.want != "") || !strings.HasPrefix(told, tt.want) || strings.Contains(told, ";") {
				t.Fatalf("told %q, %t, %v: want %q", told, drifted, err, tt.want)
			}
			mustSync(t, a, tt.plan)
			if diff := cmp.Diff(before, nftOutput(t, "-s", "list", "table", "netdev", "steelyard")); diff != "" {
				t.Errorf("-before +repaired:\n%s", diff)
			}
			if d, drifted, err := a.Drift(t.Context()); drifted || err != nil {
				t.Errorf("after the repair: drift %+v, %v", d, err)
			}
			nftOutput(t, "flush", "ruleset")
			if _, drifted, err := a.Drift(t.Context()); !drifted || err != nil {
				t.Errorf("ruleset flushed: drift %t, %v", drifted, err)
			}
		})
	}
}

// TestStartAfterDriftOfLink: what somebody has taken out of the second table while
// nobody looked keeps no service out.
func TestStartAfterDriftOfLink(t *testing.T) {
	for _, args := range []string{
		"flush chain netdev steelyard svc-web", "flush map netdev steelyard pos-web",
		"flush set netdev steelyard live-web", "delete element netdev steelyard live-web { 198.51.100.1 }",
	} {
		t.Run(args, func(t *testing.T) {
			newNetns(t)
			p := linkGoldens()["keep-port"]
			needAllOf(t, p)
			a := open(t, Config{Unowned: true})
			mustSync(t, a, p)
			if err := a.Close(); err != nil {
				t.Fatal(err)
			}
			nftOutput(t, strings.Fields(args)...)
			b := open(t, Config{Unowned: true})
			if _, found, err := b.Adopt(t.Context()); !found || err != nil {
				t.Fatalf("adopt: found %t, %v", found, err)
			}
			mustSync(t, b, p)
			if out := nftOutput(t, "list", "chain", "netdev", "steelyard", "svc-web"); strings.Count(out, "jhash") != strings.Count(out, "seed") {
				t.Errorf("a hash with a seed of the kernel's own:\n%s", out)
			}
		})
	}
}
