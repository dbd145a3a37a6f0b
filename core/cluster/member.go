// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

const (
	// presenceEvery is how often a node says that it is there; jitter keeps nodes that
	// began together from speaking together.
	presenceEvery  = 250 * time.Millisecond
	presenceJitter = 25 * time.Millisecond
	// silentAfter is when a node that is not heard of loses its services: three words
	// in a row may be lost. probesAfter is when it loses its targets and its verdicts,
	// which takes longer, since whoever takes them over must ask them all anew.
	silentAfter = time.Second
	probesAfter = 3 * time.Second
	// settleAfter is for how long a node must be there until it takes services and
	// targets over, by its own view; settledSlack is by how much later others see it so,
	// so that they let go after it took over, and not before.
	settleAfter  = 2 * time.Second
	settledSlack = 500 * time.Millisecond
	// forgetAfter is when a node that is gone is shown no longer.
	forgetAfter = 24 * time.Hour
	// twinWords is how many words of an instance must come while a later one is heard
	// until two nodes have one name. That is longer than it takes to find one silent, so
	// it is neither a late word nor a restart with the clock set back.
	twinWords = 8
)

// A member is another node, as it was heard.
type member struct {
	said  core.Presence // the latest
	heard time.Time
	// since is when its unbroken life began, for us; zero if it was there when ours did.
	since time.Time
	// settled is from when it may take over.
	settled time.Time
	up      bool // at the last look
	clock   clock

	former string // the instance before said.Inst
	twins  int    // words of others since said.Inst was first heard
	twin   twin
}

// A twin is another node that has the same name.
type twin struct{ heard time.Time }

// there reports whether it was heard of lately.
func (t twin) there(now time.Time) bool {
	return !t.heard.IsZero() && now.Sub(t.heard) <= probesAfter
}

// left reports whether the node has said that it ends.
func (m *member) left() bool { return m.said.Leaving }

// outlived reports whether a word is of an instance that another has followed, which is
// still heard.
func (m *member) outlived(p *core.Presence, now time.Time) bool {
	return p.Inst != m.said.Inst && m.within(silentAfter, now) &&
		(p.Inst == m.former || p.StartedAt.Before(m.said.StartedAt))
}

// within reports whether the node was heard of lately.
func (m *member) within(limit time.Duration, now time.Time) bool {
	return !m.left() && now.Sub(m.heard) <= limit
}

// state is how the node is shown.
func (m *member) state(now time.Time) core.MemberState {
	switch {
	case m.left():
		return core.MemberLeft
	case !m.within(silentAfter, now):
		return core.MemberSilent
	case m.said.Suspects:
		return core.MemberSuspects
	}
	return core.MemberLive
}

// clockWindow is how long a difference of clocks is remembered, at least; after twice
// as long a clock that was set is known anew.
const clockWindow = 30 * time.Second

// A clock is how far the clock of another node is ahead of ours. Each word tells it, less
// the time it took; the quickest one tells it best.
type clock struct {
	last, best time.Duration // of the window before, and of this one
	begun      time.Time
	full       bool // there is a window before
}

// add takes the difference that one word showed.
func (c *clock) add(ahead time.Duration, now time.Time) {
	switch {
	case c.begun.IsZero():
		c.begun, c.best = now, ahead
	case now.Sub(c.begun) >= clockWindow:
		c.last, c.full = c.best, true
		c.begun, c.best = now, ahead
	default:
		c.best = max(c.best, ahead)
	}
}

// ahead is the best estimate.
func (c *clock) ahead() time.Duration {
	if c.full {
		return max(c.last, c.best)
	}
	return c.best
}
