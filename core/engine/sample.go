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
	if s.Backend.Service == "" {
		e.takeTarget(s)
		return
	}
	svc := e.services[s.Backend.Service]
	b := svc.find(s.Backend.Backend)
	if b == nil {
		e.takeUnknown(s)
		return
	}
	p := b.probe(s.Probe)
	if p == nil || s.Role != p.spec.Role || s.Code == "" || !e.counts(s.Node) {
		// Not of a probe of ours, whatever it calls itself: a monitor, which has no
		// code and may have this node's name, or a node on the same bus that we do not
		// work with, may add metrics, never a verdict and never a wish. What such a node
		// can reach says nothing about what we can.
		e.takeMonitored(svc, b, s)
		return
	}
	if len(e.tracers) == 0 {
		e.takeProbed(svc, b, p, s)
		return
	}
	was := traced{health: p.health(), tips: svc.tips}
	e.takeProbed(svc, b, p, s)
	e.traceProbed(svc, b, p, s, was)
}

// takeMonitored files the metrics of a sample that is of no probe of ours.
func (e *Engine) takeMonitored(svc *service, b *backend, s core.Sample) {
	if s.Role == core.MetricRole && s.OK && !e.tooOld(svc, b, s) {
		e.takeMetrics(b, s)
		e.traceMonitored(svc, b, s)
	}
}

// takeProbed files a sample of a probe of ours, whichever node took it.
func (e *Engine) takeProbed(svc *service, b *backend, p *probe, s core.Sample) {
	if s.Node != e.cfg.Node {
		now := time.Now()
		s, p.others = arrived(s, now), e.second(now)
	}
	deaf := e.deaf(p, s)
	if !deaf {
		p.last, p.from = keepSample(s), e.sourceOf(p.from, s)
	}
	if s.Code == core.Internal && b.health == core.Unknown {
		b.note = fmt.Sprintf("%s %s: %s", p.spec.Name, s.Code, s.Detail)
	}
	e.takeMetrics(b, s)
	if p.spec.Role == core.HealthRole {
		e.hear(p, s)
		e.judgeSelf(time.Now())
	}
	if !s.Code.Verdict() {
		return
	}
	if p.spec.Role == core.HealthRole && (!deaf || e.many()) {
		e.takeVerdict(svc, b, p, s)
	}
	e.takeWords(svc, b, p, s)
}

// A blame is what makes a backend go up or down.
type blame struct {
	probe  string
	code   core.Code
	by     string // the nodes that say so, of several that work together
	detail string
	at     time.Time
	undone bool           // what was said of it is taken back: it goes on as if nothing had been
	sample core.SampleRef // that tipped it; zero if none did
}

func (c blame) String() string {
	if c.by != "" {
		return fmt.Sprintf("%s %s at %s: %s", c.probe, c.code, c.by, c.detail)
	}
	return fmt.Sprintf("%s %s: %s", c.probe, c.code, c.detail)
}

// told is the detail as it is published, where the nodes have no place of their own.
func (c blame) told() string {
	if c.by != "" {
		return "at " + c.by + ": " + c.detail
	}
	return c.detail
}

// blame is what is known of the probe's state.
func (e *Engine) blame(p *probe) blame {
	c := blame{probe: p.spec.Name, code: p.last.code, detail: p.last.detail, at: p.last.at.Add(p.last.took)}
	if e.cfg.Cluster != nil && p.from != nil {
		c.by = p.from.node
	}
	if e.votes[p] != nil {
		e.blameVoices(&c, p)
	}
	return c
}

// takeVerdict follows a sample of a health probe. Step 3 of 7.
func (e *Engine) takeVerdict(svc *service, b *backend, p *probe, s core.Sample) {
	now := time.Now()
	speaks := !p.heard && p.spec.Type == core.ProbeAgent // from now on, and is asked: see combined
	p.heard = true
	was := p.state
	tipped, fell := e.follow(p, s, now)
	if fell {
		e.noteDown(svc, b, p, now)
	}
	e.count(p)
	if !tipped && !speaks {
		if p.state == core.Up && p.streak > 0 && b.rare != nil {
			b.rare.flap.Bad(now)
			e.due(b.rare.flap.Over())
		}
		return
	}
	e.probeTipped(svc, b, p, was, refOf(b, s))
}

// follow has a probe's state follow a verdict, and reports whether it tipped, and
// whether by this node's own samples alone a probe that was good went down.
func (e *Engine) follow(p *probe, s core.Sample, now time.Time) (tipped, fell bool) {
	if e.many() {
		return e.vote(p, s, now)
	}
	own, was := s.Node == e.cfg.Node, p.state
	tipped = p.add(s.OK, own && e.suspicion.Frozen())
	return tipped, tipped && own && was == core.Up
}

// probeTipped follows a probe that tipped from a state by a sample. If that tips the
// backend, its service is decided as soon as the samples at hand are taken.
func (e *Engine) probeTipped(svc *service, b *backend, p *probe, from core.HealthState, by core.SampleRef) {
	was, health := b.probed, b.health
	b.probed = b.combined(svc.spec.Health)
	e.takeFlap(svc, b, was)
	c := e.blame(p)
	c.sample = by
	e.rejudge(svc, b, c)
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
		b.note = e.whyDown(&svc.spec, b, c)
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
		Probe: c.probe, Code: c.code, Detail: c.told(),
	})
	e.log.Info("health changed", "service", svc.spec.Name, "backend", b.spec.Name, "from", from, "to", to, "probe", c.probe, "code", c.code, "detail", c.told())
	e.tipBy(svc, fmt.Sprintf("%s went %s", b.spec.Name, to), c.at, c.sample)
	return true
}

// whyDown is the note of a backend that is down, after c.
func (e *Engine) whyDown(spec *core.Service, b *backend, c blame) string {
	switch {
	case b.probed == core.Down:
		if p := b.probe(c.probe); p != nil && p.state == core.Down {
			return c.String()
		}
		for _, p := range b.probes { // c spoke for it; another speaks against it
			if p.spec.Role == core.HealthRole && p.state == core.Down {
				return e.blame(p).String()
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

// tipBy is tip for what a sample did.
func (e *Engine) tipBy(s *service, text string, at time.Time, by core.SampleRef) {
	e.tip(s, text, at)
	s.cause.blames(by)
}

// tip notes a transition for the next decision.
func (e *Engine) tip(s *service, text string, at time.Time) {
	if s.tips == 0 {
		e.tipped = append(e.tipped, s)
	}
	const most = 3 // named in one decision's trigger
	switch s.tips++; {
	case s.tips == 1:
		s.cause.trigger, s.cause.at = text, at
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
