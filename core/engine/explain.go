// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// backendDecisions is the record of what a decision made of each backend, written
// on a paper of those used up. The result is the paper's backends.
func (s *service) backendDecisions(now time.Time, shaped []core.Shaped, slots []uint32, on paper) paper {
	var sum float64
	for _, b := range s.backends {
		if b.opinion != core.Hold {
			sum += b.opinion
		}
	}
	inputs := 0
	if !s.follows { // else no policy has read them
		inputs = s.countInputs()
	}
	on = on.sized(len(s.backends), inputs)
	for i, b := range s.backends {
		first := len(on.inputs)
		if !s.follows {
			on.inputs = s.inputs(on.inputs, b, now)
		}
		d := core.BackendDecision{
			Backend: b.spec.Name, Health: b.health, Configured: b.spec.Weight, Override: shown(b.override),
			State:  b.state(reserved(shaped[i])),
			Inputs: on.inputs[first:len(on.inputs):len(on.inputs)],
			Steps:  s.explainHold(b, shaped[i].Steps, now), Share: shaped[i].Share, Slots: slots[i],
		}
		if b.opinion != core.Hold && sum > 0 {
			on.policy[i] = b.opinion / sum
			d.Policy = &on.policy[i]
		}
		if b.health != core.Up && shaped[i].Share == 0 {
			d.Steps = append(d.Steps, core.Step{Name: "health", Before: b.share, Note: b.note})
		}
		d.Why = s.why(b, d)
		on.backends[i] = d
	}
	return on
}

// reserved reports whether a backend was left out for a priority group before its
// own.
func reserved(b core.Shaped) bool {
	return b.Share == 0 && slices.ContainsFunc(b.Steps, func(st core.Step) bool { return st.Name == "priority" })
}

// why is the reason for a backend's share, commands first.
func (s *service) why(b *backend, d core.BackendDecision) string {
	if b.drained() {
		return b.drainedText()
	}
	if lost := s.lost(b); lost != "" && b.health != core.Down {
		return lost
	}
	why := s.whyAlone(b, d)
	if b.override != nil && b.weight() == 0 {
		return b.override.String() // which says it all
	}
	if b.override != nil {
		return b.override.String() + s.elsewhereText() + "; " + why
	}
	if said := b.saidText(); said != "" {
		if b.weight() == 0 {
			return said
		}
		return said + "; " + why
	}
	return why
}

// elsewhereText says of a weight by command that the service goes by its leader's.
func (s *service) elsewhereText() string {
	if s.follows {
		return " (counts when this node leads)"
	}
	return ""
}

// whyAlone is the reason for the share of a backend that is not drained, without
// the command that it may be under.
func (s *service) whyAlone(b *backend, d core.BackendDecision) string {
	if lost := s.lost(b); lost != "" && b.health != core.Down {
		return lost
	}
	d.Configured = b.weight()
	return core.Why(s.spec.Policy, s.reads, d)
}

// measures are the metrics that a probe of a type is there for.
var measures = map[string]string{core.ProbeSNMPCPU: core.MetricCPU, core.ProbeResponseTime: core.MetricResponse}

// explainHold names the probe behind a missing opinion, where the policy is well
// and a metric probe of the backend fails: "no cpu: SNMPTOUT, share held".
func (s *service) explainHold(b *backend, steps []core.Step, now time.Time) []core.Step {
	if s.policyErr != "" || s.follows {
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

// missing is the metric that is not known because its probe fails, or waits for a
// second answer, with the code; empty if there is none. Of several probes it is the first by name.
func (b *backend) missing(now time.Time, stale time.Duration) string {
	name, text := "", ""
	for _, p := range b.probes {
		metric := measures[p.spec.Type]
		if text != "" && name < p.spec.Name || p.spec.Role != core.MetricRole || p.last.at.IsZero() || p.last.ok && p.last.code != core.SNMPWait || metric == "" {
			continue
		}
		r := b.cpu
		if metric == core.MetricResponse {
			r = b.response
		}
		if !r.seen(now, stale).Known {
			if name, text = p.spec.Name, fmt.Sprintf("no %s: %s", metric, p.last.code); p.last.ok {
				text = fmt.Sprintf("no %s yet: %s", metric, p.last.code)
			}
		}
	}
	return text
}
