// SPDX-License-Identifier: Apache-2.0

package core

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Covers reports whether the window is about a backend. In Backends a * stands for
// every service or every backend.
func (m Maintenance) Covers(id BackendID) bool {
	return slices.ContainsFunc(m.Backends, func(s string) bool {
		svc, be, _ := strings.Cut(s, "/")
		return (svc == "*" || svc == id.Service) && (be == "*" || be == id.Backend)
	})
}

// In reports whether t lies in the window, and until when that goes on.
//
// A window that comes again begins and ends when a clock on the wall of its zone
// says so. A time of day that a change of the clock leaves out is the moment of that
// change; of one that comes twice the window begins at the first and ends at the
// second, so that none is ever cut short.
func (m Maintenance) In(t time.Time) (until time.Time, in bool) {
	if !m.weekly() {
		return m.End, !t.Before(m.Start) && t.Before(m.End)
	}
	m.around(t, func(begin, end time.Time) {
		if !t.Before(begin) && t.Before(end) && end.After(until) {
			until, in = end, true
		}
	})
	return until, in
}

// Next is the next time after t at which a window begins or ends; zero if there is
// none.
func (m Maintenance) Next(t time.Time) (next time.Time) {
	note := func(at time.Time) {
		if at.After(t) && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	if !m.weekly() {
		note(m.Start)
		note(m.End)
		return next
	}
	m.around(t, func(begin, end time.Time) {
		note(begin)
		note(end)
	})
	return next
}

// weekly reports whether it comes again.
func (m Maintenance) weekly() bool { return m.Start.IsZero() && m.End.IsZero() }

// around calls f for the windows that begin from the day before t to the same day of
// the week after.
func (m Maintenance) around(t time.Time, f func(begin, end time.Time)) {
	loc := m.location()
	year, month, day := t.In(loc).Date()
	for k := -1; k <= 8; k++ {
		// Noon, which every day has.
		noon := time.Date(year, month, day+k, 12, 0, 0, 0, loc)
		if len(m.Days) > 0 && !slices.Contains(m.Days, noon.Weekday()) {
			continue
		}
		over := 0
		if m.To <= m.From {
			over = 1
		}
		begin := onTheWall(year, month, day+k, m.From, loc, false)
		if end := onTheWall(year, month, day+k+over, m.To, loc, true); end.After(begin) {
			f(begin, end)
		}
	}
}

// location is that of Zone. The configuration has checked that there is one.
func (m Maintenance) location() *time.Location {
	if m.Zone == "" {
		return time.Local
	}
	if loc, err := time.LoadLocation(m.Zone); err == nil {
		return loc
	}
	return time.Local
}

// onTheWall is when a clock on the wall of loc shows a time since midnight of a day:
// the first such time, or the last.
func onTheWall(year int, month time.Month, day int, since time.Duration, loc *time.Location, last bool) time.Time {
	midnight := time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
	want := midnight.Add(since)
	at := time.Date(want.Year(), want.Month(), want.Day(), want.Hour(), want.Minute(), want.Second(), want.Nanosecond(), loc)
	_, offset := at.Zone()
	from, to := at.ZoneBounds()
	switch shown := at.Add(time.Duration(offset) * time.Second).UTC(); {
	case shown.Before(want): // left out, and taken for earlier
		return to
	case shown.After(want):
		return from
	case last && !to.IsZero():
		if back := offset - offsetAt(to); back > 0 && !at.Add(time.Duration(back)*time.Second).Before(to) {
			return at.Add(time.Duration(back) * time.Second)
		}
	case !last && !from.IsZero():
		if back := offsetAt(from.Add(-1)) - offset; back > 0 && at.Add(-time.Duration(back)*time.Second).Before(from) {
			return at.Add(-time.Duration(back) * time.Second)
		}
	}
	return at
}

// offsetAt is the offset of t's zone from UTC at t, in seconds.
func offsetAt(t time.Time) int {
	_, offset := t.Zone()
	return offset
}

// Note is such as "maintenance kernel-updates: kernel update, until 04:00", for one
// who reads it at now.
func (m Maintenance) Note(until, now time.Time) string {
	text := "maintenance " + m.Name
	if m.Reason != "" {
		text += ": " + m.Reason
	}
	loc := m.location()
	layout := "15:04"
	if until.Sub(now) >= 24*time.Hour {
		layout = "2006-01-02 15:04"
	}
	return fmt.Sprintf("%s, until %s", text, until.In(loc).Format(layout))
}
