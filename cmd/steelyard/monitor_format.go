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

	presences map[string]string // the latest of each node
	again     bool              // the latest line is a presence that says what its node said before
}

// line formats one line of the stream: time, class, object, and the rest.
func (f *monitorFormat) line(l admin.Line) string {
	if l.Subject == "" {
		return fmt.Sprintf("%*s  %s", len(clockLayout), "", f.paint(yellow, fmt.Sprintf("%d messages lost: this reader is too slow", l.Dropped)))
	}
	f.again = false
	class, object, text := f.message(l)
	out := fmt.Sprintf("%s  %-8s  %-16s  %s", f.paint(dim, l.At.Local().Format(clockLayout)), class, clean(object), text)
	return strings.TrimRight(out, " ")
}

func (f *monitorFormat) message(l admin.Line) (class, object, text string) {
	body, err := bus.Decode(l.Subject, l.Data)
	if err != nil {
		return "unknown", strings.TrimPrefix(l.Subject, bus.Prefix+"."), f.paint(yellow, clean(rawText(l.Data)))
	}
	where, err := bus.ParseSubject(l.Subject)
	if err != nil {
		return "unknown", l.Subject, clean(rawText(l.Data)) // Decode would have said so
	}
	switch b := body.(type) {
	case core.Sample:
		return string(where.Class), sampleObject(b), f.sample(b)
	case []core.Sample:
		return string(where.Class), where.Names[0], f.readings(b)
	case core.Presence:
		return string(where.Class), b.Node, f.presence(b)
	case core.Vector:
		return string(where.Class), b.Service, f.vector(b)
	case core.FlowReport:
		return string(where.Class), b.Service, f.flows(b)
	case bus.HealthBody:
		return "health", b.Service + "/" + b.Backend, f.health(b)
	case bus.DecisionBody:
		return "decision", b.Service, f.decision(b.Decision)
	case bus.CommitBody:
		return "commit", b.Node, commit(b)
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
	verdict := string(s.Code)
	if verdict == "" {
		verdict = s.Node // a monitor has none; what matters is who says it
	}
	parts := []string{fmt.Sprintf("%-14s %s", clean(s.Probe), f.paint(c, fmt.Sprintf("%-10s", clean(verdict))))}
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
	if d.Leader != nil {
		text += "; as " + clean(d.Leader.Node) + " decided"
	}
	text += causes(d.Causes)
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
	return firstOf(moved)
}

// causes names the first sample that made a decision due, and how many more did.
func causes(refs []core.SampleRef) string {
	if len(refs) == 0 {
		return ""
	}
	r := refs[0]
	text := fmt.Sprintf("; sample %d of %s on %s by %s", r.Seq, clean(r.Probe), clean(r.Backend), clean(r.Node))
	if more := len(refs) - 1; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// commit names the services of a transaction, each with its decision.
func commit(b bus.CommitBody) string {
	text := fmt.Sprintf("generation %d, %s in %s", b.Generation, plural(b.Changed, "element"), seconds(b.Took))
	var parts []string
	for i, name := range b.Services {
		part := clean(name)
		if i < len(b.Decisions) && b.Decisions[i] != 0 {
			part += " " + clean(bus.DecisionID(b.Node, b.Decisions[i]))
		}
		parts = append(parts, part)
	}
	if len(parts) > 0 {
		text += "; " + firstOf(parts)
	}
	return text
}

// firstOf joins parts as far as a line should hold them.
func firstOf(parts []string) string {
	if more := len(parts) - maxShares; more > 0 {
		parts = append(parts[:maxShares:maxShares], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(parts, ", ")
}

// sampleObject is whom a sample is about: of a monitor perhaps a target.
func sampleObject(s core.Sample) string {
	if s.Backend.Service == "" {
		return s.Backend.Backend
	}
	return s.Backend.String()
}

// readings is what a monitor sent as a list.
func (f *monitorFormat) readings(list []core.Sample) string {
	var parts []string
	for _, s := range list {
		for _, m := range s.Metrics {
			parts = append(parts, clean(sampleObject(s))+" "+clean(m.Name)+" "+measured(m))
		}
	}
	return plural(len(list), "reading") + ": " + firstOf(parts)
}

func (f *monitorFormat) presence(p core.Presence) string {
	text := clean(p.Group) + ": " + p.Roles.String()
	if p.Roles == (core.Roles{}) {
		text += "no role"
	}
	if p.Epoch != 0 {
		text += fmt.Sprintf("; epoch %d", p.Epoch)
	}
	if p.Suspects {
		text += f.paint(yellow, "; suspects itself")
	}
	if p.Leaving {
		text += f.paint(yellow, "; leaves")
	}
	if f.presences == nil {
		f.presences = map[string]string{}
	}
	f.again = f.presences[p.Node] == text
	f.presences[p.Node] = text
	return text
}

func (f *monitorFormat) vector(v core.Vector) string {
	var parts []string
	for _, b := range v.Backends {
		parts = append(parts, clean(b.Name)+" "+ratio(float64(b.Slots)/core.Slots))
	}
	text := fmt.Sprintf("%s leads  %s; epoch %d, number %d", clean(v.Node), firstOf(parts), v.Epoch, v.Seq)
	if v.Decision != 0 {
		text += "; decision " + clean(bus.DecisionID(v.Node, v.Decision))
	}
	return text
}

func (f *monitorFormat) flows(r core.FlowReport) string {
	var parts []string
	for _, b := range r.Backends {
		parts = append(parts, fmt.Sprintf("%s %d", clean(b.Name), b.Open))
	}
	return fmt.Sprintf("%s carries  %s", clean(r.Node), firstOf(parts))
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
