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
	if p == nil || s.Role != p.spec.Role || s.Node != e.cfg.Node || s.Code == "" {
		// Not of a probe of ours, whatever it calls itself: a monitor, which has no
		// code and may have this node's name, or another node on the same bus, may add
		// metrics, never a verdict and never a wish. What another node can reach says
		// nothing about what we can.
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
	if p.spec.Role == core.HealthRole {
		e.takeVerdict(svc, b, p)
	}
	if s.Code.Verdict() {
		e.takeWords(svc, b, p, s)
	}
}

// A blame is what makes a backend go up or down.
type blame struct {
	probe  string
	code   core.Code
	detail string
	at     time.Time
	undone bool // what was said of it is taken back: it goes on as if nothing had been
}

func (c blame) String() string { return fmt.Sprintf("%s %s: %s", c.probe, c.code, c.detail) }

// blame is the probe's latest sample.
func (p *probe) blame() blame {
	return blame{probe: p.spec.Name, code: p.last.code, detail: p.last.detail, at: p.last.at.Add(p.last.took)}
}

// takeVerdict follows the latest sample of a health probe. Step 3 of 7.
func (e *Engine) takeVerdict(svc *service, b *backend, p *probe) {
	now := time.Now()
	e.count(p)
	e.judgeSelf(now)
	if !p.last.code.Verdict() {
		return
	}
	speaks := !p.heard && p.spec.Type == core.ProbeAgent // from now on, and is asked: see combined
	p.heard = true
	was := p.state
	if !p.add(p.last.ok, e.suspicion.Frozen()) && !speaks {
		if p.state == core.Up && p.streak > 0 && b.rare != nil {
			b.rare.flap.Bad(now)
			e.due(b.rare.flap.Over())
		}
		return
	}
	if p.state == core.Down && was == core.Up {
		e.noteDown(svc, b, p, now)
	}
	e.count(p)
	e.probeTipped(svc, b, p, was)
}

// probeTipped follows a probe that tipped from a state. If that tips the backend, its
// service is decided as soon as the samples at hand are taken.
func (e *Engine) probeTipped(svc *service, b *backend, p *probe, from core.HealthState) {
	was, health := b.probed, b.health
	b.probed = b.combined(svc.spec.Health)
	e.takeFlap(svc, b, was)
	e.rejudge(svc, b, p.blame())
	if b.probed == core.Up && b.health == core.Down {
		e.lastResort(svc)
	}
	if b.health == health {
		e.tellProbe(svc, b, p, from)
	}
}

// tellProbe tells of a probe that went up or down and did not take the backend with
// it, now and then. That a probe is well at its first sample is no news.
func (e *Engine) tellProbe(svc *service, b *backend, p *probe, from core.HealthState) {
	if p.state == from || from == core.Unknown && p.state == core.Up {
		return
	}
	untold, due := e.probeTold.Due(b.id.String()+" "+p.spec.Name, p.state.String(), time.Now())
	if !due {
		return
	}
	text := fmt.Sprintf("probe %s went %s: %s: %s; %s stays %s", p.spec.Name, p.state, p.last.code, p.last.detail, b.spec.Name, b.health)
	if untold > 0 {
		text += fmt.Sprintf(" (and %d more since the last that was told)", untold)
	}
	e.event(core.Info, "probe", svc.spec.Name, b.spec.Name, text)
}

// rejudge makes the health of a backend what it is now, and reports whether it is
// another.
func (e *Engine) rejudge(svc *service, b *backend, c blame) bool {
	from, to := b.health, b.gated(&svc.spec)
	switch {
	case to == core.Down:
		b.note = b.whyDown(&svc.spec, c)
	case to != from:
		b.note = c.String()
	}
	if from == to {
		e.respare(svc, b)
		return false
	}
	now := time.Now()
	b.health, b.since = to, now
	if to == core.Up && from == core.Down && !c.undone {
		b.returns(now)
	}
	e.cfg.Publisher.Health(core.HealthChange{
		Backend: b.id, Node: e.cfg.Node, At: now.UTC(), From: from, To: to,
		Probe: c.probe, Code: c.code, Detail: c.detail,
	})
	e.log.Info("health changed", "service", svc.spec.Name, "backend", b.spec.Name, "from", from, "to", to, "probe", c.probe, "code", c.code, "detail", c.detail)
	e.tip(svc, fmt.Sprintf("%s went %s", b.spec.Name, to), c.at)
	return true
}

// whyDown is the note of a backend that is down, after c.
func (b *backend) whyDown(spec *core.Service, c blame) string {
	switch {
	case b.probed == core.Down:
		if p := b.probe(c.probe); p != nil && p.state == core.Down {
			return c.String()
		}
		for _, p := range b.probes { // c spoke for it; another speaks against it
			if p.spec.Role == core.HealthRole && p.state == core.Down {
				return p.blame().String()
			}
		}
		return b.note
	case b.held(spec):
		return b.rare.flap.Note(spec.Health)
	}
	return b.rare.out.Note(spec.Passive)
}

// returns has a backend begin like one that came up: what was learned before it went
// may not hold for what came back.
func (b *backend) returns(now time.Time) {
	b.cameUp, b.opinion, b.opinionFrom = now, core.Hold, now
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
		e.lastResort(s)
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
