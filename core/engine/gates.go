// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// takeFull follows max_connections: when a backend has become full, or has room
// again, its service is decided at once.
func (e *Engine) takeFull(s *service, b *backend) {
	full := core.Full(b.full, uint64(b.open.value), b.maxConnections())
	if full == b.full || b.open.at.IsZero() {
		return
	}
	b.full = full
	what := "has room again"
	if full {
		what = "is full"
	}
	e.tip(s, fmt.Sprintf("%s %s: %.0f of %d connections", b.spec.Name, what, b.open.value, b.maxConnections()), b.open.at)
}

// tellFlows passes on what a commit has made of the backends: which get no new
// connections, and which of those are down. A backend that went down is told of
// only now, since until the commit its clients would come back at once.
func (e *Engine) tellFlows(s *service) {
	if e.cfg.Flows == nil {
		return
	}
	for i, b := range s.backends {
		idle := s.sent[i] == 0
		if !b.told || idle != b.idle {
			b.idle, b.told = idle, true
			e.cfg.Flows.SetIdle(b.id, idle)
		}
		e.tellDown(s, b)
	}
}

// tellDown passes on whether nothing answers a backend's connections any more. Those
// of one that only passive health has taken out may be well.
func (e *Engine) tellDown(s *service, b *backend) {
	reaper, reaps := e.cfg.Flows.(Reaper)
	down := b.idle && b.health == core.Down && !b.spared()
	if !reaps || down == b.down {
		return
	}
	if b.down = down; down {
		reaper.SetDown(b.id, s.spec.OnDown)
	} else {
		reaper.SetUp(b.id)
	}
}

// takeHops decides the services whose backends' link addresses have changed.
func (e *Engine) takeHops() {
	for _, s := range e.order {
		for _, b := range s.backends {
			hop, alt := b.hop, b.altHop
			s.findHop(b, e.cfg.Neighbours)
			if b.hop != hop || b.altHop != alt {
				e.tip(s, "the link address of "+b.spec.Name+" changed", time.Now())
			}
		}
	}
	e.decideTipped()
}

func (s *service) findHops(n Neighbours) {
	for _, b := range s.backends {
		s.findHop(b, n)
	}
}

// findHop looks up the way to a backend, if it is of dsr.
func (s *service) findHop(b *backend, n Neighbours) {
	b.hop, b.altHop, b.noHop = core.Hop{}, core.Hop{}, ""
	if n == nil || s.forwarding(b) != core.DSR {
		return
	}
	var known bool
	if b.hop, known = n.Hop(b.spec.Addr.Addr()); !known {
		b.noHop = n.Why(b.spec.Addr.Addr())
	}
	if b.spec.Alt.IsValid() {
		b.altHop, _ = n.Hop(b.spec.Alt.Addr())
	}
}

// reachable reports whether a packet can be sent to a backend, as far as we know.
func (s *service) reachable(b *backend) bool {
	return s.forwarding(b) != core.DSR || s.reaches(b, false) || s.reaches(b, true)
}

// lost says why no packet can or may be sent to a backend; empty if one can.
func (s *service) lost(b *backend) string {
	if s.gathering {
		return gatherNote
	}
	if s.reachable(b) {
		return ""
	}
	var addrs []string
	for _, a := range b.addrs() {
		if !a.addr.IsValid() {
			continue
		}
		addrs = append(addrs, a.addr.Addr().String())
	}
	text := "no link address of " + strings.Join(addrs, " and ") + " yet"
	if b.noHop != "" {
		text += ": " + b.noHop
	}
	return text
}

// state is a backend's state in one word. reserve says that shaping leaves it out
// for a priority group before its own.
func (b *backend) state(reserve bool) core.BackendState {
	switch {
	case b.drained():
		return b.drainState()
	case b.spec.Sorry:
		return core.StateSorry
	case b.spared():
		return core.StateEjected
	case b.health == core.Down:
		return core.StateDown
	case b.health == core.Unknown:
		return core.StateUnknown
	case b.full:
		return core.StateFull
	case reserve:
		return core.StateReserve
	}
	return core.StateUp
}
