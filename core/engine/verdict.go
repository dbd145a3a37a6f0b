// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
)

// Why a command is not in force yet.
var (
	notFollowed   = fmt.Sprintf("the kernel has not followed within %s", commitPatience)
	kernelRefused = "it was refused, and will be tried again: "
)

// judge says of a command that was taken whether it is in force and what new
// clients meet now. d is the decision that carried it; with the outcome pending
// there is none.
func (e *Engine) judge(res *core.OverrideResult, id core.BackendID, r core.OverrideRequest, d core.Decision) {
	s := e.services[id.Service]
	b := s.find(id.Backend)
	switch {
	case b == nil:
		res.NotInForce = fmt.Sprintf("%s has left the configuration meanwhile, or has another name now", id)
		return
	case !sameOverride(shown(b.override), res.Override):
		res.Warning = addText(res.Warning, "another command has taken its place meanwhile")
		return
	case res.Outcome == core.Failed:
		res.NotInForce = kernelRefused + d.Error
	case res.Outcome == core.Pending:
		res.NotInForce = s.late(b)
	case res.Before != nil || res.Override != nil || r.Kind == core.OverrideReady && b.drained():
		res.NotInForce = s.ineffective(b, res)
	}
	if r.Kind != core.OverrideReady && b.weight() == 0 || b.drained() {
		text, _ := s.emptied()
		res.Warning = addText(res.Warning, text)
	}
	if s.follows && res.Override != nil && res.Override.Kind == core.OverrideDrain {
		res.Warning = addText(res.Warning, fmt.Sprintf("on this node only: %s is led by %s, and a drain there is for all nodes", s.spec.Name, s.leaderName()))
	}
}

func sameOverride(x, y *core.Override) bool {
	return x == y || x != nil && y != nil && *x == *y
}

// addText adds a sentence to others; either may be empty.
func addText(text, more string) string {
	return strings.Trim(text+"; "+more, "; ")
}

// late says what has not come of a command in time.
func (s *service) late(b *backend) string {
	if slices.ContainsFunc(s.waiters, func(w waiter) bool { return w.seq == 0 }) {
		return fmt.Sprintf("policy %s has not answered within %s, and the shares before hold", s.spec.Policy, commitPatience)
	}
	return notFollowed
}

// ineffective says why nobody notices that a backend was made ready or was given a
// weight; empty if that is in force.
func (s *service) ineffective(b *backend, res *core.OverrideResult) string {
	i := slices.Index(s.backends, b)
	if b.override == nil || b.override.Kind != core.OverrideDrain {
		if text := b.drainedText(); text != "" {
			if b.window == nil {
				text += "; it ends when the agent says ready, or with a weight by command"
			}
			return "it is drained: " + text // which no ready by command ends
		}
	}
	if b.drained() || b.weight() == 0 || i >= len(s.decision.Backends) {
		return ""
	}
	d := s.decision.Backends[i]
	switch reweighed := weightOf(res.Before) != weightOf(res.Override); {
	case d.Share == 0:
		return s.whyAlone(b, d)
	case reweighed && s.policyErr != "":
		return fmt.Sprintf("policy %s fails, and the shares before hold: %s", s.spec.Policy, s.policyErr)
	case reweighed && d.Policy == nil && d.Share < 1 && res.Outcome == core.Unchanged:
		return s.whyAlone(b, d)
	}
	return ""
}

// follows reports whether the share of a backend follows a command only once the
// policy has seen it: the command gives it another weight to serve with.
func (b *backend) follows(was *core.Override) bool {
	return weightOf(was) != weightOf(b.override) && b.weight() > 0 && !b.drained() && b.health == core.Up
}
