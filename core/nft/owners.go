// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"fmt"
	"slices"

	"github.com/steelyard-lb/steelyard/core"
)

// owners are the services by the frontends that they hold.
type owners struct {
	exact  map[core.Frontend]string
	ranged []ownedRange
	// forwarding is by service: the ranges of those without connection tracking are
	// looked up before everything that is tracked.
	forwarding map[string]core.Forwarding
}

type ownedRange struct {
	front core.Frontend
	name  string
}

// claim keeps the frontends that a service holds already for it.
func (o *owners) claim(wanted, held *core.ServicePlan) {
	o.forward(wanted.Name, held.Forwarding)
	for _, f := range wanted.Frontends {
		if slices.Contains(held.Frontends, f) {
			o.put(wanted.Name, f)
		}
	}
}

func (o *owners) forward(name string, f core.Forwarding) {
	if o.forwarding == nil {
		o.forwarding = map[string]core.Forwarding{}
	}
	o.forwarding[name] = f
}

func (o *owners) put(name string, f core.Frontend) {
	if o.exact == nil {
		o.exact = map[core.Frontend]string{}
	}
	if f.Exact() {
		o.exact[f] = name
	} else {
		o.ranged = append(o.ranged, ownedRange{f, name})
	}
}

// take gives a service its frontends, or says who holds one of them.
func (o *owners) take(s *core.ServicePlan) error {
	o.forward(s.Name, s.Forwarding)
	for _, f := range s.Frontends {
		if holder, ok := o.holder(s.Name, f); ok {
			return fmt.Errorf("service %s: %v is taken by service %s", s.Name, f, holder)
		}
		if other, ok := o.hides(s, f); ok {
			return fmt.Errorf("service %s: %v and service %s overlap, and one of them has no connection tracking: its range is looked up first", s.Name, f, other)
		}
	}
	for _, f := range s.Frontends {
		o.put(s.Name, f)
	}
	return nil
}

// hides finds a service that shares addresses and ports with f, where an exact
// frontend is no exception to a range: of the two one is tracked and one is not.
func (o *owners) hides(s *core.ServicePlan, f core.Frontend) (string, bool) {
	if f.Exact() {
		for _, r := range o.ranged {
			if r.front.Shadows(f, o.forwarding[r.name], s.Forwarding) {
				return r.name, true
			}
		}
		return "", false
	}
	if s.Forwarding.Tracked() {
		return "", false
	}
	for e, name := range o.exact {
		if name != s.Name && f.Shadows(e, s.Forwarding, o.forwarding[name]) {
			return name, true
		}
	}
	return "", false
}

func (o *owners) holder(name string, f core.Frontend) (string, bool) {
	if f.Exact() {
		holder, ok := o.exact[f]
		return holder, ok && holder != name
	}
	for _, r := range o.ranged {
		if r.name != name && r.front.Overlaps(f) {
			return r.name, true
		}
	}
	return "", false
}
