// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"

	"github.com/steelyard-lb/steelyard/core"
)

// servicesPlan is a plan of n services, each as change leaves it.
func servicesPlan(n int, change func(*core.ServicePlan)) core.Plan {
	plan := core.Plan{OffloadDevices: []string{"b0", "b1"}}
	for i := range n {
		t := core.Simple(netip.AddrPortFrom(vip(i), vipPort), core.UDP)
		s := core.ServicePlan{Name: serviceName(i), Traffic: &t, Backends: backendPlans()}
		if change != nil {
			change(&s)
		}
		plan.Services = append(plan.Services, s)
	}
	return plan
}

// backendPlans are 16 backends of equal weight.
func backendPlans() []core.BackendPlan {
	var list []core.BackendPlan
	for j := range backends {
		list = append(list, core.BackendPlan{
			Name: fmt.Sprintf("b%02d", j), Addr: netip.AddrPortFrom(backendAddr(j), backPort),
			Slots: core.Slots / backends, Alive: true, Forwarding: core.DNAT,
		})
	}
	return list
}
