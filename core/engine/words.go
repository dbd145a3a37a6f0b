// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A said is what an agent on a backend, or a command that speaks for it, asks for. The
// numbers count for as long as a share without an opinion is held: until the agent has
// been silent for stale_after and hold. Drain and maint stay until it says ready.
type said struct {
	probe string
	admin core.AdminState // drain, maint or empty
	why   string          // the agent's own words with admin
	began string          // why as admin began: they may be others at each answer
	at    time.Time       // of its latest word of any kind

	ratio, weight, conns float64 // negative: not asked for
}

// asked are the metrics by which a probe asks for something, and what they can be.
var asked = map[string]struct {
	high float64
	unit string
	to   func(*said) *float64
}{
	core.MetricWeightRatio:    {256, "ratio", func(a *said) *float64 { return &a.ratio }},
	core.MetricWeight:         {math.MaxUint32, "count", func(a *said) *float64 { return &a.weight }},
	core.MetricMaxConnections: {math.MaxUint32, "count", func(a *said) *float64 { return &a.conns }},
}

// asks reports whether a probe's metric of that name is a wish. What a Nagios plugin
// happens to call weight is none.
func (p *probe) asks(name string) bool {
	switch p.spec.Type {
	case core.ProbeAgent:
		return true
	case core.ProbeExec:
		return p.spec.Exec.DynamicWeight && name == core.MetricWeight ||
			slices.ContainsFunc(p.spec.Metrics, func(m core.MetricSpec) bool { return m.Name == name })
	}
	return false
}

// takeWords files what a sample of an agent asks for.
func (e *Engine) takeWords(s *service, b *backend, p *probe, sample core.Sample) {
	if p.spec.Type != core.ProbeAgent && p.spec.Type != core.ProbeExec {
		return
	}
	var says said
	known := b.rare != nil && b.rare.says != nil
	if known {
		says = *b.rare.says
	} else {
		says = said{ratio: -1, weight: -1, conns: -1}
	}
	if any := e.readWords(&says, p, sample); !any && says.probe != p.spec.Name || !known && says.empty() {
		return
	}
	says.probe, says.at = p.spec.Name, time.Now()
	if !known {
		b.rares().says = &said{ratio: -1, weight: -1, conns: -1}
	}
	was := *b.rare.says
	drained, weight := b.drained(), b.weight()
	*b.rare.says = says
	e.due(b.rare.says.over(s.spec.Shaping))
	if was.admin != says.admin {
		e.tellAdmin(s, b, says)
	}
	if drained != b.drained() || was.admin != says.admin || (weight == 0) != (b.weight() == 0) {
		e.saysOther(s, b, drained, fmt.Sprintf("%s of %s", p.spec.Name, b.spec.Name), says.at)
		s.cause.blames(refOf(b, sample))
	}
	e.takeFull(s, b)
}

// readWords adds the wishes of a sample to those before, and reports whether there
// are any.
func (e *Engine) readWords(says *said, p *probe, sample core.Sample) (any bool) {
	switch sample.Admin {
	case core.AdminReady:
		says.admin, says.why, says.began, any = "", "", "", true
	case core.AdminDrain, core.AdminMaint:
		if says.admin != sample.Admin {
			says.began = sample.Detail
		}
		says.admin, says.why, any = sample.Admin, sample.Detail, true
	}
	for _, m := range sample.Metrics {
		a, is := asked[m.Name]
		if !is || !p.asks(m.Name) {
			continue
		}
		if m.Unit != "" && m.Unit != a.unit || !(m.Value >= 0 && m.Value <= a.high) {
			e.refuse(sample.Backend, sample, "value", fmt.Sprintf("metric %s is %v %s; want %s from 0 to %.0f", m.Name, m.Value, m.Unit, a.unit, a.high))
			continue
		}
		*a.to(says), any = m.Value, true
	}
	return any
}

// saysOther has a service decided after its backend's agent changed its mind.
func (e *Engine) saysOther(s *service, b *backend, drained bool, trigger string, now time.Time) {
	if drained && !b.drained() {
		b.returns(now)
	}
	e.tip(s, trigger, now)
}

func (e *Engine) tellAdmin(s *service, b *backend, says said) {
	word := says.admin
	if word == "" {
		word = core.AdminReady
	}
	if _, due := e.probeTold.Due(b.id.String()+" "+says.probe, string(word), says.at); !due {
		return
	}
	text := fmt.Sprintf("agent %s asks for %s", says.probe, word)
	if says.why != "" {
		text += ": " + says.why
	}
	e.log.Info("by an agent", "service", s.spec.Name, "backend", b.spec.Name, "what", text)
	e.event(core.Info, "probe", s.spec.Name, b.spec.Name, text)
}

// empty reports whether nothing is asked for.
func (a *said) empty() bool { return a.admin == "" && a.ratio < 0 && a.weight < 0 && a.conns < 0 }

