// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/steelyard-lb/steelyard/core"
)

// prefixes parses a list.
func prefixes(list ...string) (out []netip.Prefix) {
	for _, p := range list {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

// allLimits switches everything on.
func allLimits(t *core.Traffic) {
	t.Deny = prefixes("192.0.2.0/25", "198.51.100.0/24")
	t.Limits = core.Limits{
		New: core.Rate{PerSecond: 1000, Burst: 200}, NewPerClient: core.Rate{PerSecond: 5, Burst: 5}, Open: 5000, OpenPerClient: 20,
		ResetsPerClient: core.Rate{PerSecond: 10, Burst: 10}, Strict: true, Clients: 65536, Answer: core.Reject,
	}
	t.Log = core.LogRule{PerSecond: 5}
}

func filterGoldens() map[string]core.Plan {
	b4, b6 := backend("b", "198.51.100.1:8080", core.Slots), backend("b", "[2001:db8:1::1]:8080", core.Slots)
	lists := with(service("lists", "192.0.2.10:80", core.TCP, b4, b6), func(t *core.Traffic) {
		t.Frontends = append(t.Frontends, core.ExactFrontend(netip.MustParseAddrPort("[2001:db8::10]:80"), core.TCP))
		t.Deny = prefixes("0.0.0.0/8", "10.0.0.0/9", "10.128.0.0/9", "11.0.0.0/8", "192.0.2.1/32", "192.0.2.3/32", "192.0.2.5/32", "255.255.255.255/32",
			"2001:db8:bad::/48", "2001:db8:bad:1::/64", "fc00::/7", "ff00::/8")
		t.Deny = append(t.Deny[:9], t.Deny[10:]...)
		t.Allow = prefixes("0.0.0.0/0")
	})
	both := with(service("both", "192.0.2.12:53", core.TCP, backend("b", "198.51.100.1:53", core.Slots)), allLimits)
	both = with(both, func(t *core.Traffic) {
		t.Frontends = append(t.Frontends, core.ExactFrontend(netip.MustParseAddrPort("192.0.2.12:53"), core.UDP))
		t.Log = core.LogRule{PerSecond: 20, Prefix: "lb: "}
	})
	ranged := with(service("ranged", "[2001:db8::20]:8000", core.TCP, backend("b", "[2001:db8:1::1]:0", core.Slots)), func(t *core.Traffic) {
		t.Frontends[0].Ports.Last = 8999
		t.Limits = core.Limits{Strict: true, ResetsPerClient: core.Rate{PerSecond: 3, Burst: 5}, Clients: 100, Answer: core.Drop}
	})
	helper := func(name, vip, helper string, p core.Protocol) core.ServicePlan {
		return with(service(name, vip, p, b4), func(t *core.Traffic) { t.Helper = helper })
	}
	sip := helper("phone", "192.0.2.14:5060", "sip", core.UDP)
	sip.Frontends = append(sip.Frontends, core.ExactFrontend(netip.MustParseAddrPort("192.0.2.14:5060"), core.TCP))
	return map[string]core.Plan{
		"lists":   plan(lists),
		"limits":  plan(both, ranged, with(service("web", "192.0.2.11:80", core.TCP, b4), allLimits)),
		"helpers": plan(helper("files", "192.0.2.14:21", "ftp", core.TCP), sip, helper("boot", "192.0.2.14:69", "tftp", core.UDP)),
	}
}

func TestRangesMergeNeighbours(t *testing.T) {
	tests := []struct {
		name string
		in   []netip.Prefix
		want []string
	}{
		{"none", nil, nil},
		{"apart", prefixes("10.0.0.0/24", "10.0.2.0/24"), []string{"10.0.0.0/24", "10.0.2.0/24"}},
		{"neighbours", prefixes("10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/25"), []string{"10.0.0.0-10.0.2.127"}},
		{"everything", prefixes("0.0.0.0/1", "128.0.0.0/1"), []string{"0.0.0.0/0"}},
		{"of one family", prefixes("255.255.255.255/32", "::/128"), []string{"255.255.255.255"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, e := range ranges(test.in, false) {
				got = append(got, tuple{tIPv4}.text(e.key, e.last))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestAdoptFilters finds nothing to do after a restart, nor after the table was
// saved and loaded again.
func TestAdoptFilters(t *testing.T) {
	for name, p := range filterGoldens() {
		t.Run(name, func(t *testing.T) {
			newNetns(t)
			a := open(t, Config{Unowned: true})
			mustSync(t, a, p)
			for _, reload := range []bool{false, true} {
				if err := a.Close(); err != nil {
					t.Fatal(err)
				}
				if reload {
					file := filepath.Join(t.TempDir(), "saved.nft")
					if err := os.WriteFile(file, []byte(listTable(t)), 0o600); err != nil {
						t.Fatal(err)
					}
					nftOutput(t, "delete", "table", "inet", DefaultTable)
					nftOutput(t, "-f", file)
				}
				before := nftOutput(t, "-a", "list", "ruleset")
				a = open(t, Config{Unowned: true})
				if _, ok, err := a.Adopt(context.Background()); err != nil || !ok {
					t.Fatal(ok, err)
				}
				if c := mustSync(t, a, p); c.Changed != 0 {
					t.Errorf("reloaded %v: %d elements changed, want none", reload, c.Changed)
				}
				// nft converts a part of a range's key that needs no converting, so
				// that such rules are not ours byte for byte.
				if diff := cmp.Diff(before, nftOutput(t, "-a", "list", "ruleset")); diff != "" && !reload {
					t.Errorf("-before +after:\n%s", diff)
				}
			}
		})
	}
}

func TestTurnIsChecked(t *testing.T) {
	tests := []struct {
		name string
		edit func(*core.Traffic)
		want string
	}{
		{"quote in the prefix", func(t *core.Traffic) { t.Log = core.LogRule{PerSecond: 1, Prefix: `a"b`} }, `has '"' at byte 1`},
		{"backslash in the prefix", func(t *core.Traffic) { t.Log.Prefix = `a\b` }, "at byte 1"},
		{"variable in the prefix", func(t *core.Traffic) { t.Log.Prefix = "$b" }, "at byte 0"},
		{"line end in the prefix", func(t *core.Traffic) { t.Log.Prefix = "a\n" }, "at byte 1"},
		{"not ASCII", func(t *core.Traffic) { t.Log.Prefix = "ü" }, "at byte 0"},
		{"long prefix", func(t *core.Traffic) { t.Log.Prefix = strings.Repeat("x", 128) }, "128 bytes"},
		{"no burst", func(t *core.Traffic) { t.Limits.New.PerSecond = 5 }, "new connections: 5 a second, 0 at once"},
		{"fast", func(t *core.Traffic) { t.Log.PerSecond = maxRate + 1 }, "log: 1000001 a second"},
		{"no clients", func(t *core.Traffic) { t.Limits.OpenPerClient = 5 }, "at most 0 clients"},
		{"untracked", func(t *core.Traffic) {
			t.Forwarding, t.Limits.Open = core.DSR, 5
			t.Interfaces, t.Seed, t.FlowTimeout = []string{"lo"}, 1, 1
		}, "limits need connection tracking"},
		{"unknown helper", func(t *core.Traffic) { t.Helper = "irc" }, `helper "irc"`},
		{"helper of UDP", func(t *core.Traffic) { t.Helper = "tftp" }, "follows [udp]"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := with(service("web", "192.0.2.10:80", core.TCP), test.edit)
			if err := checkService(&s); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q in it", err, test.want)
			}
		})
	}
}
