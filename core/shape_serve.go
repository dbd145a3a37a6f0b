// SPDX-License-Identifier: Apache-2.0

package core

import "fmt"

// wanted reports whether a backend is one to serve while it is well.
func (b ShapeBackend) wanted() bool { return b.Weight > 0 && !b.Drained && !b.Sorry }

// able reports whether a backend can take its part now.
func (b ShapeBackend) able() bool { return b.wanted() && b.Health == Up && !b.Full }

// whoServes finds the eligible; false if the shares are settled without them: in
// a panic, by a sorry server, or because nobody is left.
func (s *shaper) whoServes() bool {
	s.drained()
	last := s.lastGroup()
	s.reserve(last)
	if s.panicking(last) {
		s.sorry(false)
		return false
	}
	s.full(last)
	s.sorry(len(s.eligible) == 0)
	return len(s.eligible) > 0
}

// drained notes whom an operator took out.
func (s *shaper) drained() {
	for i, b := range s.in {
		if !b.Drained {
			continue
		}
		text := "drained"
		if b.DrainedNote != "" {
			text += ": " + b.DrainedNote
		}
		s.note(i, "drain", b.Prev, text)
	}
}

// lastGroup is the highest priority that serves: the first by which minUp
// backends are able, or else the highest there is.
func (s *shaper) lastGroup() uint8 {
	var able [256]int
	for _, b := range s.in {
		if b.able() {
			able[b.Priority]++
		}
	}
	sum := 0
	for p := range able { // without a copy of it
		if sum += able[p]; sum >= s.minUp {
			return uint8(p)
		}
	}
	return 255
}

// reserve notes who is well and not needed.
func (s *shaper) reserve(last uint8) {
	for i, b := range s.in {
		if b.Priority > last && b.wanted() && b.Health == Up {
			s.note(i, "priority", b.Prev, "in reserve: "+s.groupText(0, last))
		}
	}
}

// standIns notes who serves for want of enough backends of lower priorities.
func (s *shaper) standIns() {
	for _, i := range s.eligible {
		if p := s.in[i].Priority; p > 0 {
			if text := s.groupText(0, p-1); text != "" {
				s.note(i, "priority", s.share[i], "stands in: "+text)
			}
		}
	}
}

// groupText is such as "1 of 2 backends of priority 0 is up, 1 is needed"; empty
// if there are no backends from priority first to last.
func (s *shaper) groupText(first, last uint8) string {
	var able, all, full int
	lo, hi := last, first
	for _, b := range s.in {
		if b.Priority < first || b.Priority > last || !b.wanted() {
			continue
		}
		lo, hi = min(lo, b.Priority), max(hi, b.Priority)
		all++
		if b.able() {
			able++
		} else if b.Health == Up {
			full++
		}
	}
	if all == 0 {
		return ""
	}
	groups := fmt.Sprintf("priority %d", lo)
	if lo < hi {
		groups = fmt.Sprintf("priorities %d to %d", lo, hi)
	}
	text := fmt.Sprintf("%d of %d backends of %s %s up", able, all, groups, are(able))
	if full > 0 {
		text += " and not full"
	}
	if able < all {
		text += fmt.Sprintf(", %d %s needed", s.minUp, are(s.minUp))
	}
	return text
}

func are(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

// panicking shares among all backends of the serving groups, up or not, full or
// not, when too few are up. With none up there is nobody to panic for: the service
// is empty. With others in reserve there is no need: they are no worse than the dead.
func (s *shaper) panicking(last uint8) bool {
	var up, all int
	var sum float64
	for _, b := range s.in {
		switch {
		case !b.wanted():
			continue
		case b.Priority > last:
			if b.able() {
				return false
			}
			continue
		case b.Health == Up:
			up++
		}
		all++
		sum += float64(b.Weight)
	}
	if up == 0 || float64(up) >= s.rules.Panic*float64(all) {
		return false
	}
	for i, b := range s.in {
		if b.wanted() && b.Priority <= last {
			s.share[i] = float64(b.Weight) / sum
			s.note(i, "panic", b.Prev, fmt.Sprintf("only %d of %d backends are up, fewer than %.0f %%", up, all, 100*s.rules.Panic))
		}
	}
	return true
}

// full makes eligible who is able, or, if nobody is, all that are up: to turn
// clients away is never our answer to a limit.
func (s *shaper) full(last uint8) {
	all := true
	for _, b := range s.in {
		all = all && !b.able()
	}
	for i, b := range s.in {
		if !b.wanted() || b.Health != Up || b.Priority > last {
			continue
		}
		if all || !b.Full {
			s.eligible = append(s.eligible, i)
			s.total += float64(b.Weight)
		}
		switch {
		case all:
			s.note(i, "full", b.Prev, "full like all others, and serves on: "+b.fullText())
		case b.Full:
			s.note(i, "full", b.Prev, "full: "+b.fullText())
		}
	}
}

func (b ShapeBackend) fullText() string {
	if b.MaxConnections == 0 {
		return "at its limit"
	}
	return fmt.Sprintf("%d of %d connections", b.Open, b.MaxConnections)
}

// sorry shares among the sorry servers by configured weight, if nobody else is
// left. Nobody probes them, so one is well unless it is known to be down.
func (s *shaper) sorry(alone bool) {
	serves := func(b ShapeBackend) bool { return b.Sorry && b.Weight > 0 && !b.Drained && b.Health != Down }
	var sum float64
	for _, b := range s.in {
		if serves(b) {
			sum += float64(b.Weight)
		}
	}
	for i, b := range s.in {
		switch {
		case !serves(b):
		case alone:
			s.share[i] = float64(b.Weight) / sum
			s.note(i, "sorry", b.Prev, "sorry server: no backend is left")
		default:
			s.note(i, "sorry", b.Prev, "sorry server: in wait")
		}
	}
}

// Full reports whether a backend has as many open connections as it may have,
// given whether it had at the look before: from limit on, until there is room for
// a tenth of it. A limit of 0 is none.
func Full(was bool, open uint64, limit uint32) bool {
	if was {
		return 10*open >= 9*uint64(limit) && limit > 0
	}
	return open >= uint64(limit) && limit > 0
}
