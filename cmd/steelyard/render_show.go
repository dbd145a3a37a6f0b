// SPDX-License-Identifier: Apache-2.0

package main

import (
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
}

var showColumns = []column{
	{title: "BACKEND"}, {title: "ADDRESS"}, {title: "STATE"}, {"WEIGHT", true}, {"SHARE", true}, {"CONNS", true}, {"CPS", true},
	{"CPU", true}, {"RESPONSE", true}, {title: "CHECK"}, {title: "WHY"},
}

// renderShow prints a node's services and their backends as a tree, as ipvsadm
// does. It reads no clock: ages are as of the view.
func renderShow(w io.Writer, v core.NodeView, o showOptions) {
	p := painter(o.Color)
	var shown []core.ServiceView
	var tables []table
	var widths []int
	for _, s := range v.Services {
		if o.Service == "" || s.Name == o.Service {
			t := backendTable(s)
			widths = t.widths(widths)
			shown, tables = append(shown, s), append(tables, t)
		}
	}
	if len(shown) == 0 {
		fmt.Fprintln(w, "no services")
	}
	for i, s := range shown {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintln(w, serviceLine(s, v.At, p))
		for _, note := range serviceNotes(s) {
			fmt.Fprintf(w, "  %s\n", p.paint(red, clean("! "+note)))
		}
		if len(s.Backends) > 0 {
			tables[i].write(w, "  ", widths, p)
		}
	}
}

// serviceLine is everything of a service on one line.
func serviceLine(s core.ServiceView, at time.Time, p painter) string {
	fields := []string{
		p.paint(bold, clean(s.Name)),
		clean(s.VIP) + "/" + clean(string(s.Protocol)),
		clean(string(s.Forwarding)),
		clean(s.Policy),
		healthCounts(s.Backends, p),
		"conns " + count(s.Connections),
		perSecond(s.NewPerSecond),
	}
	if s.RefusedTotal > 0 {
		fields = append(fields, p.paint(yellow, fmt.Sprintf("refused %d", s.RefusedTotal)))
	}
	return strings.Join(append(fields, "decided "+ago(s.DecidedAt, at)), "  ")
}

// healthCounts says how many backends are in each state: "3 up, 1 down".
func healthCounts(backends []core.BackendView, p painter) string {
	if len(backends) == 0 {
		return p.paint(red, "no backends")
	}
	var parts []string
	for _, h := range []core.HealthState{core.Up, core.Down, core.Unknown} {
		n := 0
		for _, b := range backends {
			if b.Health == h {
				n++
			}
		}
		if n > 0 {
			parts = append(parts, p.paint(healthColor(h), fmt.Sprintf("%d %s", n, h)))
		}
	}
	return strings.Join(parts, ", ")
}

// serviceNotes are what an operator must not overlook.
func serviceNotes(s core.ServiceView) []string {
	var notes []string
	if s.Error != "" {
		notes = append(notes, "the kernel refused this service: "+s.Error)
	}
	if s.PolicyError != "" {
		notes = append(notes, "policy "+s.Policy+": "+s.PolicyError+"; the last good weights hold")
	}
	return notes
}

func backendTable(s core.ServiceView) table {
	t := table{columns: showColumns}
	for _, b := range s.Backends {
		t.add(
			cell{b.Name, bold}, b.Address, cell{b.Health.String(), healthColor(b.Health)},
			b.Configured, ratio(b.Share), count(b.Connections), rate(b.NewPerSecond),
			percent(b.CPU), optionalSeconds(b.Response), checkCell(b.Probes), b.Why,
		)
	}
	return t
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
