// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

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
