// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/netip"

	"github.com/steelyard-lb/steelyard/core"
)

// servicesPlan is a plan of n services, each as change leaves it.
func servicesPlan(n int, change func(*core.Traffic)) core.Plan {
	var plan core.Plan
	for i := range n {
		t := core.Simple(netip.AddrPortFrom(vip(i), vipPort), core.UDP)
		if change != nil {
			change(&t)
		}
		list := backendPlans()
		for j := range list {
			list[j].Alive = true
			list[j].Forwarding = t.Forwarding
		}
		plan.Services = append(plan.Services, core.ServicePlan{Name: serviceName(i), Traffic: &t, Backends: list})
	}
	return plan
}
