// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
)

// iptablesCases are statistic rules, as kube-proxy writes them: one rule per
// service that leads to its chain, and there one rule per backend.
func iptablesCases() []*benchCase {
	var list []*benchCase
	for _, c := range []struct {
		name, tool string
		most       int
	}{{"iptables-legacy", "iptables-legacy-restore", 10000}, {"iptables-nft", "iptables-nft-restore", 1000}} {
		list = append(list, &benchCase{
			name: c.name + " statistic", traffic: newAndEst, most: c.most,
			setUp: func(w *world, n int) (func() error, error) {
				return nil, w.tool(statisticRules(n), c.tool)
			},
		})
	}
	return list
}

func statisticRules(services int) string {
	var heads, rules strings.Builder
	for i := range services {
		name := serviceName(i)
		fmt.Fprintf(&heads, ":%s - [0:0]\n", name)
		fmt.Fprintf(&rules, "-A PREROUTING -d %s/32 -p udp -m udp --dport %d -j %s\n", vip(i), vipPort, name)
		for j := range backends {
			chance := ""
			if left := backends - j; left > 1 {
				chance = fmt.Sprintf("-m statistic --mode random --probability %.11f ", 1/float64(left))
			}
			fmt.Fprintf(&rules, "-A %s -p udp %s-j DNAT --to-destination %s:%d\n", name, chance, backendAddr(j), backPort)
		}
	}
	return "*nat\n" + heads.String() + rules.String() + "COMMIT\n"
}
