// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// hopPatience bounds how long a start waits for link addresses. One that the
// kernel knows is there in milliseconds; what takes longer does not answer.
const hopPatience = 3 * time.Second

// awaitHops waits for the link addresses of the backends that an adopted table
// sends packets to. The first plan would be one without them otherwise, and take
// away their flows for as long as it takes to find them. Until then the table serves
// as it is.
func (e *Engine) awaitHops(ctx context.Context, adopted core.Plan) {
	if e.cfg.Neighbours == nil {
		return
	}
	wanted := e.hopsInForce(adopted)
	if len(wanted) == 0 {
		return
	}
	e.cfg.Neighbours.Watch(wanted)
	changed := e.cfg.Neighbours.Changed()
	patience := time.NewTimer(hopPatience)
	defer patience.Stop()
	for {
		wanted = slices.DeleteFunc(wanted, func(a netip.Addr) bool {
			_, known := e.cfg.Neighbours.Hop(a)
			return known
		})
		if len(wanted) == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-patience.C:
			e.log.Warn("link addresses of backends are not found again after the start; they get no packets until they are", "addresses", wanted)
			return
		case <-changed:
		}
	}
}

// hopsInForce are the addresses of configured backends that a table sends packets
// to by their link address.
func (e *Engine) hopsInForce(adopted core.Plan) (list []netip.Addr) {
	configured := map[netip.Addr]bool{}
	for _, s := range e.setup.Services {
		for _, b := range s.Backends {
			configured[b.Addr.Addr()], configured[b.Alt.Addr()] = true, true
		}
	}
	for _, s := range adopted.Services {
		if s.Traffic == nil || s.Forwarding != core.DSR {
			continue
		}
		for _, b := range s.Backends {
			if a := b.Addr.Addr(); b.Alive && configured[a] {
				list = append(list, a)
			}
		}
	}
	return list
}

// hopMoved reports whether a backend's link address is another than in what was
// handed to the kernel, which takes a full sync.
func (s *service) hopMoved(plan []core.BackendPlan) bool {
	return s.sent != nil && !slices.EqualFunc(plan, s.sentPlan, func(x, y core.BackendPlan) bool { return x.Hop == y.Hop })
}
