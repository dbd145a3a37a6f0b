// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"

	"github.com/steelyard-lb/steelyard/core"
)

// agreed says how the nodes disagree: each service has one leader, which is the first
// choice, and all know it; the balancers' kernels have the same slots, and all backends
// have some.
func (s *faultStand) agreed(nodes []*faultNode) error {
	views := map[string]core.NodeView{}
	for _, n := range nodes {
		v, err := n.rig.client.Node(s.t.Context())
		if err != nil {
			return err
		}
		views[n.name] = v
	}
	for i := range faultServices {
		if err := oneLeader(views, faultService(i)); err != nil {
			return err
		}
	}
	return s.sameSlots(nodes)
}

// oneLeader says so if a service has not exactly one leader, whom all follow.
func oneLeader(views map[string]core.NodeView, service string) error {
	var leaders []string
	follows := map[string]string{}
	for name, v := range views {
		i := slices.IndexFunc(v.Services, func(s core.ServiceView) bool { return s.Name == service })
		if i < 0 {
			return fmt.Errorf("%s has no service %s", name, service)
		}
		if l := v.Services[i].Leader; l != nil {
			follows[name] = l.Node
		} else if slices.Contains(v.Roles, "schedule") {
			leaders = append(leaders, name)
		} else {
			return fmt.Errorf("%s knows no leader of %s", name, service)
		}
	}
	if len(leaders) != 1 {
		return fmt.Errorf("%v lead %s; the others follow %v", leaders, service, follows)
	}
	var may []string
	for name, v := range views {
		if slices.Contains(v.Roles, "schedule") {
			may = append(may, name)
		}
	}
	if first := core.NewRendezvous(may).Rank(core.KeyOf(service), 1)[0]; first != leaders[0] {
		return fmt.Errorf("%s leads %s, and the first choice is %s", leaders[0], service, first)
	}
	for name, l := range follows {
		if l != leaders[0] {
			return fmt.Errorf("%s follows %s in %s, which %s leads", name, l, service, leaders[0])
		}
	}
	return nil
}

// sameSlots says how the kernels differ.
func (s *faultStand) sameSlots(nodes []*faultNode) error {
	for i := range faultServices {
		var first slotsOf
		for _, b := range s.balancers {
			if !slices.Contains(nodes, b) {
				continue
			}
			here, err := s.watch.of(b).read(faultService(i))
			switch {
			case err != nil:
				return err
			case len(here) != len(s.backends):
				return fmt.Errorf("%d of %d backends have slots in %s on %s", len(here), len(s.backends), faultService(i), b.name)
			case first == nil:
				first = here
			case !first.same(here):
				return fmt.Errorf("%s has other slots of %s than another: %v, %v", b.name, faultService(i), here, first)
			}
		}
	}
	return nil
}

// untilAgreed waits until the nodes agree.
func (s *faultStand) untilAgreed(what string, nodes []*faultNode) {
	s.t.Helper()
	s.untilWithin(startPatience, what, func() error { return s.agreed(nodes) })
}
