// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/steelyard-lb/steelyard/core"
)

// TestFeatures asks this kernel, and holds two answers against what it can do
// when asked another way.
func TestFeatures(t *testing.T) {
	newNetns(t)
	a := open(t, Config{})
	for range 3 {
		began := time.Now()
		if err := a.probeFeatures(); err != nil {
			t.Fatal(err)
		}
		t.Logf("the probes took %v", time.Since(began))
	}
	present := map[string]bool{}
	for _, f := range a.Features() {
		present[f.Name] = f.Present
		if f.Present != (f.Lost == "" && f.Remedy == "") {
			t.Errorf("feature %+v: what is lost goes with what is missing", f)
		}
		t.Logf("%+v", f)
	}
	for _, name := range []string{"numgen", "hash", "masquerade", "limit", "dynset"} {
		if !present[name] {
			t.Errorf("%s is missing, and the other tests use it", name)
		}
	}
	if got := strings.TrimSpace(nftOutput(t, "list", "ruleset")); got != "" {
		t.Errorf("the probes left behind:\n%s", got)
	}
}

// TestMissingFeatureRefusesOneService takes features away, as an older kernel
// would. Those who need one are refused with the remedy, the others are served.
func TestMissingFeatureRefusesOneService(t *testing.T) {
	web := service("web", "192.0.2.10:80", core.TCP, backend("b", "198.51.100.1:80", core.Slots))
	needy := map[string]core.ServicePlan{
		"limit":      with(web, func(t *core.Traffic) { t.Limits.New = core.Rate{PerSecond: 1, Burst: 1} }),
		"connlimit":  with(web, func(t *core.Traffic) { t.Limits.Open = 5 }),
		"log":        with(web, func(t *core.Traffic) { t.Log.PerSecond = 5 }),
		"dynset":     with(web, func(t *core.Traffic) { t.Limits.OpenPerClient, t.Limits.Clients = 5, 5 }),
		"helper ftp": with(web, func(t *core.Traffic) { t.Helper = "ftp" }),
		"masquerade": forwarding(web, core.Masquerade),
		"hash":       with(web, func(t *core.Traffic) { t.Distribution, t.Seed = core.Hash, 1 }),
		"sctp":       with(web, func(t *core.Traffic) { t.Frontends[0].Protocol = core.SCTP }),
	}
	for name, s := range needy {
		t.Run(name, func(t *testing.T) {
			a := &Applier{}
			a.found(map[string]bool{name: true})
			other := with(web, at("192.0.2.11:80"))
			s.Name, other.Name = "needy", "other"
			good, refused := checkPlan(plan(s, other), nil, a.Features())
			if len(good) != 1 || good[0].Name != "other" || len(refused) != 1 {
				t.Fatalf("good %v, refused %v: want one of each", good, refused)
			}
			for _, want := range []string{"service needy", "lacks " + name, "CONFIG_"} {
				if text := refused["needy"].Error(); !strings.Contains(text, want) && name != "helper ftp" {
					t.Errorf("reason %q: want %q in it", text, want)
				}
			}
			a.found(nil)
			if _, refused := checkPlan(plan(s, other), nil, a.Features()); len(refused) > 0 {
				t.Errorf("with the feature: refused %v", refused)
			}
		})
	}
}

// What was missing is asked for again by the Sync that needs it: a module may
// have been loaded since.
func TestFeatureThatCame(t *testing.T) {
	newNetns(t)
	a := open(t, Config{})
	a.found(map[string]bool{"limit": true})
	p := plan(with(service("web", "192.0.2.10:80", core.TCP), func(t *core.Traffic) { t.Limits.New = core.Rate{PerSecond: 1, Burst: 1} }))
	if _, refused, err := a.Sync(context.Background(), p); err != nil || len(refused) > 0 {
		t.Errorf("sync: %v, refused %v", err, refused)
	}
}

func TestHelperWithoutItsTwinIsMissing(t *testing.T) {
	const line = " 16384 0 - Live 0x0000000000000000\n"
	tests := []struct {
		name, modules string
		want          map[string]bool
	}{
		{"built in", "nf_tables" + line, map[string]bool{}},
		{"both", "nf_nat_ftp" + line + "nf_conntrack_ftp" + line, map[string]bool{}},
		{"half", "nf_nat_ftp" + line + "nf_conntrack_tftp" + line, map[string]bool{"helper tftp": true}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := map[string]bool{}
			missHalfHelpers([]byte(test.modules), got)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
