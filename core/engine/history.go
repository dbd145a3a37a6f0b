// SPDX-License-Identifier: Apache-2.0

package engine

import "time"

// historyLen times meterEvery is how far back a window may begin: 64 s.
const historyLen = 128

// A history is how many closed connections conntrack had counted for a backend
// at recent times, so that closed connections per second can be had over just
// the window that a CPU sample speaks of. Comparing rates of different windows
// alone makes the shares swing (see RATIONALE.md, "Why the same window?").
type history struct {
	points [historyLen]point
	n      int // points ever added
}

// A point is the count at a time.
type point struct {
	at     int64 // Unix nanoseconds
	closed uint64
}

// continues reports whether a count can follow the latest point: counts begin
// anew when the VIP of the service changes, and a clock may be set back.
func (h *history) continues(at time.Time, closed uint64) bool {
	if h.n == 0 {
		return true
	}
	latest := h.points[(h.n-1)%historyLen]
	return at.UnixNano() > latest.at && closed >= latest.closed
}

func (h *history) add(at time.Time, closed uint64) {
	h.points[h.n%historyLen] = point{at.UnixNano(), closed}
	h.n++
}

// begin is the time of the oldest point.
func (h *history) begin() time.Time {
	return time.Unix(0, h.points[max(0, h.n-historyLen)%historyLen].at)
}

// between is how many connections were closed from one time to another, by linear
// interpolation between points; false if the history does not reach back that far.
func (h *history) between(from, to time.Time) (closed float64, ok bool) {
	if h == nil || !to.After(from) {
		return 0, false
	}
	k, f, ok := h.find(from.UnixNano())
	if !ok {
		return 0, false
	}
	l, g, _ := h.find(to.UnixNano())
	return h.sum(k, f, l, g), true
}

// find returns the point k at or before a time and how far the time is on the
// way to the next one, 0 to 1.
func (h *history) find(t int64) (k int, f float64, ok bool) {
	for k = h.n - 2; k >= max(0, h.n-historyLen); k-- {
		a, b := h.points[k%historyLen].at, h.points[(k+1)%historyLen].at
		if t < a {
			continue
		}
		if b > a {
			f = min(1, float64(t-a)/float64(b-a))
		}
		return k, f, true
	}
	return 0, 0, false
}

// sum is the count from point k and fraction f to point l and fraction g.
func (h *history) sum(k int, f float64, l int, g float64) float64 {
	closed := func(i int) uint64 { return h.points[i%historyLen].closed }
	step := func(i int) float64 { return float64(closed(i+1) - closed(i)) }
	return float64(closed(l)-closed(k)) - f*step(k) + g*step(l)
}
