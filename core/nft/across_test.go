// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"strings"
	"testing"

	"github.com/steelyard-lb/steelyard/core"
)

// An exact frontend may lie in a range of another service, for the exact ones are
// looked up first. A range without connection tracking is looked up before all that
// is tracked: either the exact one is an exception there, or one of both is refused.
func TestExactFrontendInUntrackedRange(t *testing.T) {
	all := with(linkGoldens()["dsr"].Services[0], func(t *core.Traffic) {
		t.Frontends[0].Ports = core.PortRange{First: 1, Last: 65535}
	})
	exact := service("exact", "192.0.2.10:443", core.TCP, backend("a", "198.51.100.9:443", core.Slots))
	p := plan(exact, all)
	if _, refused := checkPlan(p, nil, nil); len(refused) > 0 {
		return
	}
	_, link, _ := strings.Cut(Render(p), "table netdev ")
	if !strings.Contains(link, "192.0.2.10 . tcp . 443") {
		t.Errorf("packets for service exact are taken by service %s:\n%s", all.Name, link[:min(len(link), 600)])
	}
}

// Of two that overlap so, the one in force stays, wherever it stands in the plan.
func TestExactFrontendInUntrackedRangeInForce(t *testing.T) {
	all := with(linkGoldens()["dsr"].Services[0], func(t *core.Traffic) {
		t.Frontends[0].Ports = core.PortRange{First: 1, Last: 65535}
	})
	exact := service("exact", "192.0.2.10:443", core.TCP, backend("a", "198.51.100.9:443", core.Slots))
	for _, there := range []core.ServicePlan{all, exact} {
		for _, p := range []core.Plan{plan(exact, all), plan(all, exact)} {
			_, refused := checkPlan(p, map[string]*held{there.Name: {plan: &there}}, nil)
			if len(refused) != 1 || refused[there.Name] != nil {
				t.Errorf("%s is in force, %s stands first: refused %v", there.Name, p.Services[0].Name, refused)
			}
		}
	}
}
