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

// backendDecisions is the record of what a decision made of each backend.
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
			Backend: b.spec.Name, Health: b.health, Configured: b.spec.Weight, Override: shown(b.override),
			State:  b.state(reserved(shaped[i])),
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
		d.Why = s.why(b, d)
		out[i] = d
	}
	return out
}

// reserved reports whether a backend was left out for a priority group before its
// own.
func reserved(b core.Shaped) bool {
	return b.Share == 0 && slices.ContainsFunc(b.Steps, func(st core.Step) bool { return st.Name == "priority" })
}

// why is the reason for a backend's share, commands first.
func (s *service) why(b *backend, d core.BackendDecision) string {
	if b.drained() {
		return b.override.String()
	}
	if lost := s.lost(b); lost != "" && b.health != core.Down {
		return lost
	}
	why := s.whyAlone(b, d)
	if b.override != nil {
		return b.override.String() + "; " + why
	}
	return why
}

// whyAlone is the reason for the share of a backend that is not drained, without
// the command that it may be under.
func (s *service) whyAlone(b *backend, d core.BackendDecision) string {
	if lost := s.lost(b); lost != "" && b.health != core.Down {
		return lost
	}
	d.Configured = b.weight()
	return core.Why(s.spec.Policy, d)
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
