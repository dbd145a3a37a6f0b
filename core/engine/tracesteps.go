// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// These are called where a sample, a policy's answer, a decision or a commit is filed.
// While nobody traces, each ends at once.

// traced is what there was before a sample that may be followed.
type traced struct {
	health core.Health // of its probe
	tips   int         // of its service
}

// traceProbed follows a sample of a probe of ours that was taken just now.
func (e *Engine) traceProbed(svc *service, b *backend, p *probe, s core.Sample, was traced) {
	for _, t := range e.awaiting(b, s) {
		e.traceBegins(t, b, s)
		if p.spec.Role == core.HealthRole {
			t.step(3, time.Now(), "%s", e.traceHealth(b, p, s, was.health))
		} else {
			t.step(3, time.Now(), "a metric probe: no matter of health; %s stays %s", b.spec.Name, b.health)
		}
		e.traceOn(t, svc, svc.tips > was.tips)
	}
}

// traceMonitored is traceProbed for what a monitor sent.
func (e *Engine) traceMonitored(svc *service, b *backend, s core.Sample) {
	if len(e.tracers) == 0 {
		return
	}
	for _, t := range e.awaiting(b, s) {
		e.traceBegins(t, b, s)
		t.step(3, time.Now(), "of a monitor: no matter of health; %s stays %s", b.spec.Name, b.health)
		e.traceOn(t, svc, false)
	}
}

// traceBegins files steps 1 and 2 of a sample.
func (e *Engine) traceBegins(t *tracer, b *backend, s core.Sample) {
	now := time.Now()
	t.took, t.by = now, origin{e.sourceOf(nil, s), s.Seq}
	t.metric = b.readsOf(t.by)
	t.trace.Backend, t.trace.Sample = b.id, refOf(b, s)
	t.end = s.TakenAt.Add(s.Took)
	late := now.Sub(t.end)
	if s.Node != e.cfg.Node || late < 0 {
		t.end = now // by the only clock that is ours
	}
	id := fmt.Sprintf("%s/%s/%d", s.Node, s.Probe, s.Seq)
	if s.Code == "" {
		t.step(1, t.end, "%s, sample %s", metricsText(s), id)
	} else {
		t.step(1, t.end, "%s %s in %s on %s, sample %s", s.Type, s.Code, millis(s.Took), s.Node, id)
	}
	if s.Node == e.cfg.Node {
		t.step(2, now, "taken by the engine %s after the probe", millis(max(0, late)))
	} else {
		t.step(2, now, "came over the bus from %s, %s after it was made by the clock there", s.Node, millis(late))
	}
}

// traceOn decides what a sample that was taken is followed to: the decision that it has
// made due, what the leader of the service decides, or the policy's next snapshot.
func (e *Engine) traceOn(t *tracer, svc *service, tipped bool) {
	t.before = slices.Clone(svc.slots)
	switch {
	case svc.follows && tipped: // step 4 names the leader
		t.stage = awaitsDecision
	case svc.follows:
		t.followsOn(svc)
	case tipped:
		t.stage = awaitsDecision
		t.step(4, time.Now(), "policy %s is not asked: a change of health is decided with its last opinions", svc.spec.Policy)
	default:
		t.stage = awaitsCall
	}
}

// traceCall notes that the policy of a service is asked with a snapshot.
func (e *Engine) traceCall(svc *service, snapshot uint64) {
	if len(e.tracers) == 0 {
		return
	}
	for _, t := range e.tracing(svc.spec.Name, awaitsCall, awaitsAnswer) {
		b := svc.find(t.id.Backend)
		if b == nil || t.metric && b.waitsFor(t.by) {
			continue // its window is not counted to the end: see matchCPU
		}
		t.newer = t.metric && !b.readsOf(t.by)
		t.stage, t.snapshot = awaitsAnswer, snapshot
	}
}

// traceAnswer files step 4: what the policy said of a snapshot.
func (e *Engine) traceAnswer(svc *service, snapshot uint64, r core.Result) {
	if len(e.tracers) == 0 {
		return
	}
	now := time.Now()
	for _, t := range e.tracing(svc.spec.Name, awaitsAnswer) {
		if t.snapshot != snapshot {
			continue
		}
		text := fmt.Sprintf("snapshot %d has it", snapshot)
		if t.newer {
			text = fmt.Sprintf("snapshot %d has a newer sample of the same", snapshot)
		}
		t.step(4, now, "%s; %s", text, svc.opinionText(t.id.Backend, r))
		t.before, t.stage = slices.Clone(svc.slots), awaitsDecision
	}
}

