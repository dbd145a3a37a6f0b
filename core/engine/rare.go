// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
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

// held reports whether a backend is held down because it went down too often.
func (b *backend) held(spec *core.Service) bool {
	return b.rare != nil && b.rare.flap.Held(spec.Health)
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

// takeFlap follows what the probes made of a backend that was in state was.
func (e *Engine) takeFlap(s *service, b *backend, was core.HealthState) {
	rule, now := s.spec.Health, time.Now()
	switch {
	case was == core.Up && b.probed == core.Down:
		if !rule.Flaps() || !b.rares().flap.Down(rule, now) {
			return
		}
		e.tellFlap(s, b, now)
	case b.probed == core.Up && b.held(&s.spec):
		b.rare.flap.Well(now)
		e.due(b.rare.flap.Over())
	case b.rare != nil:
		b.rare.flap.Ill()
	}
}

// tellFlap tells now and then that a backend is held down: the last that serves is let
// up each time that its probes are good, and held at the next time that they are not.
func (e *Engine) tellFlap(s *service, b *backend, now time.Time) {
	if _, due := e.probeTold.Due(b.id.String(), "flap", now); !due {
		return
	}
	text := fmt.Sprintf("%s: %s", core.Flapping, b.rare.flap.Note(s.spec.Health))
	e.log.Warn("a backend went down too often", "service", s.spec.Name, "backend", b.spec.Name, "what", text)
	e.event(core.Warn, "probe", s.spec.Name, b.spec.Name, text)
}

// endHold lets a backend up that has been well for as long as it has to.
func (e *Engine) endHold(s *service, b *backend, now time.Time) {
	f := &b.rare.flap
	over := f.Over()
	switch {
	case !s.spec.Health.Flaps():
		f.LetUp(now)
	case over.IsZero():
	case now.Before(over):
		e.due(over)
	default:
		f.LetUp(now)
		e.rejudge(s, b, blame{code: core.Flapping, detail: f.WellFor(), at: now})
	}
}

// lastResort lets in what is only kept out by the rules for flapping and for passive
// health, if no other backend of the service serves: they never take the last one.
func (e *Engine) lastResort(s *service) {
	now := time.Now()
	if s.serving(nil) > 0 {
		return
	}
	for _, b := range s.backends {
		if !b.kept() {
			continue
		}
		c := blame{code: core.PassiveOver, detail: "no other backend is up: clients are sent there again", at: now}
		if b.held(&s.spec) {
			c.code, c.detail = core.Flapping, "no other backend is up: no longer held down"
			b.rare.flap.LetUp(now)
		}
		if b.ejected() {
			b.rare.out.End(now)
		}
		e.rejudge(s, b, c)
	}
}

// kept reports whether a backend would serve but for those rules.
func (b *backend) kept() bool {
	return b.rare != nil && b.probed == core.Up && b.health == core.Down && b.wanted()
}

// spareLast is what lastResort will do once the service is in force, for the plan that
// brings it there. It must not end anything: the service may be refused.
func (s *service) spareLast() {
	if s.serving(nil) > 0 {
		return
	}
	for _, b := range s.backends {
		if b.kept() {
			b.health = core.Up
		}
	}
}

// serving is how many backends but one serve, or would if they were not full.
func (s *service) serving(but *backend) (n int) {
	for _, b := range s.backends {
		if b != but && b.health == core.Up && b.wanted() && s.reachable(b) {
			n++
		}
	}
	return n
}

// wanted reports whether a backend is one to serve while it is well.
func (b *backend) wanted() bool { return !b.spec.Sorry && !b.drained() && b.weight() > 0 }
