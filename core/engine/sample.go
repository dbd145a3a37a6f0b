// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A dropCounter counts samples that Offer could not place.
type dropCounter struct{ n atomic.Uint64 }

func (d *dropCounter) add() { d.n.Add(1) }

// responseAlpha smooths response times: an EWMA weight of 0.3 per sample.
const responseAlpha = 0.3

// takeSample files one sample. One of our own about something that is not
// configured is ignored: after a reload a few of those are under way.
func (e *Engine) takeSample(s core.Sample) {
	svc := e.services[s.Backend.Service]
	b := svc.find(s.Backend.Backend)
	if b == nil {
		e.takeUnknown(s)
		return
	}
	p := b.probe(s.Probe)
	if p == nil || s.Role != p.spec.Role || s.Node != e.cfg.Node {
		// Not of a probe of ours, whatever it calls itself: a monitor, or another
		// node on the same bus, may add metrics, never a verdict. What another
		// node can reach says nothing about what we can.
		if s.Role == core.MetricRole && s.OK && !e.tooOld(svc, s) {
			e.takeMetrics(b, s)
		}
		return
	}
	p.last = keepSample(s)
	if s.Code == core.Internal && b.health == core.Unknown {
		b.note = fmt.Sprintf("%s %s: %s", p.spec.Name, s.Code, s.Detail)
	}
	e.takeMetrics(b, s)
	// A probe that could not run here says nothing about the backend.
	if p.spec.Role == core.HealthRole && s.Code != core.Internal && p.health.Add(s.OK) {
		e.healthChanged(svc, b, p)
	}
}

// healthChanged follows a probe that tipped. If that tips the backend, its
// service is decided as soon as the samples at hand are taken. Step 3 of 7.
func (e *Engine) healthChanged(svc *service, b *backend, p *probe) {
	from, to := b.health, b.combined()
	if from == to {
		return
	}
	now := time.Now()
	b.health, b.since = to, now
	b.note = fmt.Sprintf("%s %s: %s", p.spec.Name, p.last.code, p.last.detail)
	if to == core.Up && from == core.Down {
		b.cameUp = now
		// What was learned before it went may not hold for what came back.
		b.opinion, b.opinionFrom = core.Hold, now
	}
	e.cfg.Publisher.Health(core.HealthChange{
		Backend: b.id, Node: e.cfg.Node, At: now.UTC(), From: from, To: to,
		Probe: p.spec.Name, Code: p.last.code, Detail: p.last.detail,
	})
	e.log.Info("health changed", "service", svc.spec.Name, "backend", b.spec.Name, "from", from, "to", to, "probe", p.spec.Name, "code", p.last.code, "detail", p.last.detail)
	e.tip(svc, fmt.Sprintf("%s went %s", b.spec.Name, to), p.last.at.Add(p.last.took))
}

// tip notes a transition for the next decision.
func (e *Engine) tip(s *service, text string, at time.Time) {
	if s.tips == 0 {
		e.tipped = append(e.tipped, s)
	}
	const most = 3 // named in one decision's trigger
	switch s.tips++; {
	case s.tips == 1:
		s.cause = cause{trigger: text, at: at}
	case s.tips <= most:
		s.cause.trigger += ", " + text
	case s.tips == most+1:
		s.cause.trigger += ", …"
	}
	if at.Before(s.cause.at) {
		s.cause.at = at
	}
}

// decideTipped decides the services whose health changed, without asking the
// policy; that is done next.
func (e *Engine) decideTipped() {
	for _, s := range e.tipped {
		c := s.cause
		s.cause, s.tips = cause{}, 0
		e.decide(s, c, s.pace())
		s.urgent = len(s.waiting) > 0
		s.nextAt = time.Now()
		if s.kernelErr != "" {
			e.committer.hurry()
		}
	}
	e.tipped = e.tipped[:0]
}