// opinionText is what a policy's answer comes to for a backend.
func (s *service) opinionText(name string, r core.Result) string {
	head := fmt.Sprintf("policy %s answered in %s", s.spec.Policy, millis(r.Took))
	i := slices.IndexFunc(s.backends, func(b *backend) bool { return b.spec.Name == name })
	switch {
	case s.policyErr != "":
		return fmt.Sprintf("policy %s failed, and its last good opinions hold: %s", s.spec.Policy, s.policyErr)
	case i < 0 || i >= len(r.Weights):
		return head
	case r.Weights[i] == core.Hold:
		return head + ": no opinion of " + name
	}
	sum := 0.0
	for _, w := range r.Weights {
		if w != core.Hold {
			sum += w
		}
	}
	if sum == 0 {
		return head + ": nothing for anybody"
	}
	return fmt.Sprintf("%s: %s for %s", head, percentText(r.Weights[i]/sum), name)
}

// traceDecision files steps 5 and 6, and 7 of a decision that has its outcome.
func (e *Engine) traceDecision(svc *service, d *core.Decision) {
	if len(e.tracers) == 0 {
		return
	}
	now := time.Now()
	for _, t := range e.tracing(svc.spec.Name, awaitsDecision) {
		if !t.has(4) {
			t.step(4, now, "%s", leaderText(svc, d))
		}
		i := slices.IndexFunc(d.Backends, func(b core.BackendDecision) bool { return b.Backend == t.id.Backend })
		if i < 0 {
			e.conclude(t, t.id.String()+" has left the configuration")
			continue
		}
		t.step(5, now, "%s", shapedText(d.Backends[i]))
		t.step(6, now, "%s", slotsText(t.before, svc.slots, i, t.id.Backend))
		t.decision, t.stage = d.Seq, awaitsOutcome
		if d.Outcome != core.Pending {
			e.traceEnds(t, d, now)
		}
	}
}

// traceOutcome follows a decision that has its outcome now.
func (e *Engine) traceOutcome(d *core.Decision, now time.Time) {
	if len(e.tracers) == 0 {
		return
	}
	for _, t := range e.tracing(d.Service, awaitsOutcome) {
		if t.decision == d.Seq {
			e.traceEnds(t, d, now)
		}
	}
}

// traceEnds files step 7.
func (e *Engine) traceEnds(t *tracer, d *core.Decision, now time.Time) {
	at := now
	if c := d.Commit; c != nil && d.Outcome != core.Unchanged {
		at = c.At
	}
	switch {
	case d.Outcome == core.Unchanged:
		t.step(7, at, "no slot moved: nothing to commit")
	case d.Outcome == core.Failed:
		t.step(7, at, "refused, and what was in force before holds: %s", d.Error)
	case d.Commit == nil:
		t.step(7, at, "a newer decision took the place of decision %d before its commit", d.Seq)
	default:
		t.step(7, at, "generation %d, %s changed in %s, read back", d.Commit.Generation, plural(d.Commit.Changed, "element"), millis(d.Commit.Took))
	}
	e.conclude(t, t.conclusion(d, at))
}

// conclusion is what came of the sample.
func (t *tracer) conclusion(d *core.Decision, at time.Time) string {
	i := slices.IndexFunc(d.Backends, func(b core.BackendDecision) bool { return b.Backend == t.id.Backend })
	share := ""
	if i >= 0 {
		share = fmt.Sprintf("%s has %s of the new connections", t.id, percentText(d.Backends[i].Share))
	}
	switch {
	case d.Outcome == core.Failed:
		return fmt.Sprintf("decision %d (%s) did not reach the kernel", d.Seq, d.Trigger)
	case d.Outcome == core.Unchanged:
		return share + ", as before"
	}
	return fmt.Sprintf("%s; from the end of the probe to the kernel it took %s (decision %d: %s)", share, millis(at.Sub(t.end)), d.Seq, d.Trigger)
}

func (t *tracer) has(step int) bool {
	return slices.ContainsFunc(t.trace.Steps, func(s core.TraceStep) bool { return s.Step == step })
}
