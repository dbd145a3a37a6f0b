// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/steelyard-lb/steelyard/core"
)

func front(prefix string, first, last uint16, p core.Protocol) core.Frontend {
	vip, err := netip.ParsePrefix(prefix)
	if err != nil {
		a := netip.MustParseAddr(prefix)
		vip = netip.PrefixFrom(a, a.BitLen())
	}
	return core.Frontend{VIP: vip.Masked(), Ports: core.PortRange{First: first, Last: last}, Protocol: p}
}

func addrs(list ...string) []netip.AddrPort {
	var addrs []netip.AddrPort
	for _, s := range list {
		addrs = append(addrs, netip.MustParseAddrPort(s))
	}
	return addrs
}

func id(name string) core.BackendID { return core.BackendID{Service: name, Backend: "b"} }

// services are one of each kind.
var services = []Watched{
	{ID: id("both"), Addrs: addrs("198.51.100.1:8080", "[2001:db8:2::1]:8081"), Frontends: []core.Frontend{
		front("203.0.113.1", 80, 80, core.TCP), front("203.0.113.1", 443, 443, core.UDP),
		front("2001:db8:3::1", 80, 80, core.TCP),
	}},
	{ID: id("ports"), Addrs: addrs("198.51.100.1:0"), Frontends: []core.Frontend{front("203.0.113.1", 9000, 9010, core.UDP)}},
	{ID: id("mapped"), Addrs: addrs("198.51.100.1:7000"), Frontends: []core.Frontend{front("203.0.113.1", 9020, 9030, core.TCP)}},
	{ID: id("net"), Addrs: addrs("198.51.100.1:8080"), Frontends: []core.Frontend{front("203.0.113.64/26", 80, 80, core.TCP)}},
	{ID: id("net6"), Addrs: addrs("[2001:db8:2::1]:0"), Frontends: []core.Frontend{front("2001:db8:3:8000::/49", 1, 65535, core.SCTP)}},
	{ID: id("local"), Local: true, Addrs: addrs("127.0.0.1:7070"), Frontends: []core.Frontend{
		front("203.0.113.1", 70, 70, core.TCP), front("2001:db8:3::1", 70, 70, core.TCP),
	}},
	{ID: id("localnet"), Local: true, Addrs: addrs("127.0.0.1:0"), Frontends: []core.Frontend{front("203.0.113.0/28", 1, 1023, core.UDP)}},
	{ID: id("wideanycase"), Addrs: addrs("198.51.100.1:8080"), Frontends: []core.Frontend{front("203.0.113.0/24", 1, 65535, core.TCP)}},
}

func TestFind(t *testing.T) {
	tests := []struct {
		name     string
		protocol core.Protocol
		vip      string
		backend  string
		want     string // service; empty if none
	}{
		{"exact", core.TCP, "203.0.113.1:80", "198.51.100.1:8080", "both"},
		{"another protocol", core.UDP, "203.0.113.1:443", "198.51.100.1:8080", "both"},
		{"a protocol that is none of its", core.SCTP, "203.0.113.1:80", "198.51.100.1:8080", ""},
		{"another family", core.TCP, "[2001:db8:3::1]:80", "[2001:db8:2::1]:8081", "both"},
		{"another port of the backend", core.TCP, "203.0.113.1:80", "198.51.100.1:8081", ""},
		{"a range, the port kept", core.UDP, "203.0.113.1:9007", "198.51.100.1:9007", "ports"},
		{"its last port", core.UDP, "203.0.113.1:9010", "198.51.100.1:9010", "ports"},
		{"beyond it", core.UDP, "203.0.113.1:9011", "198.51.100.1:9011", ""},
		{"a range, the port not kept", core.UDP, "203.0.113.1:9007", "198.51.100.1:9008", ""},
		{"a range to one port", core.TCP, "203.0.113.1:9025", "198.51.100.1:7000", "mapped"},
		{"a network", core.TCP, "203.0.113.127:80", "198.51.100.1:8080", "net"},
		{"beyond it, in a wider one", core.TCP, "203.0.113.128:80", "198.51.100.1:8080", "wideanycase"},
		{"an IPv6 network with odd bits", core.SCTP, "[2001:db8:3:ffff::9]:5060", "[2001:db8:2::1]:5060", "net6"},
		{"beyond it", core.SCTP, "[2001:db8:3:7fff::9]:5060", "[2001:db8:2::1]:5060", ""},
		{"local", core.TCP, "203.0.113.1:70", "192.0.2.1:7070", "local"},
		{"local IPv6", core.TCP, "[2001:db8:3::1]:70", "[2001:db8:1::1]:7070", "local"},
		{"local to another port", core.TCP, "203.0.113.1:70", "192.0.2.1:7071", ""},
		{"a local network", core.UDP, "203.0.113.9:53", "192.0.2.1:53", "localnet"},
	}
	x := newIndex(services)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := c1
			c.protocol, c.vip, c.backend = tt.protocol, netip.MustParseAddrPort(tt.vip), netip.MustParseAddrPort(tt.backend)
			if c.vip.Addr().Is6() {
				c.client = c6.client
			}
			m, _, _ := next(c.created())
			got := ""
			if i, ok := x.find(&m); ok {
				got = x.backends[x.backend[i]].Service
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			m.status = 0
			if i, ok := x.find(&m); ok && !x.rules[i].exact() {
				t.Error("a connection whose destination nobody rewrote belongs to a wide rule")
			}
		})
	}
}

