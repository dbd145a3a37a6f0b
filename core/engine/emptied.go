// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"slices"

	"github.com/steelyard-lb/steelyard/core"
)

// emptied is what new clients of a service meet whose backends do not serve as they
// should, and how bad that is; empty if they do.
func (s *service) emptied() (string, core.Severity) {
	sorry, panics, serves := false, false, false
	for i, b := range s.backends {
		switch {
		case b.share == 0:
		case b.spec.Sorry:
			sorry = true
		default:
			serves = true
			panics = panics || i < len(s.decision.Backends) && slices.ContainsFunc(s.decision.Backends[i].Steps, func(st core.Step) bool { return st.Name == "panic" })
		}
	}
	switch {
	case panics:
		return fmt.Sprintf("too few backends of %s are up: new connections go to all of them, the dead ones too (shaping: panic)", s.spec.Name), core.Warn
	case serves:
		return "", core.Info
	}
	nobody := fmt.Sprintf("no backend of %s takes new connections any more: they ", s.spec.Name)
	switch {
	case sorry:
		return nobody + "go to the sorry server", core.Warn
	case s.spec.OnEmpty == core.Drop:
		return nobody + "get no answer (on_empty: drop)", core.Error
	}
	return nobody + "are refused (on_empty: reject)", core.Error
}

// tellEmptied tells of a service that is without its backends, and when that is
// over. While it is not known of all of them whether they are up, as at a start,
// nothing is told.
func (e *Engine) tellEmptied(s *service) {
	text, how := s.emptied()
	if text == s.emptyTold || text != "" && slices.ContainsFunc(s.backends, func(b *backend) bool { return b.health == core.Unknown }) {
		return
	}
	s.emptyTold = text
	switch how {
	case core.Error:
		e.log.Error(text, "service", s.spec.Name)
	case core.Warn:
		e.log.Warn(text, "service", s.spec.Name)
	default:
		text = fmt.Sprintf("backends of %s take new connections again", s.spec.Name)
		e.log.Info(text, "service", s.spec.Name)
	}
	e.event(how, "service", s.spec.Name, "", text)
}
