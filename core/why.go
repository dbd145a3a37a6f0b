// SPDX-License-Identifier: Apache-2.0

package core

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Why is the reason for a backend's share in a few words: what gates it, or
// the step that moved it most, or the readings that the policy went by: reads, or
// whatever is known if that is nil.
func Why(policy string, reads []string, b BackendDecision) string {
	drain, sorry := noteOf(b.Steps, "drain"), noteOf(b.Steps, "sorry")
	switch {
	case drain != "" && b.Health == Down:
		return drain + "; and down"
	case drain != "":
		return drain
	case b.State == StateEjected, b.Health == Down && strings.HasPrefix(lastNote(b.Steps, ""), heldDown):
		return lastNote(b.Steps, "ejected")
	case b.Health == Down:
		return "down: " + lastNote(b.Steps, "no health probe answers")
	case b.Configured == 0:
		return "configured weight 0"
	case sorry != "":
		return sorry
	case b.Health == Unknown:
		return lastNote(b.Steps, "not probed yet")
	}
	gates := []string{noteOf(b.Steps, "priority"), noteOf(b.Steps, "full")}
	gates = slices.DeleteFunc(gates, func(s string) bool { return s == "" })
	if b.Share > 0 {
		gates = slices.Insert(gates, 0, whyShare(policy, reads, b))
	}
	if len(gates) == 0 {
		return whyShare(policy, reads, b)
	}
	return strings.Join(gates, "; ")
}

// whyShare is the reason for the size of a share, of a backend that serves.
func whyShare(policy string, reads []string, b BackendDecision) string {
	var big Step
	for _, s := range b.Steps {
		if !slices.Contains(notOfSize, s.Name) && math.Abs(s.After-s.Before) >= math.Abs(big.After-big.Before) {
			big = s
		}
	}
	lead, gate := noteOf(b.Steps, "leader"), noteOf(b.Steps, "gate")
	switch {
	case big.Name == "panic":
	case lead != "" && gate != "":
		return lead + ", " + gate
	case lead != "":
		return lead
	}
	switch big.Name {
	case "panic":
		return "panic: " + big.Note
	case "slow_start":
		return fmt.Sprintf("slow start: %s", big.Note)
	}
	why := noteOf(b.Steps, "freshness")
	if why == "" {
		why = policy
		if s := readings(policy, reads, b.Inputs); s != "" {
			why += ": " + s
		}
	}
	// Only a step that still moves a share by a percent point is news.
	if big.Name == "step" && math.Abs(big.After-big.Before) > 0.01 {
		why += fmt.Sprintf(", stepping to %.0f%%", 100*big.Before)
	}
	if big.Name == "bounds" && math.Abs(big.After-big.Before) > 0.01 {
		why += ", " + big.Note
	}
	return why
}

// notOfSize are the steps that do not explain the size of a share: the policy's
// own, which its readings do, those of another node that leads, and those that say who
// serves at all.
var notOfSize = []string{"policy", "leader", "gate", "priority", "full"}

// noteOf is the note of the step of that name; empty if there is none.
func noteOf(steps []Step, name string) string {
	for _, s := range steps {
		if s.Name == name {
			return s.Note
		}
	}
	return ""
}

func lastNote(steps []Step, otherwise string) string {
	if n := len(steps); n > 0 && steps[n-1].Note != "" {
		return steps[n-1].Note
	}
	return otherwise
}

// leading lists, per shipped policy, the readings that it goes by. A policy
// that is not listed shows what it reads.
var leading = map[string][]string{
	"rr":             {},
	"weighted":       {},
	"least-conn":     {MetricConnections},
	"least-response": {MetricResponse},
	"least-cpu":      {MetricCPU, MetricDone},
	"maglev":         {},
	"failover":       {},
}

// measured are the metrics that are not custom.
var measured = []string{MetricCPU, MetricCores, MetricResponse, MetricConnections, MetricNew, MetricDone}

// enoughClosed is how many connections must be closed in a window until
// least-cpu learns from it.
const enoughClosed = 5

func readings(policy string, reads []string, inputs []Input) string {
	want, listed := leading[policy]
	if !listed {
		want = []string{MetricCPU, MetricResponse, MetricConnections}
		for _, in := range inputs {
			if !slices.Contains(measured, in.Metric) {
				want = append(want, in.Metric) // a custom one, which the policy asks for
			}
		}
		if reads != nil {
			want = slices.DeleteFunc(want, func(name string) bool { return !slices.Contains(reads, name) })
		}
	}
	var out string
	for _, name := range want {
		for _, in := range inputs {
			if in.Metric != name {
				continue
			}
			if out != "" {
				out += ", "
			}
			out += reading(in)
		}
	}
	return out
}

func reading(in Input) string {
	if !in.Known {
		return "no " + in.Metric
	}
	switch in.Metric {
	case MetricCPU:
		return fmt.Sprintf("cpu %.0f%%", 100*in.Value)
	case MetricDone:
		n := in.Value * in.WindowSeconds
		switch {
		case in.Value == 0:
			return "no connections closed: estimate kept"
		case in.WindowSeconds > 0 && n < enoughClosed:
			return "too few connections closed: estimate kept"
		}
		return fmt.Sprintf("%.1f done/s", in.Value)
	case MetricResponse:
		return fmt.Sprintf("response %.1f ms", 1000*in.Value)
	case MetricConnections:
		return fmt.Sprintf("%.0f open", in.Value)
	}
	return fmt.Sprintf("%s %.3g", in.Metric, in.Value)
}
