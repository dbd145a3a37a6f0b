// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A downProbe is a probe that went down a moment ago.
type downProbe struct {
	id core.BackendID
	p  *probe
	at time.Time
}

// count brings the numbers of the suspicion up to what this node itself found last of a
// probe, and to its state. An agent that is silent counts for nothing, and so does what
// other nodes find: it is this node that is judged.
func (e *Engine) count(p *probe) {
	own := e.own(p)
	good := own.said && (own.state == core.Up || p.recent > 0)
	failing := good && (own.state == core.Down || !own.ok)
	e.suspicion.Good += change(p.good, good)
	e.suspicion.Failing += change(p.failing, failing)
	p.good, p.failing = good, failing
}

func change(was, is bool) int {
	switch {
	case is && !was:
		return 1
	case was && !is:
		return -1
	}
	return 0
}

// recount counts the probes of a new configuration.
func (e *Engine) recount() {
	e.suspicion.Good, e.suspicion.Failing = 0, 0
	e.keepVoices()
	targets := map[string]int{}
	e.watched = 0
	for _, s := range e.order {
		for _, b := range s.backends {
			for _, p := range b.probes {
				p.good, p.failing, p.recent = false, false, 0
				targets[p.spec.Name]++
				e.watched++
			}
		}
	}
	e.horizon = core.Horizon(e.setup.Probes, targets, e.setup.Probing.SuspectRatio)
	stay := e.wentDown[:0]
	for _, d := range e.wentDown {
		if b := e.services[d.id.Service].find(d.id.Backend); b != nil && b.probe(d.p.spec.Name) == d.p {
			d.p.recent++
			stay = append(stay, d)
		}
	}
	e.wentDown = stay
	for _, s := range e.order {
		for _, b := range s.backends {
			for _, p := range b.probes {
				if p.spec.Role == core.HealthRole {
					e.count(p)
				}
			}
		}
	}
	if e.horizon == 0 { // no health probes are left
		e.suspicion.Dismiss()
	}
	e.judgeSelf(time.Now())
}

// noteDown remembers a probe that went down, in case many others do.
func (e *Engine) noteDown(s *service, b *backend, p *probe, now time.Time) {
	if e.setup.Probing.SuspectRatio <= 0 {
		return
	}
	if len(e.wentDown) >= max(leastWentDown, 2*e.watched) {
		e.forgetDown(1)
	}
	p.recent++
	e.wentDown = append(e.wentDown, downProbe{b.id, p, now})
}

// leastWentDown and twice the probes are how many deaths are remembered at most: a few
// probes of a short interval may flap thousands of times within the horizon of others.
const leastWentDown = 1024

// forgetDown forgets the n probes that went down longest ago.
func (e *Engine) forgetDown(n int) {
	for _, d := range e.wentDown[:n] {
		d.p.recent--
		e.count(d.p)
	}
	if e.wentDown = e.wentDown[n:]; len(e.wentDown) == 0 {
		e.wentDown = nil // it may have been long
	}
}

// endSuspicion forgets the probes that went down longer ago than is of interest, and
// ends a suspicion that has lasted as long as it may.
func (e *Engine) endSuspicion(now time.Time) {
	n := 0
	for n < len(e.wentDown) && now.Sub(e.wentDown[n].at) > e.horizon {
		n++
	}
	if n > 0 {
		e.forgetDown(n)
		e.judgeSelf(now)
	}
	if due := e.suspicion.Due(e.setup.Probing); !due.IsZero() && !now.Before(due) {
		e.judgeSelf(now)
	}
	e.decideTipped()
}

