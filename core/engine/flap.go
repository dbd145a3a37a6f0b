// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// held reports whether a backend is held down because it went down too often.
func (b *backend) held(spec *core.Service) bool {
	return b.rare != nil && b.rare.flap.Held(spec.Health)
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
