// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// takePassive follows what becomes of the connections of clients to a backend, and
// ejects it if its service's rule says so.
func (e *Engine) takePassive(s *service, b *backend, m meterReading) {
	rule := s.spec.Passive
	if !m.live || !rule.Active() && b.custom == nil {
		return
	}
	c, counted := m.flows[b.id]
	if !counted {
		return
	}
	b.takeWrong(m.at, c)
	if !rule.Active() || b.rare == nil && c.UnansweredRow == 0 && c.RefusedRow == 0 {
		return
	}
	x := &b.rares().out
	if b.health != core.Up || b.spec.Sorry || e.suspicion.Frozen() {
		x.Forget(c.UnansweredRow, c.RefusedRow)
		return
	}
	code, row, bad := x.Look(rule, c.UnansweredRow, c.RefusedRow)
	if !bad {
		return
	}
	if why := s.noRoom(b); why != "" {
		if _, due := e.probeTold.Due(b.id.String(), "passive", m.at); due {
			e.event(core.Warn, "probe", s.spec.Name, b.spec.Name, fmt.Sprintf("%s: %d connections in a row; not ejected: %s", code, row, why))
		}
		return
	}
	x.Eject(rule, code, row, time.Now())
	e.due(x.Until())
	e.rejudge(s, b, blame{probe: "passive", code: code, detail: x.Note(rule), at: m.at})
}

// noRoom says why a backend may not be ejected; empty if it may.
func (s *service) noRoom(b *backend) string {
	out, all := 0, 0
	for _, o := range s.backends {
		if o.spec.Sorry {
			continue
		}
		all++
		if o.ejected() {
			out++
		}
	}
	switch room := s.spec.Passive.Room(all); {
	case s.serving(b) == 0:
		return "no other backend serves"
	case out >= room:
		return fmt.Sprintf("%d of %d backends are ejected already, as many as max_ratio allows", out, all)
	}
	return ""
}

// endEjection sends clients to a backend again whose time out is over.
func (e *Engine) endEjection(s *service, b *backend, now time.Time) {
	x := &b.rare.out
	switch {
	case !x.Out():
		return
	case s.spec.Passive.Active() && now.Before(x.Until()):
		e.due(x.Until())
		return
	}
	c := blame{probe: "passive", code: core.PassiveOver, detail: core.PassiveOver.Explain(), at: now}
	if !s.spec.Passive.Active() {
		c.detail = "passive health is switched off: clients are sent there again"
	}
	x.End(now)
	e.rejudge(s, b, c)
}

// respare passes on that the probes of a backend that is down have changed their
// mind: what only passive health has taken out keeps its connections, and what is dead
// does not.
func (e *Engine) respare(s *service, b *backend) {
	if b.ejected() && b.told {
		e.tellDown(s, b)
	}
}

// wrongsLen points half a second apart reach back for rateWindow.
const wrongsLen = int(rateWindow/meterEvery) + 1

// wrongs are how many connections of a backend went wrong, for their ratio.
type wrongs struct {
	points [wrongsLen]struct {
		at                          time.Time
		opened, unanswered, refused uint64
	}
	n int // ever added
}

// takeWrong files the ratios of connections that went wrong, where a policy reads
// them. While there are no new connections, those before become old.
func (b *backend) takeWrong(at time.Time, c core.FlowCount) {
	unanswered, refused := b.custom.find(core.MetricUnanswered), b.custom.find(core.MetricResets)
	if unanswered == nil && refused == nil {
		return
	}
	r := b.rares()
	if r.wrong == nil {
		r.wrong = &wrongs{}
	}
	opened, lost, reset, window := r.wrong.add(at, c)
	if opened == 0 {
		return
	}
	for _, m := range []struct {
		to *custom
		n  uint64
	}{{unanswered, lost}, {refused, reset}} {
		if m.to != nil {
			m.to.sampled = sampled{reading: reading{value: min(1, float64(m.n)/float64(opened)), at: at, window: window}}
			m.to.unit = "ratio"
		}
	}
}

// add takes a look and returns what came since the oldest at hand. Counts that fall
// have begun anew.
func (w *wrongs) add(at time.Time, c core.FlowCount) (opened, unanswered, refused uint64, window time.Duration) {
	if w.n > 0 {
		last := w.points[(w.n-1)%wrongsLen]
		if c.Opened < last.opened || c.Unanswered < last.unanswered || c.Refused < last.refused || !at.After(last.at) {
			*w = wrongs{}
		}
	}
	p := &w.points[w.n%wrongsLen]
	p.at, p.opened, p.unanswered, p.refused = at, c.Opened, c.Unanswered, c.Refused
	w.n++
	first := w.points[max(0, w.n-wrongsLen)%wrongsLen]
	return c.Opened - first.opened, c.Unanswered - first.unanswered, c.Refused - first.refused, at.Sub(first.at)
}
