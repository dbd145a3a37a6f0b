// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A showOptions is what renderShow is told besides the view.
type showOptions struct {
	Service string // only this one; empty: all
	Color   bool
	Stats   bool // totals of connections, packets and bytes
	Rate    bool // the same per second
}

var showColumns = []column{
	{title: "BACKEND"}, {title: "ADDRESS"}, {title: "STATE"}, {"PRIO", true}, {"WEIGHT", true}, {"SHARE", true}, {"CONNS", true}, {"CPS", true},
	{"CPU", true}, {"RESPONSE", true}, {title: "CHECK"}, {title: "WHY"},
}

// prioColumn is where PRIO stands; nodes without priority groups go without it.
const prioColumn = 3

// renderShow prints a node's services and their backends as a tree, as ipvsadm
// does. It reads no clock: ages are as of the view.
func renderShow(w io.Writer, v core.NodeView, o showOptions) {
	p := painter(o.Color)
	var shown []core.ServiceView
	var tables []table
	var widths []int
	groups := hasGroups(v.Services)
	for _, s := range v.Services {
		if o.Service == "" || s.Name == o.Service {
			t := backendTable(s, v.At, groups)
			if o.counted() {
				t = statsTable(s, o)
			}
			widths = t.widths(widths)
			shown, tables = append(shown, s), append(tables, t)
		}
	}
	if v.Probing.Suspect != "" { // why those are up whose probes fail
		fmt.Fprintf(w, "%s\n\n", p.paint(red, clean(suspectText(v.Probing, v.At))))
	}
	if v.Cluster != nil {
		fmt.Fprintf(w, "%s\n\n", p.paint(dim, clusterText(v)))
	}
	if len(shown) == 0 {
		fmt.Fprintln(w, "no services")
	}
	for i, s := range shown {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintln(w, serviceLine(s, v.At, p))
		if text := briefSettings(s, lacksOffload(v.Kernel.Features)); text != "" {
			fmt.Fprintf(w, "  %s\n", p.paint(dim, clean("with "+text)))
		}
		for _, note := range serviceNotes(s) {
			fmt.Fprintf(w, "  %s\n", p.paint(red, clean("! "+note)))
		}
		if len(s.Backends) > 0 {
			tables[i].write(w, "  ", widths, p)
		}
	}
	if o.counted() {
		statsNotes(w, shown, p)
	}
}

// serviceLine is the state of a service on one line.
func serviceLine(s core.ServiceView, at time.Time, p painter) string {
	fields := []string{
		p.paint(bold, clean(s.Name)),
		frontends(s),
		clean(string(s.Forwarding)),
	}
	if s.Distribution != "" && s.Distribution != core.Random {
		fields = append(fields, clean(string(s.Distribution)))
	}
	fields = append(fields,
		clean(policyText(s)),
		healthCounts(s.Backends, p),
		"conns "+count(s.Connections)+countedAgo(s, at),
		perSecond(s.NewPerSecond),
	)
	if s.RefusedTotal > 0 {
		fields = append(fields, p.paint(yellow, fmt.Sprintf("refused %d", s.RefusedTotal)))
	}
	if s.TurnedAway != "" {
		fields = append(fields, p.paint(yellow, clean("turned away: "+s.TurnedAway)))
	}
	return strings.Join(append(fields, "decided "+ago(s.DecidedAt, at)+leaderText(s.Leader)), "  ")
}

// leaderText says which other node has decided, if one has.
func leaderText(l *core.LeaderView) string {
	if l == nil {
		return ""
	}
	return " by " + clean(l.Node)
}

// countedAgo says when the open connections of a service were counted, if that
// was more than a moment ago: nobody but the reader goes by them then.
func countedAgo(s core.ServiceView, at time.Time) string {
	const moment = 2 * time.Second
	for _, b := range s.Backends {
		if !b.ConnectionsAt.IsZero() && at.Sub(b.ConnectionsAt) > moment {
			return " (" + ago(b.ConnectionsAt, at) + ")"
		}
	}
	return ""
}

// frontends is the first frontend of a service, and how many more there are.
func frontends(s core.ServiceView) string {
	text := clean(s.VIP) + "/" + clean(string(s.Protocol))
	if more := len(s.Frontends) - 1; more > 0 {
		text += fmt.Sprintf(" +%d", more)
	}
	return text
}

// stateOf is the state of a backend in one word.
func stateOf(b core.BackendView) core.BackendState {
	return cmp.Or(b.State, core.BackendState(b.Health.String()))
}

// stateCell is the state as show prints it: of a drained backend that is down,
// both.
func stateCell(state core.BackendState, health core.HealthState) cell {
	if (state == core.StateDrain || state == core.StateMaint) && health == core.Down {
		return cell{string(state) + ", down", red}
	}
	return cell{string(state), stateColor(state)}
}

// states are in the order of healthCounts.
var states = []core.BackendState{
	core.StateUp, core.StateReserve, core.StateSorry, core.StateDrain, core.StateMaint, core.StateFull, core.StateEjected, core.StateDown, core.StateUnknown,
}

