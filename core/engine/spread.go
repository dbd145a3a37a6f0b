// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"maps"
	"time"
)

// A reading for a target that many backends match costs the event loop as much as one
// for each of them, which is not what its monitor was counted for on the bus. So each
// monitor has some such work a second: 30,000 backends, and twice that at once, with one
// metric or a few. That takes 5 ms, or 10.
const (
	spreadRate    = 30_000.0
	spreadBurst   = 2 * spreadRate
	spreadSources = 1024
)

// spreads are what monitors have left, by source.
type spreads map[string]spread

type spread struct {
	left float64
	at   time.Time
}

func (s spread) filled(now time.Time) spread {
	return spread{min(s.left+max(0, now.Sub(s.at).Seconds())*spreadRate, spreadBurst), now}
}

// allow takes what a reading of so many metrics costs that goes to backends, and reports
// whether there was any left. What goes to one costs nothing here.
func (all spreads) allow(source string, backends, metrics int, now time.Time) bool {
	if backends < 2 {
		return true
	}
	s, known := all[source]
	if !known {
		if len(all) >= spreadSources {
			maps.DeleteFunc(all, func(_ string, s spread) bool { return s.filled(now).left >= spreadBurst })
		}
		if len(all) >= spreadSources {
			return false
		}
		s = spread{spreadBurst, now}
	}
	const perUnit = 8 // metrics that nobody reads cost about an eighth of the first
	s = s.filled(now)
	ok := s.left > 0
	if ok {
		s.left -= float64(backends) * (1 + float64(metrics)/perUnit)
	}
	all[source] = s
	return ok
}
