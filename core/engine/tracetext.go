// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

var errNoProbes = errors.New("it has no probes; name that of a monitor (--probe)")

// traceHealth is what a sample has made of its probe, whose health was was, and of the
// backend.
func (e *Engine) traceHealth(b *backend, p *probe, s core.Sample, was core.Health) string {
	speaks := "good"
	if !s.OK {
		speaks = "bad"
	}
	now := p.health()
	switch {
	case !s.Code.Verdict():
		return fmt.Sprintf("%s says nothing about the backend; %s stays %s", s.Code, b.spec.Name, b.health)
	case now.State != was.State:
		return fmt.Sprintf("%s; probe %s went %s → %s, %s is %s", speaks, p.spec.Name, was.State, now.State, b.spec.Name, b.health)
	case len(e.votes[p]) > 1:
		return fmt.Sprintf("%s at %s; probe %s stays %s by %s, %s is %s", speaks, s.Node, p.spec.Name, now.State, plural(len(e.votes[p]), "voice"), b.spec.Name, b.health)
	case now.Streak > 0:
		return fmt.Sprintf("%s, %d of %d in a row against %s; %s stays %s", speaks, now.Streak, now.Need(), now.State, b.spec.Name, b.health)
	}
	return fmt.Sprintf("%s; probe %s stays %s, %s is %s", speaks, p.spec.Name, now.State, b.spec.Name, b.health)
}

// readsOf reports whether a policy would see a sample in one of the readings, now or
// once its window is counted.
func (b *backend) readsOf(by origin) bool {
	if b.by != nil {
		for _, o := range []origin{b.by.cpu, b.by.cores, b.by.response} {
			if o.is(by) {
				return true
			}
		}
	}
	if b.custom != nil {
		for i := range b.custom.last {
			if b.custom.last[i].is(by) {
				return true
			}
		}
	}
	return b.waitsFor(by)
}

// waitsFor reports whether the connections in the window of a CPU sample are not counted
// to the end yet.
func (b *backend) waitsFor(by origin) bool {
	return !b.nextCPU.at.IsZero() && b.by != nil && b.by.nextCPU.is(by)
}

// leaderText says whose shares a decision goes by, of a service that another node leads.
func leaderText(s *service, d *core.Decision) string {
	if !s.follows {
		return fmt.Sprintf("%s is decided by this node since a moment ago, with the shares of before", s.spec.Name)
	}
	if d.Leader == nil {
		return fmt.Sprintf("%s is decided by another node, of which nothing was heard yet", s.spec.Name)
	}
	l := d.Leader
	return fmt.Sprintf("%s is decided by %s: its decision %d came as vector %d of epoch %d", s.spec.Name, l.Node, l.Decision, l.Seq, l.Epoch)
}

// shapedText are the steps of shaping of one backend, those that changed nothing with a
// "=": "policy 25.0% → 50.0% ×2.000, dead_band 50.0% =".
func shapedText(b core.BackendDecision) string {
	var parts []string
	for _, st := range b.Steps {
		part := fmt.Sprintf("%s %s =", st.Name, percentText(st.After))
		if st.Before != st.After {
			part = fmt.Sprintf("%s %s → %s", st.Name, percentText(st.Before), percentText(st.After))
			if st.Before != 0 {
				part += fmt.Sprintf(" ×%.3f", st.Factor())
			}
		}
		parts = append(parts, part)
	}
	if len(parts) == 0 {
		return "no rule had anything to do: " + percentText(b.Share)
	}
	return strings.Join(parts, ", ")
}

// slotsText is how the slots of backend i moved, and how many others did.
func slotsText(before, after []uint32, i int, name string) string {
	others := 0
	for k := range after {
		if k != i && (k >= len(before) || before[k] != after[k]) {
			others++
		}
	}
	was := uint32(0)
	if i < len(before) {
		was = before[i]
	}
	text := fmt.Sprintf("%s: %d slots → %d of %d", name, was, after[i], core.Slots)
	if others > 0 {
		text += fmt.Sprintf(", %s of others moved", plural(others, "share"))
	}
	return text
}

// metricsText names what a monitor sent: "load 0.4 ratio".
func metricsText(s core.Sample) string {
	var parts []string
	for _, m := range s.Metrics {
		parts = append(parts, strings.TrimSpace(fmt.Sprintf("%s %v %s", m.Name, m.Value, m.Unit)))
	}
	return strings.Join(parts, ", ") + " from " + s.Node
}

// millis is a time as in a trace.
func millis(d time.Duration) string {
	if d >= time.Second || d <= -time.Second {
		return fmt.Sprintf("%.3f s", d.Seconds())
	}
	return fmt.Sprintf("%.3f ms", float64(d)/float64(time.Millisecond))
}

func percentText(share float64) string { return fmt.Sprintf("%.1f%%", 100*share) }

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
