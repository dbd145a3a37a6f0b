// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/steelyard-lb/steelyard/core"
)

// forwardGoldens are the ways of a packet to a backend and back, and the things
// that clients can connect to.
func forwardGoldens() map[string]core.Plan {
	a, b := backend("a", "198.51.100.1:8080", 32768), backend("b", "198.51.100.2:8080", 32768)
	a6, b6 := backend("a", "[2001:db8:1::1]:8080", 65536), backend("b", "[2001:db8:1::2]:8080", 0)

	snat := forwarding(service("snat", "192.0.2.10:80", core.TCP, a, b), core.SNAT)
	snat.Backends[0].Source, snat.Backends[1].Source = netip.MustParseAddr("192.0.2.100"), netip.MustParseAddr("192.0.2.101")

	mixed := service("mixed", "192.0.2.10:80", core.TCP, a, b, backend("c", "198.51.100.3:8080", 0))
	mixed.Backends[1].Forwarding = core.Masquerade
	mixed.Backends[2].Forwarding, mixed.Backends[2].Source = core.SNAT, netip.MustParseAddr("192.0.2.100")

	local := forwarding(service("local", "192.0.2.10:80", core.TCP, backend("one", "127.0.0.1:8081", 40000), backend("two", "127.0.0.1:8082", 25536)), core.Local)
	local = with(local, func(t *core.Traffic) {
		t.Frontends = append(t.Frontends, core.ExactFrontend(netip.MustParseAddrPort("[2001:db8::10]:80"), core.TCP), ports("192.0.2.11", 1, 65535, core.UDP))
	})

	dual := service("dual", "192.0.2.10:80", core.TCP, a, a6, b, b6)
	dual = with(dual, func(t *core.Traffic) {
		t.Frontends = append(t.Frontends, core.ExactFrontend(netip.MustParseAddrPort("[2001:db8::10]:80"), core.TCP))
	})

	voip := service("voip", "192.0.2.10:5060", core.UDP, backend("a", "198.51.100.1:0", 32768), backend("b", "198.51.100.2:0", 32768))
	voip = with(voip, func(t *core.Traffic) {
		t.Frontends = append(t.Frontends, core.ExactFrontend(netip.MustParseAddrPort("192.0.2.10:5061"), core.TCP), ports("192.0.2.10", 10000, 20000, core.UDP))
	})
	whole := service("whole", "192.0.2.20:1", core.TCP, backend("a", "198.51.100.1:0", 65536))
	whole = with(whole, func(t *core.Traffic) {
		t.Frontends = []core.Frontend{
			{VIP: netip.MustParsePrefix("203.0.113.0/24"), Ports: core.PortRange{First: 0, Last: 65535}, Protocol: core.TCP},
			{VIP: netip.MustParsePrefix("203.0.113.0/24"), Ports: core.PortRange{First: 0, Last: 65535}, Protocol: core.UDP},
		}
	})

	hairpin := with(service("hairpin", "192.0.2.10:80", core.TCP, a, b), func(t *core.Traffic) {
		t.Hairpin, t.MasqueradeFor = true, []netip.Prefix{netip.MustParsePrefix("198.51.100.2/31")}
	})
	sctp := service("sctp", "192.0.2.10:3868", core.SCTP, a, b)

	return map[string]core.Plan{
		"snat": plan(snat), "mixed": plan(mixed), "local": plan(local), "dual": plan(dual),
		"ranges": plan(voip, whole), "hairpin": plan(hairpin), "sctp": plan(sctp),
	}
}

// ports is a frontend of several ports.
func ports(vip string, first, last uint16, p core.Protocol) core.Frontend {
	a := netip.MustParseAddr(vip)
	return core.Frontend{VIP: netip.PrefixFrom(a, a.BitLen()), Ports: core.PortRange{First: first, Last: last}, Protocol: p}
}

// A forwardCase is a service, who asks it, and whom the backend must see.
type forwardCase struct {
	service core.ServicePlan
	at      string // what is asked
	from    string // client or backends
	sees    string
	names   string // which may answer
}

