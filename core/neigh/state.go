// SPDX-License-Identifier: Apache-2.0

package neigh

import (
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// asks are made in rounds of at most askBatch, askPause apart: 1,000 a second.
	askBatch = 20
	askPause = 20 * time.Millisecond
)

// A state is everything a Table knows. It has no clock and does no I/O.
type state struct {
	verify  time.Duration
	links   map[int]link
	entries map[netip.Addr]*entry
	sorted  []*entry     // by address
	dirty   int          // how many of them are
	queue   []netip.Addr // who was due when it was last filled and was not asked since
	changed bool         // a Hop is another one than when this was last set to false
}

func newState(verify time.Duration) state {
	return state{verify: verify, links: map[int]link{}, entries: map[netip.Addr]*entry{}}
}

// watch replaces the addresses and reports whether one is new.
func (s *state) watch(addrs []netip.Addr) (added bool) {
	old := s.entries
	s.entries, s.sorted, s.dirty = make(map[netip.Addr]*entry, len(addrs)), nil, 0
	for _, a := range addrs {
		if s.entries[a] != nil {
			continue
		}
		e := old[a]
		if e == nil {
			e, added = &entry{addr: a, dirty: true}, true
			e.settle(s.links, time.Time{})
		}
		if e.dirty {
			s.dirty++
		}
		s.entries[a] = e
		s.sorted = append(s.sorted, e)
	}
	for a, e := range old {
		s.changed = s.changed || s.entries[a] == nil && e.hop.Device != ""
	}
	slices.SortFunc(s.sorted, func(a, b *entry) int { return a.addr.Compare(b.addr) })
	return added
}

// take takes over an event.
func (s *state) take(m *message, now time.Time) {
	switch m.kind {
	case aboutNeighbour:
		if e := s.entries[m.neighbour.addr]; e != nil {
			e.see(m.neighbour, m.gone, now)
			s.settle(e, now)
		}
	case aboutLink:
		s.takeLink(m.link, m.gone, now)
	case aboutRoute:
		s.markWithin(m.route.dst)
	case aboutRule:
		s.markAll()
	}
}

// takeLink looks at every route anew if the link changed in a way that matters:
// routes that go because of their link are not announced.
func (s *state) takeLink(l link, gone bool, now time.Time) {
	before, known := s.links[l.index]
	switch {
	case gone && known:
		delete(s.links, l.index)
	case gone || known && before == l:
		return
	default:
		s.links[l.index] = l
	}
	s.markAll()
	s.settleAll(now)
}

// replaceAll takes over a whole reading.
func (s *state) replaceAll(links, neighbours []message, now time.Time) {
	clear(s.links)
	for _, m := range links {
		s.links[m.link.index] = m.link
	}
	for _, e := range s.sorted {
		e.near = e.near[:0]
	}
	for _, m := range neighbours {
		if e := s.entries[m.neighbour.addr]; e != nil {
			e.see(m.neighbour, false, now)
		}
	}
	s.markAll()
	s.settleAll(now)
}

func (s *state) mark(e *entry) {
	if !e.dirty {
		e.dirty = true
		s.dirty++
	}
}

func (s *state) markAll() {
	for _, e := range s.sorted {
		s.mark(e)
	}
}

// markWithin marks the addresses that a route to p may be for.
func (s *state) markWithin(p netip.Prefix) {
	i, _ := slices.BinarySearchFunc(s.sorted, p.Masked().Addr(), func(e *entry, a netip.Addr) int { return e.addr.Compare(a) })
	for ; i < len(s.sorted) && p.Contains(s.sorted[i].addr); i++ {
		s.mark(s.sorted[i])
	}
}

// unrouted are the addresses to ask for.
func (s *state) unrouted() []netip.Addr {
	list := make([]netip.Addr, 0, s.dirty)
	for _, e := range s.sorted {
		if e.dirty {
			list = append(list, e.addr)
		}
	}
	return list
}

// routed takes over the answers.
func (s *state) routed(addrs []netip.Addr, answers []answer, now time.Time) {
	for i, a := range addrs {
		e := s.entries[a]
		if e == nil {
			continue // not watched any more
		}
		if e.route.route.device != answers[i].route.device {
			e.asked = time.Time{} // nobody was asked there
		}
		e.route = answers[i]
		if e.dirty {
			e.dirty = false
			s.dirty--
		}
		s.settle(e, now)
	}
}

// due says whom to ask now, and when to look again: the zero time if not before
// something happens. Who has waited longest goes first.
func (s *state) due(now time.Time) (asks []ask, again time.Time) {
	if len(s.queue) == 0 {
		again = s.fill(now)
	}
	for len(s.queue) > 0 && len(asks) < askBatch {
		e := s.entries[s.queue[0]]
		s.queue = s.queue[1:]
		if e == nil {
			continue // not watched any more
		}
		if at, a := e.next(s.links, s.verify); !at.IsZero() && !at.After(now) {
			asks = append(asks, a)
			e.asked = now
		}
	}
	if len(asks) > 0 {
		again = now // to see when these are due again, or to go on
	}
	return asks, earliest(again, s.expire(now))
}

// fill queues all that are due, and says when the next one will be.
func (s *state) fill(now time.Time) (next time.Time) {
	type waiting struct {
		since time.Time
		addr  netip.Addr
	}
	var list []waiting
	for _, e := range s.sorted {
		if at, _ := e.next(s.links, s.verify); at.After(now) {
			next = earliest(next, at)
		} else if !at.IsZero() {
			list = append(list, waiting{at, e.addr})
		}
	}
	slices.SortFunc(list, func(a, b waiting) int { return a.since.Compare(b.since) })
	s.queue = s.queue[:0]
	for _, w := range list {
		s.queue = append(s.queue, w.addr)
	}
	return next
}

// expire ends the graces that are over, and says when the next one will be.
func (s *state) expire(now time.Time) (next time.Time) {
	for _, e := range s.sorted {
		if e.until.IsZero() {
			continue
		}
		if !now.Before(e.until) {
			s.settle(e, now)
		}
		next = earliest(next, e.until)
	}
	return next
}

// earliest is the earlier of two times; the zero time is never.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// asked takes over what the kernel said to a round of asks.
func (s *state) asked(asks []ask, refused []unix.Errno, now time.Time) {
	for i, a := range asks {
		if e := s.entries[a.addr]; e != nil {
			e.answered(a, refused[i])
			s.settle(e, now)
		}
	}
}

func (s *state) settle(e *entry, now time.Time) {
	s.changed = e.settle(s.links, now) || s.changed
}

func (s *state) settleAll(now time.Time) {
	for _, e := range s.sorted {
		s.settle(e, now)
	}
}
