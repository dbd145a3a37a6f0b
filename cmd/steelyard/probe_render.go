// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/probes"
)

// A probeTestAnswer is what `probe test -o json` prints.
type probeTestAnswer struct {
	Probes []probeOutcome `json:"probes"`
}

// A probeOutcome is what one probe found.
type probeOutcome struct {
	Backend     string          `json:"backend,omitempty"` // empty for an address of the command line
	Probe       string          `json:"probe"`
	Type        string          `json:"type"`
	Role        core.Role       `json:"role"`
	Address     string          `json:"address"`
	OK          bool            `json:"ok"`
	Code        core.Code       `json:"code"`
	Meaning     string          `json:"meaning"`
	Detail      string          `json:"detail"`
	Remedy      string          `json:"remedy,omitempty"`
	Admin       core.AdminState `json:"admin,omitempty"`
	TookSeconds float64         `json:"took_seconds"` // of the last run
	Metrics     []probeMetric   `json:"metrics"`
	Steps       []probeStep     `json:"steps"`
}

type probeMetric struct {
	Name          string  `json:"name"`
	Value         float64 `json:"value"`
	Unit          string  `json:"unit"`
	WindowSeconds float64 `json:"window_seconds,omitempty"`
}

type probeStep struct {
	AtSeconds float64 `json:"at_seconds"` // since the beginning
	Step      string  `json:"step"`
	Text      string  `json:"text"`
}

// A stepPrinter prints the runs of probes as they go, for people.
type stepPrinter struct {
	g       *globals
	verbose bool
}

func (s *stepPrinter) painter() painter { return painter(s.g.color(s.g.stdout)) }

// begin prints the head of a probe; apart puts an empty line before it.
func (s *stepPrinter) begin(t probes.Target, apart bool) {
	if apart {
		fmt.Fprintln(s.g.stdout)
	}
	backend := ""
	if t.ID.Service != "" {
		backend = clean(t.ID.String()) + "  "
	}
	fmt.Fprintf(s.g.stdout, "%s%s  %s %s  %s\n", backend, s.painter().paint(bold, clean(t.Spec.Name)), t.Spec.Type, t.Spec.Role, probes.Where(t))
}

// waitStep is the step that Try says before it waits for another answer.
const waitStep = "wait"

// step prints one step. Without -v only what the reader has to wait for is said.
func (s *stepPrinter) step(p probeStep) {
	if s.verbose || p.Step == waitStep {
		fmt.Fprintf(s.g.stdout, "  %s  %s  %s\n", s.painter().paint(dim, fmt.Sprintf("%9s", seconds(p.AtSeconds))), fmt.Sprintf("%-11s", clean(p.Step)), clean(p.Text))
	}
}

// end prints what was found.
func (s *stepPrinter) end(o probeOutcome) {
	p, w := s.painter(), s.g.stdout
	word, c := "good", green
	switch {
	case !o.OK && !o.Code.Verdict():
		word, c = "no verdict", yellow
	case !o.OK:
		word, c = "bad", red
	}
	fmt.Fprintf(w, "  %s  %s  %s in %s: %s\n", p.paint(dim, "result  "), p.paint(c, word), clean(string(o.Code)), seconds(o.TookSeconds), o.Meaning)
	field(w, p, "detail", o.Detail, "")
	if o.Remedy != "" {
		field(w, p, "try", o.Remedy, yellow)
	}
	if o.Admin != "" {
		field(w, p, "asks for", string(o.Admin), yellow)
	}
	if len(o.Metrics) == 0 {
		return
	}
	t := table{columns: []column{{title: "METRIC"}, {"VALUE", true}, {title: "UNIT"}, {"WINDOW", true}}}
	windows := false
	for _, m := range o.Metrics {
		window := unknown
		if m.WindowSeconds > 0 {
			window, windows = seconds(m.WindowSeconds), true
		}
		t.add(cell{m.Name, bold}, reading(m.Value, m.Unit), m.Unit, window)
	}
	if !windows {
		t.drop(len(t.columns) - 1)
	}
	t.writeAlone(w, p)
}
