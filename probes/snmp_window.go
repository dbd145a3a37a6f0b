// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"time"
)

// The counters of UCD-SNMP-MIB that add up to a machine's time, in ticks of
// 1/100 s over all cores. Guest time is left out: Linux has counted it in user
// already.
const (
	tickUser = iota
	tickNice
	tickSystem
	tickIdle
	tickWait
	tickInterrupt
	tickSoftIRQ
	tickSteal
	tickKinds
)

// ticksPerSecond is fixed by the MIB, whatever the agent's kernel counts in.
const ticksPerSecond = 100

// maxStepBack is how far a counter may go back without being a reset. Linux
// corrects iowait and idle downwards now and then, by a few ticks.
const maxStepBack = 1000

// tolerance is how far the counters may be from cores × time, as a ratio.
const tolerance = 0.5

// maxSlack bounds the time by which the counters may also be ahead: we may see
// one refresh late and a later one at once, so that two refreshes seem to lie
// between two polls that are one refresh apart. 5 s is net-snmp's. Without it,
// one poll in 250 of a healthy agent is taken for a reset (simulated: polls
// every 5 s ± 10 %, a window of 10 s).
const maxSlack = 5 * time.Second

// A cpuCounters is one answer of an agent.
type cpuCounters struct {
	ticks  [tickKinds]uint32 // Counter32: they wrap
	cores  int               // 0 means that the agent does not say
	uptime uint32            // of the agent, 1/100 s; means nothing unless hasUptime
	// hasUptime is false for agents that hide sysUpTime.
	hasUptime bool
}

// A cpuReading is the busy share between two answers.
type cpuReading struct {
	busy   float64 // ratio, 0 to 1
	window time.Duration
	at     time.Time // when the later answer was first seen
}

// A cpuWindow turns an agent's answers into readings. It is pure arithmetic:
// the caller brings the time.
type cpuWindow struct {
	length       time.Duration // wished for; the first readings are over less
	expire       time.Duration // past which an old answer is no base any more
	excludeSteal bool
	includeWait  bool

	history []cpuAnswer // changed answers, oldest first; the first is the base
	latest  cpuReading
	known   bool          // whether latest means something
	refresh time.Duration // estimated time between two changes; 0 before the second
	changes int           // that were seen since the start, 2 at most
}

type cpuAnswer struct {
	cpuCounters
	at time.Time
}

// add takes an answer that came at the given time. It returns why there is no
// reading (yet), or "" when w.latest holds one.
//
// An agent refreshes its counters every few seconds only, so an answer equal
// to the one before is no news, not an idle machine; and it starts out with
// zeros, which are no counters.
func (w *cpuWindow) add(c cpuCounters, at time.Time) string {
	if c.ticks == [tickKinds]uint32{} {
		w.restart()
		return "the agent has just started and shows zeros"
	}
	why := "one answer so far"
	if n := len(w.history); n > 0 {
		last := w.history[n-1]
		switch {
		case c.hasUptime && last.hasUptime && c.uptime < last.uptime:
			w.restart()
			why = "the agent was restarted"
		case c.ticks == last.ticks:
			w.history[n-1].uptime = c.uptime // it must not go back from here
			if w.known {
				return ""
			}
			return "the counters have not moved yet"
		case jumpedBack(last.ticks, c.ticks):
			w.restart()
			why = "the counters went back"
		default:
			w.see(at.Sub(last.at))
		}
	}
	w.history = append(w.history, cpuAnswer{c, at})
	w.choose()
	if len(w.history) == 1 {
		w.known = false
		return why
	}
	return w.measure()
}

func (w *cpuWindow) restart() {
	w.history, w.known, w.refresh, w.changes = nil, false, 0, 0
}

// see learns from the time between two changes. Every change counts for a
// third, so that one missed refresh does not double the estimate for long. The first
// spacing begins where we began to look, somewhere within a refresh, so it is a guess.
func (w *cpuWindow) see(spacing time.Duration) {
	if w.changes < 2 {
		w.refresh = spacing
		w.changes++
	}
	w.refresh += (spacing - w.refresh) / 3
}

// choose makes the answer whose distance from the newest is nearest to the
// wished length the base, and forgets the older ones: they will never be
// nearer again.
func (w *cpuWindow) choose() {
	n := len(w.history)
	newest := w.history[n-1].at
	base, miss := n-1, time.Duration(-1)
	for i, a := range w.history[:n-1] {
		age := newest.Sub(a.at)
		if age > w.expire {
			continue
		}
		if d := (age - w.length).Abs(); miss < 0 || d < miss {
			base, miss = i, d
		}
	}
	w.history = append(w.history[:0], w.history[base:]...)
}

// slack is by how much time the counters may be ahead. While the refresh is a guess
// it may be anything that an agent does.
func (w *cpuWindow) slack() time.Duration {
	if w.changes < 2 {
		return maxSlack
	}
	return min(w.refresh, maxSlack)
}

// measure computes the reading from the base to the newest answer.
func (w *cpuWindow) measure() string {
	base, last := w.history[0], w.history[len(w.history)-1]
	d := delta(base.ticks, last.ticks)
	var total uint64
	for _, t := range d {
		total += t
	}
	elapsed := last.at.Sub(base.at)
	if last.cores > 0 {
		perSecond := float64(last.cores) * ticksPerSecond
		expected := perSecond * elapsed.Seconds()
		ahead := float64(total) - expected
		if ahead < -tolerance*expected || ahead > max(tolerance*expected, perSecond*w.slack().Seconds()) {
			w.restart()
			w.history = append(w.history, last)
			return "the counters moved by more or less than the cores and the time allow"
		}
		// The counters are the better clock: they span exactly what they count,
		// while we see each change late by up to an interval.
		elapsed = time.Duration(total) * (time.Second / ticksPerSecond) / time.Duration(last.cores)
	}
	busy, idle := w.split(d)
	if busy+idle == 0 {
		return "only stolen time has passed"
	}
	w.latest = cpuReading{float64(busy) / float64(busy+idle), elapsed, last.at}
	w.known = true
	if w.changes == 1 {
		w.refresh = elapsed // a guess, but one by the better clock
	}
	return ""
}

// split adds up the busy and the idle ticks.
func (w *cpuWindow) split(d [tickKinds]uint64) (busy, idle uint64) {
	busy = d[tickUser] + d[tickNice] + d[tickSystem] + d[tickInterrupt] + d[tickSoftIRQ]
	idle = d[tickIdle]
	if !w.excludeSteal {
		busy += d[tickSteal]
	}
	if w.includeWait {
		busy += d[tickWait]
	} else {
		idle += d[tickWait]
	}
	return busy, idle
}

// jumpedBack reports a reset: a counter went back by more than a correction.
// A wrap is a step forward in uint32 arithmetic.
func jumpedBack(from, to [tickKinds]uint32) bool {
	for i := range from {
		if int32(to[i]-from[i]) < -maxStepBack {
			return true
		}
	}
	return false
}

// delta is how far each counter moved, wraps included. A small step back is no
// movement.
func delta(from, to [tickKinds]uint32) (d [tickKinds]uint64) {
	for i := range from {
		if step := to[i] - from[i]; int32(step) > 0 {
			d[i] = uint64(step)
		}
	}
	return d
}