func forwardCases() []forwardCase {
	v4 := []core.BackendPlan{backend("b1", "10.0.2.11:8080", 32768), backend("b2", "10.0.2.12:8080", 32768)}
	b6 := backend("b2", "[fd00:2::12]:8080", 65536)
	vip6 := func(port string) core.Frontend {
		return core.ExactFrontend(netip.MustParseAddrPort("[fd00:9::1]:"+port), core.TCP)
	}

	snat := forwarding(service("snat", "10.0.9.1:82", core.TCP, v4...), core.SNAT)
	for i := range snat.Backends {
		snat.Backends[i].Source = netip.MustParseAddr("10.0.9.1")
	}
	dual := with(service("dual", "10.0.9.1:83", core.TCP, v4[0], b6), func(t *core.Traffic) {
		t.Frontends = append(t.Frontends, vip6("83"))
	})
	dual.Backends[0].Slots = core.Slots
	local := forwarding(service("local", "10.0.9.1:84", core.TCP, backend("one", "127.0.0.1:80", 65536)), core.Local)
	local = with(local, func(t *core.Traffic) { t.Frontends = append(t.Frontends, vip6("84")) })
	localHash := with(local, at("10.0.9.1:89"))
	localHash = with(localHash, func(t *core.Traffic) { t.Distribution, t.Seed, t.Frontends[1] = core.Hash, 1, vip6("89") })
	localHash.Name = "local-hash"
	localPort := with(localHash, at("10.0.9.1:90"))
	localPort = with(localPort, func(t *core.Traffic) { t.HashKey, t.Frontends[1] = core.BySourcePort, vip6("90") })
	localPort.Name = "local-port"
	many := with(service("many", "10.0.9.1:85", core.UDP, backend("b1", "10.0.2.11:0", 32768), backend("b2", "10.0.2.12:0", 32768)), func(t *core.Traffic) {
		t.Frontends = []core.Frontend{ports("10.0.9.1", 8000, 8999, core.UDP), ports("10.0.9.1", 8000, 8999, core.TCP)}
	})
	net24 := with(service("net", "10.0.8.0:80", core.TCP, v4...), func(t *core.Traffic) {
		t.Frontends[0].VIP = netip.MustParsePrefix("10.0.8.0/24")
	})
	hairpin := with(service("hairpin", "10.0.9.1:86", core.TCP, v4[0], v4[1]), func(t *core.Traffic) { t.Hairpin = true })
	arm := with(service("arm", "10.0.9.1:87", core.TCP, v4[0], v4[1]), func(t *core.Traffic) {
		t.MasqueradeFor = []netip.Prefix{netip.MustParsePrefix("10.0.1.0/30")}
	})
	mixed := service("mixed", "10.0.9.1:88", core.TCP, v4[0], v4[1])
	mixed.Backends[0].Forwarding = core.Masquerade
	mixed.Backends[0].Slots, mixed.Backends[1].Slots = 65536, 0

	return []forwardCase{
		{snat, "10.0.9.1:82", "client", "10.0.9.1", "b1 b2"},
		{dual, "10.0.9.1:83", "client", "10.0.1.2", "b1"},
		{dual, "[fd00:9::1]:83", "client", "fd00:1::2", "b2"},
		{local, "10.0.9.1:84", "client", "10.0.1.2", "balancer"},
		{local, "[fd00:9::1]:84", "client", "fd00:1::2", "balancer"},
		{localHash, "10.0.9.1:89", "client", "10.0.1.2", "balancer"},
		{localHash, "[fd00:9::1]:89", "client", "fd00:1::2", "balancer"},
		{localPort, "10.0.9.1:90", "client", "10.0.1.2", "balancer"},
		{localPort, "[fd00:9::1]:90", "client", "fd00:1::2", "balancer"},
		{many, "10.0.9.1:8080", "client", "10.0.1.2", "b1 b2"},
		{net24, "10.0.8.77:80", "client", "10.0.1.2", "b1 b2"},
		{hairpin, "10.0.9.1:86", "backends", "10.0.2.1", "b1 b2"},
		{hairpin, "10.0.9.1:86", "client", "10.0.1.2", "b1 b2"},
		{arm, "10.0.9.1:87", "client", "10.0.2.1", "b1 b2"},
		{mixed, "10.0.9.1:88", "client", "10.0.2.1", "b1"},
	}
}

// TestForwarding asks services of each way of forwarding. The backend must see
// whom it should see, and each connection must be counted once.
func TestForwarding(t *testing.T) {
	cases := forwardCases()
	var p core.Plan
	for i, c := range cases {
		if i == 0 || cases[i-1].service.Name != c.service.Name {
			p.Services = append(p.Services, c.service)
		}
	}
	w, a := newTraffic(t, p)
	want := map[string]uint64{}
	for _, c := range cases {
		where := w.client
		if c.from == "backends" {
			where = w.backends
		}
		host, _, err := net.SplitHostPort(c.at)
		if err != nil {
			t.Fatal(err)
		}
		for _, protocol := range protocolsOf(c.service) {
			const asked = 20
			w.in(where, func() {
				for range asked {
					name, client, err := ask(protocol, c.at, patience)
					w.must(err)
					if client != c.sees || !contains(c.names, name) {
						t.Errorf("service %s asked at %s by the %s over %s: %s answers and sees %s: want %s to see %s", c.service.Name, host, c.from, protocol, name, client, c.names, c.sees)
						return
					}
				}
			})
			want[c.service.Name] += asked
		}
	}
	counts, err := a.Counters(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for name, n := range want {
		slack := uint64(0)
		if inKernelLab() {
			// Once in many runs a 6.1 in the emulator counted 42 of 40, for a reason
			// that is not known. What is counted twice would be 80.
			slack = n / 10
		}
		if got := counts[core.CounterKey{Service: name}]; got.Connections < n || got.Connections > n+slack || got.Refused != 0 {
			t.Errorf("service %s: counted %+v, asked %d times", name, got, n)
		}
	}
}

func protocolsOf(s core.ServicePlan) (list []string) {
	seen := map[core.Protocol]bool{}
	for _, f := range s.Frontends {
		if !seen[f.Protocol] {
			seen[f.Protocol] = true
			list = append(list, string(f.Protocol))
		}
	}
	return list
}

func contains(names, name string) bool { return slices.Contains(strings.Fields(names), name) }
