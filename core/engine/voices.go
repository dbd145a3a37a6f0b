// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// Where one node at a time asks a target, all of them follow its samples with one state
// for each probe, whoever it is at the moment. Where several do (probers above 1), there
// is a state for each of these, a voice, and the probe goes by how many of them say
// down. Nobody else pays for voices: they are made at their first sample.

// A voice is what one node finds of one probe of a backend.
type voice struct {
	from   *source
	at     time.Time // of its latest sample, by the clock of this node
	state  core.HealthState
	ok     bool // the latest sample
	streak int32
	code   core.Code
	detail string
}

// counts reports whether the verdicts of a node count.
func (e *Engine) counts(node string) bool {
	return node == e.cfg.Node || e.cfg.Cluster != nil && e.cfg.Cluster.Counts(node)
}

// many reports whether several nodes ask each target.
func (e *Engine) many() bool { return e.cfg.Cluster != nil && e.setup.Cluster.Probers > 1 }

// maxDelay is the longest time from the end of a probe on another node to here that is
// taken for one. What is longer, or negative, is of a clock that differs from ours.
const maxDelay = time.Second

// arrived is a sample of another node as by the clock of this one.
func arrived(s core.Sample, now time.Time) core.Sample {
	late := now.Sub(s.TakenAt.Add(s.Took))
	if late >= 0 && late <= maxDelay {
		return s
	}
	s.TakenAt = s.TakenAt.Add(late)
	s.Metrics = slices.Clone(s.Metrics)
	for i := range s.Metrics {
		if m := &s.Metrics[i]; !m.At.IsZero() {
			m.At = m.At.Add(late)
		}
	}
	return s
}

// patience is how long the word of a node about a probe counts after its latest sample.
func (p *probe) patience() time.Duration {
	return 3*max(p.spec.Interval, p.spec.DownInterval, p.spec.FastInterval) + p.spec.Timeout
}

// second is the one of now since the engine's start, from 1 on.
func (e *Engine) second(now time.Time) uint32 { return 1 + uint32(now.Sub(e.startedAt)/time.Second) }

// hear notes which node has spoken of a probe, and what this one has found itself. While
// this node suspects itself, its own word stays although others ask the target, too:
// by that it learns when it is well again.
func (e *Engine) hear(p *probe, s core.Sample) {
	switch now := time.Now(); {
	case s.Node == e.cfg.Node:
		p.mine, p.mineOK = s.Code != core.AgentNone, s.OK
	default:
		p.mine = p.mine && (e.suspecting() || e.many() && e.speaks(p, e.voice(p, e.cfg.Node), now))
	}
	e.count(p)
}

// deaf reports whether a sample counts for nothing but the suspicion: it is of this node,
// which suspects itself, and another one asks the target as well.
func (e *Engine) deaf(p *probe, s core.Sample) bool {
	if s.Node != e.cfg.Node || p.others == 0 || !e.suspecting() {
		return false
	}
	return time.Duration(e.second(time.Now())-p.others)*time.Second <= p.patience()
}

// An ownWord is what this node itself has found of a probe.
type ownWord struct {
	said, ok bool
	state    core.HealthState
	code     core.Code
	detail   string
}

func (e *Engine) own(p *probe) ownWord {
	if !e.many() {
		return ownWord{p.mine, p.mineOK, p.state, p.last.code, p.last.detail}
	}
	v := e.voice(p, e.cfg.Node)
	if v == nil {
		return ownWord{}
	}
	return ownWord{p.mine, p.mineOK, v.state, v.code, v.detail}
}

// voice is that of a node on a probe; nil if it has none.
func (e *Engine) voice(p *probe, node string) *voice {
	list := e.votes[p]
	i := slices.IndexFunc(list, func(v voice) bool { return v.from.node == node })
	if i < 0 {
		return nil
	}
	return &list[i]
}