// over is when the numbers count no more; zero if never.
func (a *said) over(r core.Shaping) time.Time {
	if r.StaleAfter == 0 || a.ratio < 0 && a.weight < 0 && a.conns < 0 {
		return time.Time{}
	}
	return a.at.Add(r.StaleAfter + r.Hold)
}

// installWords drops what was asked for by a probe that may not ask any more.
func (e *Engine) installWords(s *service, b *backend, now time.Time) {
	says := b.rare.says
	if says == nil {
		return
	}
	drained, weight := b.drained(), b.weight()
	p := b.probe(says.probe)
	for name, a := range asked {
		if p == nil || !p.asks(name) {
			*a.to(says) = -1
		}
	}
	if p == nil || p.spec.Type != core.ProbeAgent {
		says.admin, says.why, says.began = "", "", ""
	}
	if says.empty() {
		b.rare.says = nil
	}
	if drained != b.drained() || weight != b.weight() {
		e.saysOther(s, b, drained, "the agent of "+b.spec.Name+" is gone", now)
	}
	e.takeFull(s, b)
}

// endWords drops the numbers of an agent that has been silent for too long.
func (e *Engine) endWords(s *service, b *backend, now time.Time) {
	says := b.rare.says
	if says == nil {
		return
	}
	over := says.over(s.spec.Shaping)
	if over.IsZero() || now.Before(over) {
		e.due(over)
		return
	}
	says.ratio, says.weight, says.conns = -1, -1, -1
	text := fmt.Sprintf("agent %s has been silent for %s: the configured weight counts again", says.probe, now.Sub(says.at).Round(time.Second))
	if _, due := e.probeTold.Due(b.id.String()+" "+says.probe, "silent", now); due {
		e.event(core.Warn, "probe", s.spec.Name, b.spec.Name, text)
	}
	if says.admin == "" {
		b.rare.says = nil
	}
	e.takeFull(s, b)
	e.tip(s, "the agent of "+b.spec.Name+" is silent", now)
}

// agent is what the agent of a backend asks for; nil if there is nothing, or if a
// command of an operator goes before it.
func (b *backend) agent() *said {
	if b.rare == nil || b.override != nil {
		return nil
	}
	return b.rare.says
}

func (b *backend) agentAdmin() core.AdminState {
	if a := b.agent(); a != nil {
		return a.admin
	}
	return ""
}

// weight is the weight in force: the configured one, unless a command or an agent
// says otherwise.
func (b *backend) weight() uint32 {
	if b.override != nil && b.override.Kind == core.OverrideWeight {
		return b.override.Weight
	}
	a := b.agent()
	if a == nil {
		return b.spec.Weight
	}
	weight := float64(b.spec.Weight)
	if a.weight >= 0 {
		weight = a.weight
	}
	if a.ratio >= 0 {
		weight *= a.ratio
	}
	if weight > 0 {
		weight = max(1, math.Round(weight)) // a little of a small weight is not nothing
	}
	return uint32(min(weight, core.MaxWeight))
}

// maxConnections is how many connections may be open until the backend is full; 0 for
// no limit.
func (b *backend) maxConnections() uint32 {
	if a := b.agent(); a != nil && a.conns >= 0 {
		return uint32(a.conns)
	}
	return b.spec.MaxConnections
}

// saidText is what the agent asks for: "agent: maint: kernel update" or "agent: weight
// 75 of 100, at most 30 connections"; empty if it is nothing.
func (b *backend) saidText() string {
	a := b.agent()
	if a == nil {
		return ""
	}
	switch {
	case a.admin == "":
	case a.why == "":
		return "agent: " + string(a.admin)
	case strings.Contains(a.why, string(a.admin)):
		return "agent: " + a.why
	default:
		return fmt.Sprintf("agent: %s (%s)", a.admin, a.why)
	}
	var parts []string
	if b.weight() != b.spec.Weight {
		parts = append(parts, fmt.Sprintf("weight %d of %d", b.weight(), b.spec.Weight))
	}
	switch limit := b.maxConnections(); {
	case limit == b.spec.MaxConnections:
	case limit == 0:
		parts = append(parts, "no limit on connections")
	default:
		parts = append(parts, fmt.Sprintf("at most %d connections", limit))
	}
	if len(parts) == 0 {
		return ""
	}
	return "agent: " + strings.Join(parts, ", ")
}

// countSaid is how many inputs saidInputs appends.
func (b *backend) countSaid() (n int) {
	if a := b.agent(); a != nil {
		for _, v := range []float64{a.weight, a.ratio, a.conns} {
			if v >= 0 {
				n++
			}
		}
	}
	return n
}

// saidInputs appends for the record what an agent asks for.
func (b *backend) saidInputs(to []core.Input, now time.Time) []core.Input {
	a := b.agent()
	if a == nil {
		return to
	}
	for _, name := range []string{core.MetricWeight, core.MetricWeightRatio, core.MetricMaxConnections} {
		m := asked[name]
		if v := *m.to(a); v >= 0 {
			to = append(to, core.Input{Metric: name, Value: v, Unit: m.unit, AgeSeconds: now.Sub(a.at).Seconds(), Known: true})
		}
	}
	return to
}