// TestFindAgainstModel compares with asking every rule in turn.
func TestFindAgainstModel(t *testing.T) {
	vips := []string{"203.0.113.1", "203.0.113.2", "203.0.113.0/30", "203.0.113.0/24"}
	backends := []string{"198.51.100.1", "198.51.100.2"}
	port := rapid.Uint16Range(1, 6)
	rapid.Check(t, func(rt *rapid.T) {
		var watched []Watched
		for i := range rapid.IntRange(1, 6).Draw(rt, "backends") {
			first, last := port.Draw(rt, "first"), port.Draw(rt, "last")
			backend := netip.MustParseAddr(rapid.SampledFrom(backends).Draw(rt, "backend"))
			watched = append(watched, Watched{
				ID:        id(string(rune('a' + i))),
				Frontends: []core.Frontend{front(rapid.SampledFrom(vips).Draw(rt, "vip"), min(first, last), max(first, last), core.TCP)},
				Addrs:     []netip.AddrPort{netip.AddrPortFrom(backend, rapid.Uint16Range(0, 6).Draw(rt, "port"))},
				Local:     rapid.Bool().Draw(rt, "local"),
			})
		}
		x := newIndex(watched)
		c := c1
		c.vip = netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, rapid.Byte().Draw(rt, "host") % 6}), port.Draw(rt, "vport"))
		c.backend = netip.AddrPortFrom(netip.MustParseAddr(rapid.SampledFrom(backends).Draw(rt, "answers")), port.Draw(rt, "bport"))
		m, _, _ := next(c.created())
		i, found := x.find(&m)
		matching := 0
		for _, w := range watched {
			f, a := w.Frontends[0], w.Addrs[0]
			ok := f.VIP.Contains(c.vip.Addr()) && f.Ports.First <= c.vip.Port() && c.vip.Port() <= f.Ports.Last &&
				(w.Local || a.Addr() == c.backend.Addr()) &&
				(a.Port() == c.backend.Port() || a.Port() == 0 && c.vip.Port() == c.backend.Port())
			if ok {
				matching++
			}
			if found && x.backends[x.backend[i]] == w.ID && !ok {
				rt.Fatalf("found %+v, which does not match %+v", w, c)
			}
		}
		if found != (matching > 0) {
			rt.Fatalf("found %t, %d match %+v of %+v", found, matching, c, watched)
		}
	})
}

// A rule keeps its counts when others come and go, and forgets them when its
// frontend or address changes.
func TestWatchKeepsTheCountsOfRules(t *testing.T) {
	tab := newTable(newIndex(services))
	tab.beginSync()
	tab.endSync()
	for i := range tab.slots {
		tab.slots[i].count.Opened = uint64(i + 1)
	}
	before := counts(tab)
	var reversed []Watched
	for i := range services {
		reversed = append(reversed, services[len(services)-1-i])
	}
	if tab.watch(newIndex(reversed)) {
		t.Error("the same rules in another order ask for a resync")
	}
	if diff := cmp.Diff(before, counts(tab)); diff != "" {
		t.Errorf("counts (-before +after):\n%s", diff)
	}
	if got := tab.byProtocol(id("both")); got[core.TCP].Opened != 1+3 || got[core.UDP].Opened != 2 {
		t.Errorf("by protocol: %+v, want 4 of TCP and 2 of UDP", got)
	}
	changed := []Watched{services[0]}
	changed[0].Addrs = addrs("198.51.100.1:8080", "[2001:db8:2::2]:8081")
	if !tab.watch(newIndex(changed)) {
		t.Error("a new address asks for no resync")
	}
	if c, known := counts(tab)[id("both")]; known {
		t.Errorf("counts %+v although one address was never counted", c)
	}
}
