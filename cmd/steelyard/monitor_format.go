// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/admin"
)

const (
	clockLayout = "15:04:05.000" // local time
	// maxShares is how many backends one line of a decision names.
	maxShares = 8
)

// A monitorFormat turns messages into lines for people. It remembers the shares
// of each service, to say what a decision changed.
type monitorFormat struct {
	painter
	shares map[string]map[string]float64 // by node and service, by backend
}

// line formats one line of the stream: time, class, object, and the rest.
func (f *monitorFormat) line(l admin.Line) string {
	if l.Subject == "" {
		return fmt.Sprintf("%*s  %s", len(clockLayout), "", f.paint(yellow, fmt.Sprintf("%d messages lost: this reader is too slow", l.Dropped)))
	}
	class, object, text := f.message(l)
	out := fmt.Sprintf("%s  %-8s  %-16s  %s", f.paint(dim, l.At.Local().Format(clockLayout)), class, clean(object), text)
	return strings.TrimRight(out, " ")
}

func (f *monitorFormat) message(l admin.Line) (class, object, text string) {
	body, err := bus.Decode(l.Subject, l.Data)
	if err != nil {
		return "unknown", strings.TrimPrefix(l.Subject, bus.Prefix+"."), f.paint(yellow, clean(rawText(l.Data)))
	}
	switch b := body.(type) {
	case core.Sample:
		class = string(bus.ProbeClass)
		if s, err := bus.ParseSubject(l.Subject); err == nil {
			class = string(s.Class)
		}
		return class, b.Backend.String(), f.sample(b)
	case bus.HealthBody:
		return "health", b.Service + "/" + b.Backend, f.health(b)
	case bus.DecisionBody:
		return "decision", b.Service, f.decision(b.Decision)
	case bus.CommitBody:
		text := fmt.Sprintf("generation %d, %s in %s", b.Generation, plural(b.Changed, "element"), seconds(b.Took))
		return "commit", b.Node, text
	case bus.EventBody:
		return "event", eventObject(b), f.event(b)
	default:
		return "unknown", l.Subject, clean(rawText(l.Data))
	}
}

func (f *monitorFormat) sample(s core.Sample) string {
	c := green
	if !s.OK {
		c = red
	}
	parts := []string{fmt.Sprintf("%-14s %s", clean(s.Probe), f.paint(c, fmt.Sprintf("%-10s", clean(string(s.Code)))))}
	if s.Detail != "" {
		parts = append(parts, clean(s.Detail))
	}
	// Most good answers say in their detail how long they took.
	if s.Took > 0 && !strings.Contains(s.Detail, " in ") {
		parts = append(parts, "in "+seconds(s.Took.Seconds()))
	}
	text := strings.Join(parts, " ")
	for i, m := range s.Metrics {
		sep := ", "
		switch {
		case i == 0 && len(parts) == 1:
			sep = " "
		case i == 0:
			sep = "; "
		}
		text += sep + clean(m.Name) + " " + measured(m)
	}
	return text
}

func (f *monitorFormat) health(b bus.HealthBody) string {
	text := fmt.Sprintf("%s -> %s", b.From, f.paint(healthColor(b.To), b.To.String()))
	if b.Probe != "" {
		text += fmt.Sprintf("  %s %s", clean(b.Probe), clean(string(b.Code)))
	}
	if b.Detail != "" {
		text += ": " + clean(b.Detail)
	}
	return text
}

func (f *monitorFormat) decision(d core.Decision) string {
	c := green
	switch d.Outcome {
	case core.Unchanged:
		c = dim
	case core.Failed:
		c = red
	}
	text := fmt.Sprintf("%s  %s", f.paint(c, fmt.Sprintf("%-9s", clean(string(d.Outcome)))), f.changes(d))
	if d.Trigger != "" {
		text += "; " + clean(d.Trigger)
	}
	if d.Commit != nil && d.Outcome == core.Applied {
		text += fmt.Sprintf("; generation %d in %s", d.Commit.Generation, seconds(d.CommitSeconds))
	}
	if s := d.Shadow; s != nil && s.SnapshotSeq > 0 {
		text += f.paint(dim, fmt.Sprintf("; shadow %s moves %s", clean(s.Policy), ratio(s.Moved)))
	}
	if d.PolicyError != "" {
		text += f.paint(yellow, "; policy: "+clean(d.PolicyError))
	}
	if d.Error != "" {
		text += f.paint(red, "; "+clean(d.Error))
	}
	return text
}

// changes names the shares that a decision moved, before and after; at the
// first decision of a service, all of them.
func (f *monitorFormat) changes(d core.Decision) string {
	key := d.Node + "\x00" + d.Service
	before, seen := f.shares[key]
	after := make(map[string]float64, len(d.Backends))
	var moved []string
	for _, b := range d.Backends {
		after[b.Backend] = b.Share
		was, known := before[b.Backend]
		switch {
		case !known:
			moved = append(moved, clean(b.Backend)+" "+ratio(b.Share))
		case ratio(b.Share) != ratio(was):
			moved = append(moved, fmt.Sprintf("%s %s -> %s", clean(b.Backend), ratio(was), ratio(b.Share)))
		}
	}
	// What the kernel refused is not in force: the shares before still are.
	if d.Outcome != core.Failed {
		if f.shares == nil {
			f.shares = map[string]map[string]float64{}
		}
		f.shares[key] = after
	}
	if seen && len(moved) == 0 {
		return "same shares"
	}
	if more := len(moved) - maxShares; more > 0 {
		moved = append(moved[:maxShares], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(moved, ", ")
}

func eventObject(b bus.EventBody) string {
	switch {
	case b.Service == "":
		return b.Node
	case b.Backend == "":
		return b.Service
	default:
		return b.Service + "/" + b.Backend
	}
}

func (f *monitorFormat) event(b bus.EventBody) string {
	c := dim
	switch b.Severity {
	case core.Warn:
		c = yellow
	case core.Error:
		c = red
	}
	return fmt.Sprintf("%s  %s: %s", f.paint(c, fmt.Sprintf("%-5s", clean(string(b.Severity)))), clean(b.Topic), clean(b.Message))
}

// rawText is the body of a message that nobody could read, as far as it fits.
func rawText(data []byte) string {
	const limit = 120
	var s string
	if json.Unmarshal(data, &s) != nil {
		s = string(data)
	}
	if r := []rune(s); len(r) > limit {
		s = string(r[:limit]) + "…"
	}
	return s
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// measured writes a metric with a unit that suits its size.
func measured(m core.Metric) string {
	text := reading(m.Value, m.Unit)
	switch m.Unit {
	case "ratio", "seconds", "per_second", "count", "":
		return text
	}
	return text + " " + clean(m.Unit)
}
