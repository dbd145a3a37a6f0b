// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
)

// ipvsCases are the kernel's own load balancer. It keeps the route to a backend
// that it looked up once.
func ipvsCases() []*benchCase {
	var list []*benchCase
	for _, c := range []struct {
		scheduler string
		most      int
	}{{"rr", maxServices}, {"wrr", 1}, {"wlc", maxServices}, {"mh", 1000}} {
		list = append(list, &benchCase{
			name: "IPVS NAT " + c.scheduler, traffic: newAndEst, most: c.most, warm: true,
			setUp: func(w *world, n int) (func() error, error) { return nil, w.ipvs(n, c.scheduler, "-m", backPort) },
		})
	}
	for _, scheduler := range []string{"rr", "wrr", "wlc", "mh"} {
		list = append(list, &benchCase{
			name: "IPVS DR " + scheduler, traffic: newAndEst, most: 1, warm: true, direct: true,
			setUp: func(w *world, n int) (func() error, error) { return nil, w.ipvs(n, scheduler, "-g", vipPort) },
		})
	}
	return list
}

// ipvs loads services with ipvsadm; how is "-m" for NAT, "-g" for direct routing.
func (w *world) ipvs(services int, scheduler, how string, port uint16) error {
	var b strings.Builder
	for i := range services {
		fmt.Fprintf(&b, "-A -u %s:%d -s %s\n", vip(i), vipPort, scheduler)
		for j := range backends {
			fmt.Fprintf(&b, "-a -u %s:%d -r %s:%d %s -w %d\n", vip(i), vipPort, backendAddr(j), port, how, 1)
		}
	}
	if err := w.tool(b.String(), "ipvsadm", "-R"); err != nil {
		return err
	}
	// Rates are estimated every two seconds by a walk over all backends. That is
	// no packet's cost, and would make every second repetition differ.
	return w.in(w.balancer, func() error { return sysctl("ipv4/vs/run_estimation", "0") })
}
