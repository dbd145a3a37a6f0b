// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"slices"
	"time"
)

// leaderPatience is for how much longer than its interval the leader of a service may take
// until what it makes of a sample is here.
const leaderPatience = time.Second

// followsOn has a tracer wait for what the leader of its service decides next, and not for
// ever.
func (t *tracer) followsOn(s *service) {
	t.stage, t.idle = awaitsDecision, true
	select {
	case t.steady <- s.spec.Every + leaderPatience:
	default: // it is asked already
	}
}

// traceYields is for a service whose policy this node asks no more.
func (e *Engine) traceYields(s *service) {
	for _, t := range e.tracing(s.spec.Name, awaitsCall, awaitsAnswer) {
		t.followsOn(s)
	}
}

// traceSteady ends a trace that has nothing to wait for: its sample has made nothing due
// here, and the leader of the service has sent nothing since.
func (e *Engine) traceSteady(t *tracer) {
	s := e.services[t.id.Service]
	if !t.idle || t.stage != awaitsDecision || s == nil || !s.follows || !slices.Contains(e.tracers, t) {
		return
	}
	t.step(4, time.Now(), "%s", s.steadyText())
	share := 0.0
	if b := s.find(t.id.Backend); b != nil {
		share = b.share
	}
	e.conclude(t, fmt.Sprintf("nothing to commit, so it ends at step 4: the sample changed nothing here, and %s has %s of the new connections as before; what %s makes of it, `steelyard trace %s` there tells",
		t.id, percentText(share), s.leaderName(), t.id))
}

// steadyText says by whose vector the shares of a service are, and since when.
func (s *service) steadyText() string {
	if s.lead == nil || s.lead.heard.IsZero() {
		return fmt.Sprintf("%s is decided by another node, of which nothing was heard yet; the shares before hold", s.spec.Name)
	}
	v := s.lead.vector
	return fmt.Sprintf("%s is decided by %s: vector %d of epoch %d, its decision %d, is in force since %s, and no other came after the sample",
		s.spec.Name, v.Node, v.Seq, v.Epoch, v.Decision, s.lead.heard.UTC().Format("2006-01-02 15:04:05 UTC"))
}
