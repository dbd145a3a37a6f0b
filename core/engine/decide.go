// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A cause is what made a decision due, and when that happened.
type cause struct {
	trigger string
	at      time.Time
	samples []core.SampleRef // that did it, where samples did; at most core.MaxCauses
}

// decide runs steps 5 and 6 for one service and, if its slots change, leaves
// it waiting for a commit.
func (e *Engine) decide(s *service, c cause, pace core.Pace) {
	now := time.Now()
	e.seq++
	d := core.Decision{
		Seq: e.seq, Service: s.spec.Name, Node: e.cfg.Node, At: now.UTC(), Trigger: c.trigger,
		Policy: s.spec.Policy, PolicyVersion: s.version, PolicyError: s.policyErr, PolicySeconds: s.policyTook.Seconds(),
		SnapshotSeq: s.snapshotSeq, Causes: c.samples,
	}
	s.findHops(e.cfg.Neighbours)
	s.gathers(now)
	e.shaping = s.shapeInput(e.shaping[:0], now)
	in := e.shaping
	shaped, slots := s.shape(&d, in, pace)
	s.slots = slots
	on := s.backendDecisions(now, shaped, slots, e.spare)
	e.spare, d.Backends = paper{}, on.backends
	for i, b := range s.backends {
		b.heldShare = core.HeldFrom(b.heldShare, shaped[i].Share, in[i].HeldFor, s.spec.Shaping)
	}
	if s.shadow != nil && !s.follows {
		s.shadow.compare(s, &d, in, now)
	}
	s.moving = core.CutShort(shaped)
	for i, b := range s.backends {
		b.share = shaped[i].Share
	}
	e.planned = s.planBackends(e.planned[:0])
	plan := e.planned
	changed := s.sent == nil || !slices.Equal(plan, s.sentPlan)
	if s.hopMoved(plan) {
		e.resync()
	}
	d.TotalSeconds = now.Sub(c.at).Seconds()
	switch {
	case s.kernelErr != "":
		d.Outcome, d.Error = core.Failed, s.kernelErr
		e.recordNowAndThen(s, d, on, now)
	case changed:
		d.Outcome = core.Pending
		e.keep(s, d, on)
		s.unseen = false // it waits, too
		e.crowdOut(s, now)
		s.waiting = append(s.waiting, pending{d, c.at})
	default:
		d.Outcome, d.Commit = core.Unchanged, s.commit
		e.tellEmptied(s)
		e.recordNowAndThen(s, d, on, now)
	}
	e.tellOthers(s)
	e.traceDecision(s, &d)
}

// shape makes the shares and slots of a service: from the opinions of its policy, or from
// what its leader has decided.
func (s *service) shape(d *core.Decision, in []core.ShapeBackend, pace core.Pace) ([]core.Shaped, []uint32) {
	if s.follows {
		return s.follow(d, in)
	}
	shaped := core.Shape(s.spec.Shaping, s.spec.MinUp, in, pace)
	shares := make([]float64, len(shaped))
	for i := range shaped {
		shares[i] = shaped[i].Share
	}
	return shaped, core.Quantize(shares)
}

// maxWaiting bounds the decisions of a service that no commit has been started
// for, as while the kernel does not answer.
const maxWaiting = 64

// crowdOut makes room for one more waiting decision.
func (e *Engine) crowdOut(s *service, now time.Time) {
	if len(s.waiting)-s.flying < maxWaiting {
		return
	}
	d := s.waiting[s.flying].d
	d.Outcome = core.Superseded
	s.waiting = slices.Delete(s.waiting, s.flying, s.flying+1)
	e.record(s, d, now)
}

// setFree lets the opinions of snapshots after seq move the shares freely.
func (s *service) setFree(seq uint64) {
	s.free, s.freeFrom = true, seq
	if s.shadow != nil {
		s.shadow.free, s.shadow.freeFrom = true, seq
	}
}

// pace is how the next opinions of the policy may move the shares.
func (s *service) pace() core.Pace {
	return core.NextPace(s.free, s.moving)
}

// shapeInput appends what shaping needs to know of each backend.
func (s *service) shapeInput(to []core.ShapeBackend, now time.Time) []core.ShapeBackend {
	for _, b := range s.backends {
		in := core.ShapeBackend{
			Weight: b.weight(), Health: b.health, Opinion: b.opinion,
			HeldFor: now.Sub(b.opinionFrom), Held: b.heldShare, Prev: b.share, UpFor: -1,
			Priority: b.spec.Priority, Sorry: b.spec.Sorry, Drained: b.drained(),
			Full: b.full, Open: uint64(b.open.value), MaxConnections: b.maxConnections(),
		}
		if in.Drained {
			in.DrainedNote = b.drainedNote()
		}
		if s.lost(b) != "" {
			in.Weight = 0 // no packet can be sent there
		}
		if !b.cameUp.IsZero() {
			in.UpFor = now.Sub(b.cameUp)
		}
		to = append(to, in)
	}
	return to
}

// recordNowAndThen is record for a decision that changed nothing, or that the
// kernel refuses for good: it is published now and then only.
func (e *Engine) recordNowAndThen(s *service, d core.Decision, on paper, now time.Time) {
	e.keep(s, d, on)
	if now.Sub(s.publishedAt) >= refreshEvery {
		e.record(s, d, now)
	}
}

// record files a decision that has its outcome, and publishes it.
func (e *Engine) record(s *service, d core.Decision, now time.Time) {
	if s.decision.Seq <= d.Seq {
		s.decision, s.unseen = d, false
	}
	s.publishedAt = now
	if d.Outcome != core.Unchanged {
		e.ring.add(d)
	}
	e.cfg.Publisher.Decision(d)
	e.traceOutcome(&d, now)
}

// finish gives the decisions that a commit covered their outcome.
func (e *Engine) finish(s *service, covered int, c core.Commit, err error) {
	now := time.Now()
	if err == nil {
		s.commit = &c
		e.makeUp(s, covered, now)
	}
	for i, p := range s.waiting[:covered] {
		d := p.d
		switch {
		case err != nil:
			d.Outcome, d.Error = core.Failed, err.Error()
		case i < covered-1:
			d.Outcome = core.Superseded
		default:
			d.Outcome = core.Applied
		}
		if err == nil {
			d.Commit = &c
			d.CommitSeconds = c.Took.Seconds()
			d.TotalSeconds = c.At.Sub(p.since).Seconds()
		}
		e.record(s, d, now)
		if i == covered-1 {
			s.answer(d)
		}
	}
	s.waiting, s.flying = slices.Clone(s.waiting[covered:]), 0
	if err == nil {
		s.inForce = s.sent // of this commit: there is one in flight at a time
		e.tellEmptied(s)
		e.tellFlows(s)
	}
}

// makeUp records that a full sync has brought in what a commit before could not.
func (e *Engine) makeUp(s *service, covered int, now time.Time) {
	d := s.seen()
	if covered > 0 || d.Outcome != core.Failed {
		return
	}
	for i, b := range d.Backends {
		if b.Slots != s.sent[i] {
			return // decided while the sync was under way
		}
	}
	d.Outcome, d.Error, d.Commit = core.Applied, "", s.commit
	d.CommitSeconds = s.commit.Took.Seconds()
	e.record(s, d, now)
}
