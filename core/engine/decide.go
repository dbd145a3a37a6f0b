// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A cause is what made a decision due, and when that happened.
type cause struct {
	trigger string
	at      time.Time
}

// decide runs steps 5 and 6 for one service and, if its slots change, leaves
// it waiting for a commit.
func (e *Engine) decide(s *service, c cause, pace core.Pace) {
	now := time.Now()
	e.seq++
	d := core.Decision{
		Seq: e.seq, Service: s.spec.Name, Node: e.cfg.Node, At: now.UTC(), Trigger: c.trigger,
		Policy: s.spec.Policy, PolicyVersion: s.version, PolicyError: s.policyErr, PolicySeconds: s.policyTook.Seconds(),
	}
	shaped := core.Shape(s.spec.Shaping, s.shapeInput(now), pace)
	shares := make([]float64, len(shaped))
	for i := range shaped {
		shares[i] = shaped[i].Share
	}
	slots := core.Quantize(shares)
	d.Backends = s.backendDecisions(now, shaped, slots)
	s.moving = false
	for i, b := range s.backends {
		b.share = shares[i]
		s.moving = s.moving || slices.ContainsFunc(shaped[i].Steps, func(st core.Step) bool { return st.Name == "step" })
	}
	changed := !slices.Equal(slots, s.sent)
	s.slots = slots
	d.TotalSeconds = now.Sub(c.at).Seconds()
	switch {
	case s.kernelErr != "":
		d.Outcome, d.Error = core.Failed, s.kernelErr
		e.recordNowAndThen(s, d, now)
	case changed:
		d.Outcome = core.Pending
		s.decision = d
		s.waiting = append(s.waiting, pending{d, c.at})
	default:
		d.Outcome, d.Commit = core.Unchanged, s.commit
		e.recordNowAndThen(s, d, now)
	}
}

// pace is how the next opinions of the policy may move the shares.
func (s *service) pace() core.Pace {
	switch {
	case s.free:
		return core.Free
	case s.moving:
		return core.Moving
	}
	return core.Steady
}

func (s *service) shapeInput(now time.Time) []core.ShapeBackend {
	in := make([]core.ShapeBackend, len(s.backends))
	for i, b := range s.backends {
		in[i] = core.ShapeBackend{
			Weight: b.spec.Weight, Health: b.health, Opinion: b.opinion,
			HeldFor: now.Sub(b.opinionFrom), Prev: b.share, UpFor: -1,
		}
		if !b.cameUp.IsZero() {
			in[i].UpFor = now.Sub(b.cameUp)
		}
	}
	return in
}

func (s *service) backendDecisions(now time.Time, shaped []core.Shaped, slots []uint32) []core.BackendDecision {
	var sum float64
	for _, b := range s.backends {
		if b.opinion != core.Hold {
			sum += b.opinion
		}
	}
	out := make([]core.BackendDecision, len(s.backends))
	for i, b := range s.backends {
		d := core.BackendDecision{
			Backend: b.spec.Name, Health: b.health, Configured: b.spec.Weight,
			Inputs: b.inputs(now, s.spec.Shaping.StaleAfter),
			Steps:  s.explainHold(b, shaped[i].Steps, now), Share: shaped[i].Share, Slots: slots[i],
		}
		if b.opinion != core.Hold && sum > 0 {
			p := b.opinion / sum
			d.Policy = &p
		}
		if b.health != core.Up && shaped[i].Share == 0 {
			d.Steps = append(d.Steps, core.Step{Name: "health", Before: b.share, Note: b.note})
		}
		d.Why = core.Why(s.spec.Policy, d)
		out[i] = d
	}
	return out
}

// measures are the metrics that a probe of a type is there for.
var measures = map[string]string{core.ProbeSNMPCPU: core.MetricCPU, core.ProbeResponseTime: core.MetricResponse}

// explainHold names the probe behind a missing opinion, where the policy is well
// and a metric probe of the backend fails: "no cpu: SNMPTOUT, share held".
func (s *service) explainHold(b *backend, steps []core.Step, now time.Time) []core.Step {
	if s.policyErr != "" {
		return steps
	}
	for i := range steps {
		if steps[i].Name != "freshness" {
			continue
		}
		if what := b.missing(now, s.spec.Shaping.StaleAfter); what != "" {
			_, outcome, _ := strings.Cut(steps[i].Note, ": ")
			steps[i].Note = what + ", " + outcome
		}
	}
	return steps
}

// missing is the metric that is not known because its probe fails, with the
// code; empty if there is none.
func (b *backend) missing(now time.Time, stale time.Duration) string {
	for _, name := range slices.Sorted(maps.Keys(b.probes)) {
		p := b.probes[name]
		metric := measures[p.spec.Type]
		if p.spec.Role != core.MetricRole || p.last.TakenAt.IsZero() || p.last.OK || metric == "" {
			continue
		}
		r := b.cpu
		if metric == core.MetricResponse {
			r = b.response
		}
		if !r.seen(now, stale).Known {
			return fmt.Sprintf("no %s: %s", metric, p.last.Code)
		}
	}
	return ""
}

func (b *backend) inputs(now time.Time, stale time.Duration) []core.Input {
	all := []struct {
		metric, unit string
		r            reading
	}{
		{core.MetricCPU, "ratio", b.cpu},
		{core.MetricCores, "count", b.cores},
		{core.MetricResponse, "seconds", b.response},
		{core.MetricConnections, "count", b.open},
		{core.MetricNew, "per_second", b.fresh},
		{core.MetricDone, "per_second", b.done},
	}
	out := make([]core.Input, 0, len(all))
	for _, a := range all {
		if a.r.at.IsZero() {
			continue // nobody asks for it
		}
		r := a.r.seen(now, stale)
		out = append(out, core.Input{
			Metric: a.metric, Unit: a.unit, Value: r.Value, Known: r.Known,
			AgeSeconds: r.Age.Seconds(), WindowSeconds: r.Window.Seconds(),
		})
	}
	return out
}

// recordNowAndThen is record for a decision that changed nothing, or that the
// kernel refuses for good: it is published now and then only.
func (e *Engine) recordNowAndThen(s *service, d core.Decision, now time.Time) {
	if now.Sub(s.publishedAt) < refreshEvery {
		s.decision = d
		return
	}
	e.record(s, d, now)
}

// record files a decision that has its outcome, and publishes it.
func (e *Engine) record(s *service, d core.Decision, now time.Time) {
	if s.decision.Seq <= d.Seq {
		s.decision = d
	}
	s.publishedAt = now
	if d.Outcome != core.Unchanged {
		e.ring.add(d)
	}
	e.cfg.Publisher.Decision(d)
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
	}
	s.waiting = slices.Clone(s.waiting[covered:])
	if err == nil {
		s.inForce = s.sent // of this commit: there is one in flight at a time
		e.tellIdle(s)
	}
}

// makeUp records that a full sync has brought in what a commit before could not.
func (e *Engine) makeUp(s *service, covered int, now time.Time) {
	d := s.decision
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

// tellIdle passes on which backends a commit has given no slots.
func (e *Engine) tellIdle(s *service) {
	for i, b := range s.backends {
		if idle := s.sent[i] == 0; e.cfg.Flows != nil && (!b.told || idle != b.idle) {
			b.idle, b.told = idle, true
			e.cfg.Flows.SetIdle(b.id, idle)
		}
	}
}
