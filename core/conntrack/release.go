// SPDX-License-Identifier: Apache-2.0

package conntrack

import "github.com/steelyard-lb/steelyard/core"

// setFates lays the fates out by the backends of the table's index.
func (l *loop) setFates(fates map[core.BackendID]fate) {
	l.fates = nil
	if len(fates) == 0 {
		return // nothing to look up for every event
	}
	l.fates = make([]fate, len(l.table.index.backends))
	for id, f := range fates {
		if span, ok := l.table.index.spans[id]; ok {
			l.fates[span.backend] = f
		}
	}
}

// judgeLocked marks the connection of a message for removal if its backend is
// idle and has reset it, or is down. rule is what the table said of the message.
func (l *loop) judgeLocked(rule uint32, m *message) {
	if m.wasReset() && m.kind == updated {
		if i, ok := l.table.index.find(m); ok {
			rule = i
		}
	}
	if rule == none {
		return
	}
	f := l.fates[l.table.index.backend[rule]]
	switch {
	case f.down.covers(l.table.index.rules[rule].protocol):
		l.stats.Removed++
	case f.idle && m.wasReset():
		l.stats.Released++
	default:
		return
	}
	l.removals.add(m)
}

// remove carries out what judgeLocked has marked. It does not wait.
func (l *loop) remove() { l.removals.flush() }
