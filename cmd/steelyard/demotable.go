// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

const (
	demoRecent = 5 * time.Second // over which the table's client columns are computed
	demoPlain  = 5 * time.Second // between two lines where there is no terminal
)

// A demoScreen shows the log while it grows: a table that is drawn again in
// place on a terminal, a line now and then elsewhere.
type demoScreen struct {
	out      io.Writer
	terminal bool
	paint    painter
	lines    int       // of the table on the screen, to go back over
	next     time.Time // of the next plain line
}

// say prints a line that stays.
func (s *demoScreen) say(format string, args ...any) {
	s.lines = 0 // the table above stays as it is
	fmt.Fprintf(s.out, format+"\n", args...)
}

// draw shows the present state.
func (s *demoScreen) draw(l *demoLog, now, end time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.views) == 0 || len(l.phases) == 0 {
		return
	}
	if !s.terminal {
		if now.Before(s.next) {
			return
		}
		s.next = now.Add(demoPlain)
		fmt.Fprintln(s.out, l.lineLocked(now))
		return
	}
	var b bytes.Buffer
	l.tableLocked(&b, now, end, s.paint)
	back := ""
	if s.lines > 0 {
		back = fmt.Sprintf("\x1b[%dA\x1b[J", s.lines)
	}
	s.lines = bytes.Count(b.Bytes(), []byte("\n"))
	// Lines that are too long are cut, not wrapped: the way back counts lines.
	fmt.Fprintf(s.out, "%s\x1b[?7l%s\x1b[?7h", back, &b)
}

// tableLocked writes the table and the line about the client.
func (l *demoLog) tableLocked(out io.Writer, now, end time.Time, p painter) {
	phase := len(l.phases) - 1
	recent := demoSpan{From: now.Add(-demoRecent)}
	latencies, failed := l.requests(recent)
	parts, n := shares(latencies)
	view := l.views[len(l.views)-1]
	t := &table{columns: []column{{"BACKEND", false}, {"STATE", false}, {"CAPACITY", true}, {"SHARE", true}, {"CONNECTIONS", true},
		{"CPU", true}, {"RESPONSE", true}, {"OPEN", true}, {"WHY", false}}}
	for i, be := range demoBackends {
		b := view.backend(i)
		// What it got before it died is no news beside its state.
		connections := unknown
		if b.Health != core.Down {
			connections = ratio(parts[i])
		}
		t.add(be.name, cell{b.Health.String(), healthColor(b.Health)}, fmt.Sprintf("%.0f%% of a core", 100*demoPhases()[phase].capacity[i]),
			ratio(b.Share), connections, loadCell(b.CPU), quantileText(latencies[i], 0.5), count(b.Connections), b.Why)
	}
	t.write(out, "  ", t.widths(nil), p)
	var all []float64
	for _, l := range latencies {
		all = append(all, l...)
	}
	fmt.Fprintf(out, "  client, last %.0f s: %d answers, %d failures, p50 %s, p99 %s   %s left\n",
		demoRecent.Seconds(), n, failed, quantileText(all, 0.5), quantileText(all, 0.99),
		max(end.Sub(now), 0).Round(time.Second))
}

// loadCell is a CPU load that turns yellow and red as it nears the whole.
func loadCell(v *float64) cell {
	c := cell{text: percent(v)}
	switch {
	case v == nil:
	case *v >= 0.95:
		c.color = red
	case *v >= 0.85:
		c.color = yellow
	}
	return c
}

func quantileText(values []float64, q float64) string {
	if len(values) == 0 {
		return unknown
	}
	return seconds(quantile(values, q))
}

// lineLocked is the same in one line.
func (l *demoLog) lineLocked(now time.Time) string {
	latencies, failed := l.requests(demoSpan{From: now.Add(-demoRecent)})
	parts, n := shares(latencies)
	view := l.views[len(l.views)-1]
	var b strings.Builder
	fmt.Fprintf(&b, "%5.1fs", now.Sub(l.phases[0].From).Seconds())
	for i, be := range demoBackends {
		v := view.backend(i)
		if v.Health == core.Down {
			fmt.Fprintf(&b, "  %s down share %s", be.name, ratio(v.Share))
			continue
		}
		state := ""
		if v.Health != core.Up {
			state = " " + v.Health.String()
		}
		fmt.Fprintf(&b, "  %s%s share %s got %s cpu %s", be.name, state, ratio(v.Share), ratio(parts[i]), percent(v.CPU))
	}
	fmt.Fprintf(&b, "  answers %d failures %d", n, failed)
	return b.String()
}
