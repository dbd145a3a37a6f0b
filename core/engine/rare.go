// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A rare is what few backends have; the others do not pay for it.
type rare struct {
	flap  core.Flap
	out   core.Ejection
	says  *said   // by an agent; nil if none said anything that counts
	wrong *wrongs // nil unless a policy reads how many connections go wrong
}

func (b *backend) rares() *rare {
	if b.rare == nil {
		b.rare = &rare{}
	}
	return b.rare
}

// ejected reports whether passive health has taken a backend out.
func (b *backend) ejected() bool { return b.rare != nil && b.rare.out.Out() }

// spared reports whether only passive health has taken a backend out: its probes are
// good, and so its open connections may be.
func (b *backend) spared() bool {
	return b.ejected() && b.probed == core.Up && b.health == core.Down
}

// gated is the health of a backend by its probes and by what else may keep it down.
func (b *backend) gated(spec *core.Service) core.HealthState {
	if b.probed == core.Up && (b.held(spec) || b.ejected()) {
		return core.Down
	}
	return b.probed
}

// outUntil is when a backend whose probes are good gets clients again that an ejection or
// a hold keeps out; zero if neither does.
func (b *backend) outUntil(rule core.HealthRule) time.Time {
	var until time.Time
	if b.rare == nil || b.probed != core.Up || b.health != core.Down {
		return until
	}
	if b.ejected() {
		until = b.rare.out.Until()
	}
	if b.rare.flap.Held(rule) && b.rare.flap.Over().After(until) {
		until = b.rare.flap.Over()
	}
	return until.UTC()
}

// due has endGates look at a time at the latest; zero is none.
func (e *Engine) due(at time.Time) {
	if !at.IsZero() && (e.gateDue.IsZero() || at.Before(e.gateDue)) {
		e.gateDue = at
	}
}

// endGates ends the holds, the ejections and the words of agents whose time is up.
func (e *Engine) endGates(now time.Time) {
	if e.gateDue.IsZero() || now.Before(e.gateDue) {
		return
	}
	e.gateDue = time.Time{}
	for _, s := range e.order {
		for _, b := range s.backends {
			if b.rare != nil {
				e.endHold(s, b, now)
				e.endEjection(s, b, now)
				e.endWords(s, b, now)
			}
		}
	}
	e.decideTipped()
}

// installGates follows a new configuration: rules that are gone, probes that are, and
// times that are others now.
func (e *Engine) installGates(now time.Time) {
	e.gateDue = now
	e.windowDue = e.nextWindow(now)
	for _, s := range e.order {
		for _, b := range s.backends {
			e.tellWindow(s.from.at(b.spec.Addr), b)
			if b.rare == nil {
				continue
			}
			b.rare.flap.Resume(b.probed == core.Up, now)
			e.installWords(s, b, now)
		}
		e.lastResort(s)
	}
}