// healthCounts says how many backends are in each state: "3 up, 1 down".
func healthCounts(backends []core.BackendView, p painter) string {
	if len(backends) == 0 {
		return p.paint(red, "no backends")
	}
	var parts []string
	for _, state := range states {
		n := 0
		for _, b := range backends {
			if stateOf(b) == state {
				n++
			}
		}
		if n > 0 {
			parts = append(parts, p.paint(stateColor(state), fmt.Sprintf("%d %s", n, state)))
		}
	}
	return strings.Join(parts, ", ")
}

// serviceNotes are what an operator must not overlook.
func serviceNotes(s core.ServiceView) []string {
	var notes []string
	if s.Error != "" {
		notes = append(notes, "not in force as configured: "+strings.TrimPrefix(s.Error, "service "+s.Name+": "))
	}
	if s.PolicyError != "" {
		notes = append(notes, "policy "+s.Policy+": "+s.PolicyError+"; the last good weights hold")
	}
	if nobodyServes(s) {
		answer := "are refused (on_empty: reject)"
		if s.Settings.OnEmpty == core.Drop {
			answer = "get no answer (on_empty: drop)"
		}
		notes = append(notes, "no backend serves: new clients "+answer)
	}
	return notes
}

// nobodyServes reports whether a service that was decided about has no backend
// left to send a client to.
func nobodyServes(s core.ServiceView) bool {
	fed := func(b core.BackendView) bool { return b.Share > 0 }
	return s.DecisionSeq > 0 && s.Settings != nil && !slices.ContainsFunc(s.Backends, fed)
}

// hasGroups reports whether any backend is of another priority group than the
// first.
func hasGroups(services []core.ServiceView) bool {
	return slices.ContainsFunc(services, func(s core.ServiceView) bool {
		return slices.ContainsFunc(s.Backends, func(b core.BackendView) bool { return b.Priority > 0 })
	})
}

func backendTable(s core.ServiceView, at time.Time, groups bool) table {
	t := table{columns: slices.Clone(showColumns)}
	for _, b := range s.Backends {
		t.add(
			cell{b.Name, bold}, b.Address, stateCell(stateOf(b), b.Health),
			b.Priority, weightCell(b), ratio(b.Share), openText(b), rate(b.NewPerSecond),
			percent(b.CPU), optionalSeconds(b.Response), checkCell(b.Probes), whyText(b, at),
		)
	}
	if !groups {
		t.drop(prioColumn)
	}
	return t
}

// weightCell is the weight in force, marked if it is not the configured one.
func weightCell(b core.BackendView) cell {
	if b.Override != nil && b.Override.Kind == core.OverrideWeight {
		return cell{fmt.Sprintf("%d*", b.Override.Weight), yellow}
	}
	return cell{text: fmt.Sprint(b.Configured)}
}

// openText is how many connections are open, of how many there may be.
func openText(b core.BackendView) string {
	if b.MaxConnections == 0 {
		return count(b.Connections)
	}
	return fmt.Sprintf("%s/%d", count(b.Connections), b.MaxConnections)
}

// whyText is the reason for a share. A command, an ejection and a hold are told with the
// time that is left of them, and a drain with the connections.
func whyText(b core.BackendView, at time.Time) string {
	switch {
	case b.Override != nil:
	case !b.OutUntil.IsZero():
		return b.Why + ", " + timeLeft(b.OutUntil, at)
	default:
		return b.Why
	}
	text := overrideText(*b.Override, at)
	if b.Override.Kind != core.OverrideDrain {
		if rest, ok := strings.CutPrefix(b.Why, b.Override.String()); ok {
			text += rest
		}
		return text
	}
	switch {
	case b.Connections == nil:
		return text
	case *b.Connections == 0:
		return text + "; no connection left"
	}
	return text + fmt.Sprintf("; %s left", plural(int(*b.Connections), "connection"))
}

// checkCell is the health probe that matters most, a failing one if there is
// any, and after it the probes for metrics that fail.
func checkCell(probes []core.ProbeView) cell {
	health, found := core.ProbeView{}, false
	var failing []string
	for _, p := range probes {
		if p.Role == core.MetricRole {
			if !p.OK && p.Code != "" && p.Code != core.SNMPWait {
				failing = append(failing, p.Name+" "+string(p.Code))
			}
			continue
		}
		if !found || health.OK && !p.OK {
			health, found = p, true
		}
	}
	c := cell{text: unknown}
	if found && health.Code != "" {
		c.text = string(health.Code) + " " + seconds(health.Took)
		if !health.OK {
			c.color = red
		}
	}
	if len(failing) > 0 {
		c.text += ", " + strings.Join(failing, ", ")
		if c.color == "" {
			c.color = yellow
		}
	}
	return c
}

// pick is the view with the one service only; false if there is none.
func pick(v core.NodeView, service string) (core.NodeView, bool) {
	i := slices.IndexFunc(v.Services, func(s core.ServiceView) bool { return s.Name == service })
	if i < 0 {
		return v, false
	}
	v.Services = v.Services[i : i+1]
	return v, true
}
