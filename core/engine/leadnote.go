// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
)

// The nodes that follow see the slots of a backend that its leader has drained, and not
// that it has: the reason travels with the slots, as a note. Whatever changes a note is
// sent to all nodes, so there is nothing in it that changes by itself: no count, no age,
// no reading.

// leadNote is why the backend at i has its slots, where that is not the opinion of the
// policy alone: it is out of service, has a weight by command, or a rule of shaping says
// so. It goes by the latest decision.
func (s *service) leadNote(i int) string {
	b := s.backends[i]
	if text := s.outNote(b); text != "" {
		return core.VectorNote(text)
	}
	var parts []string
	if text := b.weightNote(); text != "" {
		parts = append(parts, text)
	}
	if i < len(s.decision.Backends) {
		for _, st := range s.decision.Backends[i].Steps {
			if text := b.stepNote(st); text != "" {
				parts = append(parts, text)
			}
		}
	}
	return core.VectorNote(strings.Join(parts, "; "))
}

// outNote says why a backend is out of service; empty if it is not.
func (s *service) outNote(b *backend) string {
	switch lost := s.lost(b); {
	case b.drained():
		return b.drainedBy()
	case b.health == core.Down && b.probed == core.Down:
		return "down: " + b.note
	case b.health == core.Down:
		return b.note // held down, or ejected by passive health
	case lost != "":
		return lost
	case b.weight() == 0:
		return b.zeroNote()
	case b.health == core.Unknown && !b.spec.Sorry:
		return "not probed yet"
	}
	return ""
}

// drainedBy is such as "drained by alice, disk swap".
func (b *backend) drainedBy() string {
	switch o := b.override; {
	case o != nil && o.Kind == core.OverrideDrain:
		return "drained by " + o.Author + reasonOf(o)
	case b.window != nil:
		return b.window.note
	}
	says := b.rare.says
	text := "its agent asks for " + string(says.admin)
	if says.began != "" {
		text += ": " + says.began
	}
	return text
}

// zeroNote is drainedBy of a backend of weight 0.
func (b *backend) zeroNote() string {
	if text := b.weightNote(); text != "" {
		return text
	}
	return "configured weight 0"
}

// weightNote says whose weight a backend has, if it is not the configured one. How much an
// agent asks for may be another at each answer.
func (b *backend) weightNote() string {
	switch o := b.override; {
	case o != nil && o.Kind == core.OverrideWeight:
		return fmt.Sprintf("weight %d by %s%s", o.Weight, o.Author, reasonOf(o))
	case b.weight() == b.spec.Weight:
		return ""
	case b.weight() == 0:
		return "weight 0 by its agent"
	}
	return "weight by its agent"
}

func reasonOf(o *core.Override) string {
	if o.Reason == "" {
		return ""
	}
	return ", " + o.Reason
}

// noOpinion begins the note of a share that the policy has had no opinion of for a time.
const noOpinion = "the policy has had no opinion for "

// stillHeld is the note of a share that the policy has no opinion of at this call: one that
// answers where there is a new sample says so every other time.
const stillHeld = "the policy has no opinion: share held"

// stepNote is what a step of shaping has to do with the slots; empty if it is the policy's
// own, or only tempers that.
func (b *backend) stepNote(st core.Step) string {
	switch st.Name {
	case "priority", "sorry":
		return st.Note
	case "panic":
		return "panic: " + st.Note
	case "full":
		text, _, _ := strings.Cut(st.Note, ": ")
		if limit := b.maxConnections(); limit > 0 && limit == b.spec.MaxConnections {
			text += fmt.Sprintf(", of %d connections", limit)
		}
		return text
	case "slow_start":
		return "slow start"
	case "freshness":
		if st.Note == stillHeld {
			return ""
		}
		if since, has := strings.CutPrefix(st.Note, noOpinion); has {
			_, outcome, _ := strings.Cut(since, ": ")
			return "the policy has no opinion: " + outcome
		}
		return st.Note
	}
	return ""
}

// toldAll reports whether the others know the slots of a service, and why they are so.
func (s *service) toldAll() bool {
	if s.told == nil || len(s.told) != len(s.backends) || !slices.EqualFunc(s.told, s.slots, func(t core.VectorBackend, slots uint32) bool { return t.Slots == slots }) {
		return false
	}
	for i := range s.backends {
		if s.told[i].Note != s.leadNote(i) {
			return false
		}
	}
	return true
}