// judgeSelf asks whether it is us, and follows the answer.
func (e *Engine) judgeSelf(now time.Time) {
	since := e.suspicion.Since()
	if since.IsZero() && now.Before(e.judgeAfter) {
		return
	}
	turn := e.suspicion.Judge(e.setup.Probing, now)
	if turn == core.NoTurn {
		e.tellSuspects()
		return
	}
	defer e.tellSuspects()
	failing, good := e.suspicion.Failing, e.suspicion.Good
	lasted := now.Sub(since).Round(100 * time.Millisecond)
	switch turn {
	case core.SuspicionBegan:
		if e.fewMachines() {
			e.suspicion.Dismiss()
			e.judgeAfter = now.Add(judgeEvery)
			return
		}
		code, detail := e.commonFailure()
		e.suspectCode, e.suspectDetail = code, detail
		e.log.Error("we suspect this node; no backend goes down", "failing", failing, "good", good, "code", code, "detail", detail)
		e.event(core.Error, "probe", "", "", core.SuspectText(failing, good, code, detail))
		e.takeBack(now)
	case core.SuspicionEnded:
		e.log.Info("the probes answer again; backends may go down again", "failing", failing, "good", good, "lasted", lasted)
		e.event(core.Info, "probe", "", "", fmt.Sprintf("the suspicion of this node is over after %s: %d of %d health probes fail; what they say counts again", lasted, failing, good))
	case core.SuspicionSpent:
		if e.disowned = e.contradicted(); e.disowned {
			e.log.Error("we suspect this node still: others find well what it finds dead", "failing", failing, "good", good, "lasted", lasted)
			e.event(core.Error, "probe", "", "", fmt.Sprintf("this node was suspected for %s (probing: suspect_for), and %d of %d health probes fail still; other nodes find most of these well, and what this one says counts for nothing", lasted, failing, good))
			return
		}
		e.log.Error("we suspected this node for as long as we may; what the probes say counts again", "failing", failing, "good", good, "lasted", lasted)
		e.event(core.Error, "probe", "", "", fmt.Sprintf("this node was suspected for %s (probing: suspect_for), and %d of %d health probes fail still: what they say counts again", lasted, failing, good))
	}
}

// judgeEvery is how often it is looked whether what fails is a few machines, while that
// is so.
const judgeEvery = time.Second

// fewMachines reports whether the failing probes are of one address, or of no more of
// all addresses than it takes of the probes: a machine that is behind many services
// has as many probes, and is one machine.
func (e *Engine) fewMachines() bool {
	failing := map[netip.Addr]bool{} // of those with good probes, whether one fails
	n := 0
	for _, s := range e.order {
		for _, b := range s.backends {
			addr := b.spec.Addr.Addr()
			for _, p := range b.probes {
				if !p.good {
					continue
				}
				if was := failing[addr]; p.failing && !was {
					n++
				}
				failing[addr] = failing[addr] || p.failing
			}
		}
	}
	return n < 2 || float64(n) <= e.setup.Probing.SuspectRatio*float64(len(failing))
}

// commonFailure is the code that most of the failing probes have, and a detail with
// it.
func (e *Engine) commonFailure() (most core.Code, detail string) {
	type found struct {
		n      int
		detail string
	}
	codes := map[core.Code]found{}
	for _, s := range e.order {
		for _, b := range s.backends {
			for _, p := range b.probes {
				if !p.failing {
					continue
				}
				own := e.own(p)
				f := codes[own.code]
				if f.n++; f.n == 1 {
					f.detail = own.detail
				}
				codes[own.code] = f
				if b := codes[most]; f.n > b.n || f.n == b.n && own.code < most {
					most = own.code
				}
			}
		}
	}
	return most, codes[most].detail
}

// takeBack undoes what went down within the horizon: it is of the same cause.
func (e *Engine) takeBack(now time.Time) {
	down := e.wentDown
	e.wentDown = nil
	for _, d := range down {
		d.p.recent--
		s := e.services[d.id.Service]
		b := s.find(d.id.Backend)
		if b == nil || b.probe(d.p.spec.Name) != d.p || !e.reopen(d.p, now) {
			e.count(d.p)
			continue
		}
		e.count(d.p)
		was := b.probed
		b.probed = b.combined(s.spec.Health)
		if was == core.Down && b.probed == core.Up && b.rare != nil {
			b.rare.flap.TakeBack()
			e.due(b.rare.flap.Over())
		}
		c := e.blame(d.p)
		c.detail, c.at, c.undone = "taken back, since we suspect this node: "+c.detail, now, true
		e.rejudge(s, b, c)
	}
}

// suspected is why no health goes down, and since when; empty while nothing is wrong.
func (e *Engine) suspected() (string, time.Time) {
	if !e.suspicion.Frozen() {
		return "", time.Time{}
	}
	text := core.SuspectText(e.suspicion.Failing, e.suspicion.Good, e.suspectCode, e.suspectDetail)
	return text, e.suspicion.Since().UTC()
}
