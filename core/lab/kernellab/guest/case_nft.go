// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
)

// nftCases are rulesets for nft that others write: the one rule by which ours is
// judged, and the shape of nftlb's.
func nftCases() []*benchCase {
	return []*benchCase{
		{
			name: "one static DNAT rule", traffic: newAndEst,
			setUp: func(w *world, _ int) (func() error, error) {
				return nil, w.nft(fmt.Sprintf(`table ip static { chain prerouting {
					type nat hook prerouting priority dstnat; policy accept;
					ip daddr %s udp dport %d dnat to %s:%d
				}
				}`, vip(0), vipPort, backendAddr(0), backPort))
			},
		},
		{
			// Not at 10,000: nft alone takes longer to load it than all else takes.
			name: "nftlb's ruleset", traffic: newAndEst, most: 1000,
			setUp: func(w *world, n int) (func() error, error) { return nil, w.nft(nftlbRules(n)) },
		},
	}
}

func (w *world) nft(rules string) error { return w.tool(rules, "nft", "-f", "-") }

// nftlbRules is what nftlb 1.0.7 writes for a farm with mode dnat, scheduler
// weight and a backend port: a filter chain chooses a backend as a mark, and a
// nat chain turns the mark into an address.
func nftlbRules(services int) string {
	var filterMap, natMap, chains strings.Builder
	for i := range services {
		name := serviceName(i)
		fmt.Fprintf(&filterMap, "udp . %s . %d : goto filter-%s,", vip(i), vipPort, name)
		fmt.Fprintf(&natMap, "udp . %s . %d : goto nat-%s,", vip(i), vipPort, name)
		var choice, dest strings.Builder
		for j := range backends {
			mark := 1 + i*backends + j
			fmt.Fprintf(&choice, "%d : %#x,", j, mark)
			fmt.Fprintf(&dest, "%#x : %s . %d,", mark, backendAddr(j), backPort)
		}
		fmt.Fprintf(&chains, `chain filter-%s {
  ct state new ct mark 0x0 ct mark set numgen random mod %d map { %s }
}
chain nat-%s {
  ip protocol udp dnat ip addr . port to ct mark map { %s }
}
`, name, backends, choice.String(), name, dest.String())
	}
	return fmt.Sprintf(`table ip nftlb {
map services-back-m { type mark : ipv4_addr; }
%s
map filter-proto-services { type inet_proto . ipv4_addr . inet_service : verdict; elements = { %s } }
map nat-proto-services { type inet_proto . ipv4_addr . inet_service : verdict; elements = { %s } }
chain filter { type filter hook prerouting priority mangle; policy accept;
  meta mark 0x0 meta mark set ct mark
  ip protocol . ip daddr . th dport vmap @filter-proto-services
}
chain prerouting { type nat hook prerouting priority dstnat; policy accept;
  ct state new meta mark 0x0 meta mark set ct mark
  ip protocol . ip daddr . th dport vmap @nat-proto-services
}
chain postrouting { type nat hook postrouting priority srcnat; policy accept;
  ct mark 0x0 ct mark set meta mark
  ct mark & 0x80000000 == 0x80000000 masquerade
  snat to ct mark map @services-back-m
}
}
`, chains.String(), filterMap.String(), natMap.String())
}
