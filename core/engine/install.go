// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// install makes services the state in force, and returns the commands that have
// ended with what they were about.
func (e *Engine) install(setup Setup, services map[string]*service) []core.Dropped {
	before := e.services
	e.setup, e.services, e.order, e.installedAt = setup, services, inOrder(services), time.Now()
	e.watchHops()
	e.installLeads()
	for _, s := range e.order {
		for _, b := range s.backends {
			e.catchUp(s.from, s, b)
			e.tellHealth(s.from, b)
		}
	}
	e.targets = nil
	e.recount()
	e.installGates(time.Now())
	pins := e.installPins(before)
	e.decideTipped()
	e.takeLeads()
	e.tellAll()
	dropped := e.dropOverrides(before)
	e.handOver(before, services)
	return append(dropped, pins...)
}

// handOver passes on who waits for what becomes of a decision.
func (e *Engine) handOver(before, services map[string]*service) {
	for _, s := range services {
		if s.from == nil {
			continue
		}
		for _, w := range s.from.waiters {
			if w.after > 0 && !s.follows { // the policy has answered the service before, if at all
				w.seq, w.after = 0, e.seq
				s.waiters = append(s.waiters, w)
			} else {
				s.await(w)
			}
		}
		s.from.waiters, s.from = nil, nil
	}
	for _, s := range before {
		for _, w := range s.waiters { // of a service that is gone
			w.answer <- core.Decision{Outcome: core.Superseded}
		}
	}
}

// watchHops says which backends need a link address.
func (e *Engine) watchHops() {
	if e.cfg.Neighbours == nil {
		return
	}
	var addrs []netip.Addr
	for _, s := range e.order {
		for _, b := range s.backends {
			if s.forwarding(b) != core.DSR {
				continue
			}
			for _, a := range b.addrs() {
				if a.addr.IsValid() {
					addrs = append(addrs, a.addr.Addr())
				}
			}
		}
	}
	e.cfg.Neighbours.Watch(addrs)
}

// tellHealth publishes what the new configuration itself made of a backend's
// health, as when the probe that held it down is gone.
func (e *Engine) tellHealth(before *service, b *backend) {
	if o := before.at(b.spec.Addr); o != nil && o.health != b.health {
		e.cfg.Publisher.Health(core.HealthChange{
			Backend: b.id, Node: e.cfg.Node, At: b.since.UTC(), From: o.health, To: b.health,
			Detail: "the configuration was reloaded",
		})
	}
}

// catchUp follows what came between build and install: samples that tipped the
// backend of the service before, which shares its probes with b, and commands.
func (e *Engine) catchUp(before, s *service, b *backend) {
	now := time.Now()
	if o := e.inherited(before, s.spec, *b.spec); before != nil && o != b.override {
		if weightOf(o) != weightOf(b.override) && !s.follows {
			s.setFree(e.seq)
		}
		b.override = o
		e.tip(s, "the command for "+b.spec.Name, now)
	}
	o := before.at(b.spec.Addr)
	if o != nil && b.rare == nil {
		b.rare = o.rare
	}
	b.probed = b.combined(s.spec.Health)
	to := b.gated(&s.spec)
	if to == b.health {
		return
	}
	b.health, b.since = to, now
	if o != nil && o.health == to {
		b.since, b.note, b.cameUp = o.since, o.note, o.cameUp
		b.opinion, b.opinionFrom = o.opinion, o.opinionFrom
	}
	e.tip(s, fmt.Sprintf("%s went %s", b.spec.Name, to), b.since)
}
