// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// renderSessions prints the clients of services, pins first. Times that are left
// are as of at.
func renderSessions(w io.Writer, list []core.SessionsView, at time.Time, color bool) {
	p := painter(color)
	if len(list) == 0 {
		fmt.Fprintln(w, "no service has persistence or pins")
	}
	for i, s := range list {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintln(w, sessionsLine(s, p))
		for _, note := range sessionsNotes(s) {
			fmt.Fprintf(w, "  %s\n", p.paint(red, clean("! "+note)))
		}
		if len(s.Pins)+len(s.Sessions) == 0 {
			continue
		}
		t := sessionsTable(s, at)
		t.writeAlone(w, p)
		if more := s.Matched - len(s.Sessions); more > 0 {
			fmt.Fprintf(w, "  %s\n", p.paint(dim, fmt.Sprintf("… and %d more; --limit 0 shows all", more)))
		}
	}
}

// sessionsLine is a service on one line: "web  timeout 300 s  ipv4 3 of 65536".
func sessionsLine(s core.SessionsView, p painter) string {
	fields := []string{p.paint(bold, clean(s.Service))}
	if s.Timeout == 0 {
		return strings.Join(append(fields, "no persistence"), "  ")
	}
	fields = append(fields, "timeout "+seconds(s.Timeout))
	for _, c := range s.Counts {
		text := fmt.Sprintf("%s %d of %d", c.Family, c.Entries, c.Size)
		if c.Full() {
			text = p.paint(red, text)
		}
		fields = append(fields, clean(text))
	}
	return strings.Join(fields, "  ")
}

// sessionsNotes are what an operator must not overlook.
func sessionsNotes(s core.SessionsView) (notes []string) {
	if s.Error != "" {
		notes = append(notes, s.Error)
	}
	for _, c := range s.Counts {
		if c.Full() {
			notes = append(notes, fmt.Sprintf("the map of %s clients is full: a new client is balanced at each connection, until an entry expires; persistence.size makes it larger", c.Family))
		}
	}
	return notes
}

func sessionsTable(s core.SessionsView, at time.Time) table {
	t := table{columns: []column{{title: "CLIENT"}, {title: "BACKEND"}, {title: "ADDRESS"}, {"EXPIRES", true}, {title: "WHY"}}}
	for _, pin := range s.Pins {
		t.add(cell{core.ClientText(pin.Client), bold}, pin.Backend, unknown, pinExpires(pin, at), cell{"pinned, " + pinWhy(pin, time.Time{}), yellow})
	}
	for _, c := range s.Sessions {
		backend := cell{text: c.Backend}
		if c.Backend == "" {
			backend = cell{"(gone)", yellow}
		}
		t.add(cell{core.ClientText(c.Client), bold}, backend, c.Address, seconds(c.ExpiresIn), "remembered")
	}
	return t
}

func pinExpires(p core.PinState, at time.Time) string {
	if p.Until.IsZero() {
		return "never"
	}
	return seconds(max(p.Until.Sub(at).Seconds(), 0))
}

// pinWhy is where a pin comes from: "alice, 30 min left: kernel update". A zero at
// leaves the time out.
func pinWhy(p core.PinState, at time.Time) string {
	if !p.ByCommand() {
		return "configuration"
	}
	text := p.Author
	if !at.IsZero() && !p.Until.IsZero() {
		text += ", " + pinExpires(p, at) + " left"
	}
	if p.Reason != "" {
		text += ": " + p.Reason
	}
	return text
}

// renderPins lists the pins by command of a service, or of one of its backends,
// below a decision.
func renderPins(w io.Writer, pins []core.PinState, backend string, at time.Time, color bool) {
	p := painter(color)
	t := table{columns: []column{{title: "CLIENT"}, {title: "BACKEND"}, {"EXPIRES", true}, {title: "BY"}}}
	for _, pin := range pins {
		if backend == "" || pin.Backend == backend {
			t.add(cell{core.ClientText(pin.Client), bold}, pin.Backend, pinExpires(pin, at), cell{pinWhy(pin, time.Time{}), yellow})
		}
	}
	if len(t.rows) > 0 {
		fmt.Fprintf(w, "\n%s\n", p.paint(bold, "pinned by command"))
		t.writeAlone(w, p)
	}
}