// vote files a verdict as its node's voice, which begins as what the probe is by then, and
// has all voices decide. It reports whether the probe tipped, and whether the voice of
// this node went down.
func (e *Engine) vote(p *probe, s core.Sample, now time.Time) (tipped, fell bool) {
	v := e.voice(p, s.Node)
	if v == nil {
		if e.votes == nil {
			e.votes = map[*probe][]voice{}
		}
		e.votes[p] = append(slices.DeleteFunc(e.votes[p], func(v voice) bool { return e.silenced(p, &v, now) }), voice{from: e.sourceOf(p.from, s), state: p.state})
		v = &e.votes[p][len(e.votes[p])-1]
	}
	own, was := s.Node == e.cfg.Node, v.state
	h := core.Health{Rise: p.spec.Rise, Fall: p.spec.Fall, State: v.state, Streak: int(v.streak)}
	if own && e.suspicion.Frozen() {
		h.Bear(s.OK)
	} else {
		h.Add(s.OK)
	}
	v.state, v.streak = h.State, int32(min(h.Streak, 1<<20))
	v.at, v.ok, v.code, v.detail = now, s.OK, s.Code, s.Detail
	tipped = e.poll(p, now)
	if p.streak = 0; v.state == p.state {
		p.streak = v.streak
	}
	return tipped, own && was == core.Up && v.state == core.Down
}

// silenced reports whether a voice is of a node that is gone: names of nodes may be new at
// each start, and what they found would be kept for ever.
func (e *Engine) silenced(p *probe, v *voice, now time.Time) bool {
	return now.Sub(v.at) > p.patience() && !e.counts(v.from.node)
}

// speaks reports whether a voice counts now.
func (e *Engine) speaks(p *probe, v *voice, now time.Time) bool {
	return v != nil && v.state != core.Unknown && now.Sub(v.at) <= p.patience() && e.counts(v.from.node)
}

// spoken are the voices of a probe that count now: without that of this node while it
// suspects itself and there are others.
func (e *Engine) spoken(p *probe, now time.Time) (list []*voice) {
	var own *voice
	for i := range e.votes[p] {
		v := &e.votes[p][i]
		switch {
		case !e.speaks(p, v, now):
		case v.from.node == e.cfg.Node && e.suspecting():
			own = v
		default:
			list = append(list, v)
		}
	}
	if len(list) == 0 && own != nil {
		list = append(list, own)
	}
	return list
}

// poll makes the state of a probe what its voices say, and reports whether that is
// another one.
func (e *Engine) poll(p *probe, now time.Time) bool {
	down, up := 0, 0
	for _, v := range e.spoken(p, now) {
		if v.state == core.Down {
			down++
		} else {
			up++
		}
	}
	to := p.state
	switch all := down + up; {
	case down > 0 && down >= min(max(1, e.setup.Cluster.Quorum), all):
		to = core.Down
	case up > 0:
		to = core.Up
	}
	tipped := to != p.state
	p.state = to
	return tipped
}

// takeVoices polls all probes again: the nodes that count are others now.
func (e *Engine) takeVoices(now time.Time) {
	if !e.many() || len(e.votes) == 0 {
		return
	}
	for _, s := range e.order {
		for _, b := range s.backends {
			for _, p := range b.probes {
				if e.votes[p] == nil {
					continue
				}
				was := p.state
				if e.poll(p, now) {
					p.streak = 0
					e.count(p)
					e.probeTipped(s, b, p, was, core.SampleRef{})
				}
			}
		}
	}
	e.decideTipped()
}

// keepVoices forgets the voices on probes that have left the configuration, and all
// where only one node asks each target.
func (e *Engine) keepVoices() {
	before := e.votes
	if e.votes = nil; len(before) == 0 || !e.many() {
		return
	}
	e.votes = map[*probe][]voice{}
	for _, s := range e.order {
		for _, b := range s.backends {
			for _, p := range b.probes {
				if list := before[p]; list != nil {
					e.votes[p] = list
				}
			}
		}
	}
}

// blameVoices names the nodes whose voices made a probe what it is, with what one of them
// says: the latest, if it is among them.
func (e *Engine) blameVoices(c *blame, p *probe) {
	all := e.spoken(p, time.Now())
	var names []string
	var said *voice
	for _, v := range all {
		if v.state != p.state {
			continue
		}
		names = append(names, v.from.node)
		if said == nil || v.from.node == p.from.node {
			said = v
		}
	}
	if said == nil {
		return
	}
	slices.Sort(names)
	c.by = list(names)
	if c.code, c.detail = said.code, said.detail; len(all) > 1 {
		c.by += fmt.Sprintf(" (%d of %d)", len(names), len(all))
	}
}

// list are words as in a sentence.
func list(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " and " + words[last]
}
