// SPDX-License-Identifier: Apache-2.0

package engine

import "time"

// tallyLen readings reach back over three intervals, about 6 s: rates that are
// steady enough to read and still of now.
const tallyLen = 4

// A tally holds the latest readings of a counter of the kernel, for its rate.
type tally struct {
	points [tallyLen]struct {
		at time.Time
		n  uint64
	}
	count int // ever added
}

// add takes a reading and returns the rate per second over those at hand; a zero
// reading if there is nothing to compare with. A counter that fell has begun anew.
func (t *tally) add(at time.Time, n uint64) reading {
	if t.count > 0 {
		if last := t.points[(t.count-1)%tallyLen]; n < last.n || !at.After(last.at) {
			*t = tally{}
		}
	}
	p := &t.points[t.count%tallyLen]
	p.at, p.n = at, n
	t.count++
	first := t.points[max(0, t.count-tallyLen)%tallyLen]
	window := at.Sub(first.at)
	if window <= 0 {
		return reading{}
	}
	return reading{value: float64(n-first.n) / window.Seconds(), at: at, window: window}
}
