// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"net/netip"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// untracked is a service without connection tracking.
func untracked(s core.ServicePlan, f core.Forwarding, key core.HashKey) core.ServicePlan {
	s = forwarding(s, f)
	s = with(s, func(t *core.Traffic) {
		t.Interfaces, t.FlowTimeout, t.HashKey, t.Seed = []string{"lo"}, 90*time.Second, key, 0x5ee1
	})
	for i := range s.Backends {
		if f == core.DSR {
			s.Backends[i].Hop = hop(byte(i+1), "lo")
		}
	}
	return s
}

func hop(n byte, device string) core.Hop {
	return core.Hop{MAC: [6]byte{2, 0, 0, 0, 1, n}, Own: [6]byte{2, 0, 0, 0, 0, 9}, Device: device}
}

// linkGoldens are services of the second table, one of each kind.
func linkGoldens() map[string]core.Plan {
	web := service("web", "192.0.2.10:80", core.TCP, backend("web1", "198.51.100.1:0", 43690), backend("web2", "198.51.100.2:0", 21846))
	web6 := service("web6", "[2001:db8::10]:443", core.TCP, backend("a", "[2001:db8:1::1]:8443", 32768), backend("b", "[2001:db8:1::2]:8443", 32768))
	dns := service("dns", "192.0.2.10:53", core.UDP, backend("ns1", "198.51.100.53:5353", 65536), backend("ns2", "198.51.100.54:5353", 0))
	dns = with(dns, func(t *core.Traffic) {
		t.Frontends = append(t.Frontends, core.ExactFrontend(netip.MustParseAddrPort("192.0.2.10:53"), core.TCP))
	})
	both := service("both", "192.0.2.11:80", core.TCP, backend("b1", "198.51.100.1:0", 65536), backend("b1", "[2001:db8:1::1]:0", 65536))
	both = with(both, func(t *core.Traffic) {
		t.Frontends = append(t.Frontends, core.ExactFrontend(netip.MustParseAddrPort("[2001:db8::11]:80"), core.UDP))
		t.OnEmpty = core.Drop
	})
	tracked := service("tracked", "192.0.2.12:80", core.TCP, backend("t1", "198.51.100.1:80", 65536))
	return map[string]core.Plan{
		"dsr":        plan(untracked(web, core.DSR, core.BySourcePort)),
		"dsr-dual":   plan(untracked(both, core.DSR, core.BySource)),
		"stateless":  plan(untracked(dns, core.Stateless, core.BySourcePort), tracked),
		"stateless6": plan(untracked(web6, core.Stateless, core.BySource)),
		"keep-port":  plan(untracked(web, core.Stateless, core.BySourcePort)),
	}
}
