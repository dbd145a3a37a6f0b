// SPDX-License-Identifier: Apache-2.0

package core

import (
	"fmt"
	"time"
)

// An Ejection follows what becomes of the connections of clients to one backend, and
// takes it out for a while by a PassiveRule. The zero value is ready. There is one
// only for a backend that had a connection go wrong.
type Ejection struct {
	unansweredFrom, refusedFrom uint32 // the rows that count for nothing any more

	code  Code // of the ejection in force; empty if there is none
	until time.Time
	times int       // how often it was ejected of late; makes the time longer
	nth   int       // the same, to be told
	row   uint32    // of connections that led to it
	ended time.Time // of the one before
}

// Look takes the rows of connections that went wrong, as a FlowCount has them, and
// reports whether they are long enough for the backend to be ejected, and for what.
func (x *Ejection) Look(r PassiveRule, unanswered, refused uint32) (Code, uint32, bool) {
	unanswered, refused = since(&x.unansweredFrom, unanswered), since(&x.refusedFrom, refused)
	switch {
	case x.Out():
	case r.Resets > 0 && int64(refused) >= int64(r.Resets):
		return PassiveReset, refused, true
	case r.Unanswered > 0 && int64(unanswered) >= int64(r.Unanswered):
		return PassiveSYN, unanswered, true
	}
	return "", 0, false
}

// since is how much longer a row is than it was at from. A row that is shorter has
// been ended by a connection that went well.
func since(from *uint32, row uint32) uint32 {
	if row < *from {
		*from = 0
	}
	return row - *from
}

// Forget has the rows up to now count for nothing: they are of a time when the
// backend was not up.
func (x *Ejection) Forget(unanswered, refused uint32) {
	x.unansweredFrom, x.refusedFrom = unanswered, refused
}

// Eject takes the backend out: Eject times the number of ejections of late, up to
// Max. Each Max that passes without one makes it one less.
func (x *Ejection) Eject(r PassiveRule, code Code, row uint32, now time.Time) {
	longest := max(r.Max, r.Eject)
	x.times -= quiet(x.ended, now, longest, x.times)
	if x.lasts(r) < longest || x.times == 0 { // more would only take longer to forget
		x.times++
	}
	if x.nth++; x.times == 1 {
		x.nth = 1
	}
	x.code, x.row = code, row
	x.until = now.Add(x.lasts(r))
}

func (x *Ejection) lasts(r PassiveRule) time.Duration {
	longest := max(r.Max, r.Eject)
	if r.Eject <= 0 || time.Duration(x.times) > longest/r.Eject {
		return longest
	}
	return time.Duration(x.times) * r.Eject
}

// Out reports whether it is ejected.
func (x *Ejection) Out() bool { return x != nil && x.code != "" }

// Until is when clients are sent there again.
func (x *Ejection) Until() time.Time { return x.until }

// End lets the backend in again.
func (x *Ejection) End(now time.Time) { x.code, x.ended = "", now }

// Code is why it is out.
func (x *Ejection) Code() Code { return x.code }

// Note says why and for how long it is out.
func (x *Ejection) Note(r PassiveRule) string {
	what := "unanswered"
	if x.code == PassiveReset {
		what = "refused"
	}
	return fmt.Sprintf("%d connections in a row %s; ejected for %s (%s time)", x.row, what, plain(x.lasts(r)), ordinal(x.nth))
}

// Room is how many of n backends may be ejected at one time.
func (r PassiveRule) Room(n int) int { return max(1, int(r.MaxRatio*float64(n))) }
