// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// windowsEvery bounds the time between two looks at the clock on the wall, which may
// be set.
const windowsEvery = time.Minute

// A window is a time of maintenance that it is now.
type window struct {
	rule  *core.Maintenance
	until time.Time
	note  string
}

// same reports whether it is the one before, still.
func (w *window) same(was *window) bool {
	return w != nil && was != nil && w.until.Equal(was.until) && w.rule.Name == was.rule.Name && w.rule.Reason == was.rule.Reason
}

// windowsAt are those of a time.
func windowsAt(rules []core.Maintenance, now time.Time) (list []*window) {
	for i := range rules {
		if until, in := rules[i].In(now); in {
			list = append(list, &window{&rules[i], until, rules[i].Note(until, now)})
		}
	}
	return list
}

// windowOf is the window that a backend is in, of several the one that lasts longest;
// nil if it is in none.
func windowOf(list []*window, id core.BackendID) (longest *window) {
	for _, w := range list {
		if w.rule.Covers(id) && (longest == nil || w.until.After(longest.until)) {
			longest = w
		}
	}
	return longest
}

// nextWindow is when the next window begins or ends, or the clock is looked at again;
// zero without windows.
func (e *Engine) nextWindow(now time.Time) (next time.Time) {
	if len(e.setup.Maintenance) == 0 {
		return time.Time{}
	}
	next = now.Add(windowsEvery)
	for _, m := range e.setup.Maintenance {
		// Not at itself, which is a time on the wall: that may be set back before it comes.
		if at := m.Next(now); !at.IsZero() && at.Before(next) {
			next = now.Add(at.Sub(now))
		}
	}
	return next
}

// endWindows follows the windows that begin and end.
func (e *Engine) endWindows(now time.Time) {
	if e.windowDue.IsZero() || now.Before(e.windowDue) {
		return
	}
	list := windowsAt(e.setup.Maintenance, now)
	for _, s := range e.order {
		for _, b := range s.backends {
			w, was := windowOf(list, b.id), b.window
			if w == nil && was == nil || w.same(was) {
				continue
			}
			drained := b.drained()
			b.window = w
			if drained && !b.drained() {
				b.returns(now)
			}
			e.tellWindowChange(b, was)
			e.tip(s, "maintenance of "+b.spec.Name, now)
		}
	}
	e.decideTipped()
	e.windowDue = e.nextWindow(now)
}

// tellWindow tells of a window that a reload or a start has brought a backend in or
// out of.
func (e *Engine) tellWindow(before, b *backend) {
	var was *window
	if before != nil {
		was = before.window
	}
	e.tellWindowChange(b, was)
}

func (e *Engine) tellWindowChange(b *backend, was *window) {
	text := ""
	switch w := b.window; {
	case w == nil && was == nil || w.same(was):
		return
	case w == nil:
		text = fmt.Sprintf("maintenance %s is over", was.rule.Name)
	default:
		text = "drained: " + w.note
	}
	e.log.Info("by the calendar", "service", b.id.Service, "backend", b.id.Backend, "what", text)
	e.event(core.Info, "maintenance", b.id.Service, b.id.Backend, text)
}

// drained reports whether a backend gets no new connections because somebody wants
// it so: an operator, the calendar, or an agent on it.
func (b *backend) drained() bool {
	return b.override != nil && b.override.Kind == core.OverrideDrain || b.window != nil || b.agentAdmin() != ""
}

// drainState is the state in one word of a backend that is drained.
func (b *backend) drainState() core.BackendState {
	switch {
	case b.override != nil && b.override.Kind == core.OverrideDrain:
		return core.StateDrain
	case b.window != nil || b.agentAdmin() == core.AdminMaint:
		return core.StateMaint
	}
	return core.StateDrain
}

// drainedText says who wants a backend drained and why; empty if nobody does.
func (b *backend) drainedText() string {
	switch {
	case b.override != nil && b.override.Kind == core.OverrideDrain:
		return b.override.String()
	case b.window != nil:
		return b.window.note
	case b.agentAdmin() != "":
		return b.saidText()
	}
	return ""
}

// drainedNote is drainedText behind the word drained.
func (b *backend) drainedNote() string {
	if b.override != nil && b.override.Kind == core.OverrideDrain {
		return b.override.Who()
	}
	return b.drainedText()
}
