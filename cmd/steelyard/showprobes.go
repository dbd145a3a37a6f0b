// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/core"
)

const showProbesLong = `Show each probe of each backend: how it ended last, when, and what is made of it.

  STATE     of a health probe, by rise and fall; with 1/3 after it one of the three
            samples that it takes to change it has come. A * marks a critical probe
  BY        the node that asked, where several do
  ROLE      health decides up or down; metric feeds the policy and never does
  LAST      when its latest sample was taken
  TOOK      how long that took
  EVERY     the interval that is in force: longer or shorter while down or in a
            transition, where the configuration says so

Below the probes stands how each type runs on this node: how many targets there are,
how many probes of other services share the runs of another, and how many runs there
were, failed, and were left out.

"steelyard probe test BACKEND -v" runs one now and prints each step.`

func newShowProbesCommand(g *globals) *cobra.Command {
	var failing bool
	cmd := &cobra.Command{
		Use:   "probes [SERVICE | SERVICE/BACKEND]",
		Short: "Show the probes, how they ended, and what is made of that",
		Long:  showProbesLong,
		Example: `  steelyard show probes
  steelyard show probes web/web1
  steelyard show probes --failing`,
		Args:              args(cobra.MaximumNArgs(1)),
		ValidArgsFunction: g.completeBackends,
		RunE: func(cmd *cobra.Command, a []string) error {
			return g.showProbes(cmd, strings.Join(a, ""), failing)
		},
	}
	cmd.Flags().BoolVar(&failing, "failing", false, "only those whose latest sample was bad")
	return cmd
}

// A probesAnswer is what `show probes -o json` prints.
type probesAnswer struct {
	At      time.Time         `json:"at"`
	Probing core.ProbingView  `json:"probing"`
	Probes  []probeOfABackend `json:"probes"`

	several bool // nodes, so that it matters which one asked
}

type probeOfABackend struct {
	Service string           `json:"service"`
	Backend string           `json:"backend"`
	Address string           `json:"address"`
	Health  core.HealthState `json:"health"`
	core.ProbeView
}

func (g *globals) showProbes(cmd *cobra.Command, of string, failing bool) error {
	format, err := g.format("table", "json")
	if err != nil {
		return err
	}
	v, err := g.node(cmd.Context())
	if err != nil {
		return err
	}
	service, backend, _ := strings.Cut(of, "/")
	if service != "" {
		one, ok := pick(v, service)
		if !ok {
			return noSuchService(v, service)
		}
		v = one
	}
	answer := probesAnswer{At: v.At, Probing: v.Probing, Probes: []probeOfABackend{}, several: v.Cluster != nil}
	found := backend == ""
	for _, s := range v.Services {
		for _, b := range s.Backends {
			if backend != "" && b.Name != backend {
				continue
			}
			found = true
			for _, p := range b.Probes {
				if !failing || p.Code != "" && !p.OK {
					answer.Probes = append(answer.Probes, probeOfABackend{s.Name, b.Name, b.Address, b.Health, p})
				}
			}
		}
	}
	if !found {
		return &codedError{exitFailure, fmt.Errorf("no backend %q", of), "`steelyard show " + service + "` lists them"}
	}
	if format == "json" {
		return writeJSON(g.stdout, answer)
	}
	renderProbes(g.stdout, answer, g.color(g.stdout))
	return nil
}

// renderProbes prints the probes and how each type of them runs.
func renderProbes(w io.Writer, a probesAnswer, color bool) {
	p := painter(color)
	if a.Probing.Suspect != "" {
		fmt.Fprintf(w, "%s\n\n", p.paint(red, clean(suspectText(a.Probing, a.At))))
	}
	if len(a.Probes) == 0 {
		fmt.Fprintln(w, "no probes")
	} else {
		t := allProbesTable(a)
		t.write(w, "", t.widths(nil), p)
	}
	if len(a.Probing.Types) == 0 {
		return
	}
	fmt.Fprintln(w)
	t := probeTypesTable(a.Probing.Types)
	t.write(w, "", t.widths(nil), p)
}

func allProbesTable(a probesAnswer) *table {
	t := &table{columns: []column{{title: "BACKEND"}, {title: "PROBE"}, {title: "TYPE"}, {title: "ROLE"}, {title: "STATE"},
		{"LAST", true}, {"TOOK", true}, {"EVERY", true}, {title: "CODE"}, {title: "DETAIL"}}}
	if a.several {
		t.columns = slices.Insert(t.columns, len(t.columns)-2, column{title: "BY"})
	}
	for _, v := range a.Probes {
		code, took := cell{text: unknown}, unknown
		if v.Code != "" {
			code, took = cell{string(v.Code), codeColor(v.ProbeView)}, seconds(v.Took)
		}
		row := []any{cell{v.Service + "/" + v.Backend, bold}, v.Name, v.Type, v.Role, probeState(v.ProbeView),
			ago(v.At, a.At), took, seconds(v.Interval)}
		if a.several {
			row = append(row, cmp.Or(v.Node, unknown))
		}
		t.add(append(row, code, v.Detail)...)
	}
	return t
}

// probeState is what rise and fall make of a health probe.
func probeState(v core.ProbeView) cell {
	if v.Role != core.HealthRole {
		return cell{text: unknown}
	}
	text := v.State.String()
	if v.Critical {
		text += "*"
	}
	if v.Streak > 0 && v.Need > 0 {
		return cell{fmt.Sprintf("%s %d/%d", text, v.Streak, v.Need), yellow}
	}
	return cell{text, healthColor(v.State)}
}

func codeColor(v core.ProbeView) color {
	switch {
	case v.OK:
		return ""
	case v.Role == core.HealthRole && v.Code.Verdict():
		return red
	}
	return yellow
}

func probeTypesTable(types []core.ProbeTypeView) *table {
	t := &table{columns: []column{{title: "TYPE"}, {"TARGETS", true}, {"SHARED", true}, {"RUNNING", true}, {"WAITING", true},
		{"LIMIT", true}, {"RUNS", true}, {"FAILED", true}, {"LEFT OUT", true}}}
	for _, v := range types {
		skipped := cell{text: fmt.Sprint(v.Skipped)}
		if v.Skipped > 0 {
			skipped.color = yellow
		}
		t.add(cell{v.Type, bold}, v.Targets, v.Shared, v.Running, v.Waiting, v.Limit, v.Runs, v.Failed, skipped)
	}
	return t
}

// suspectText says why no health goes down for now, and since when.
func suspectText(v core.ProbingView, at time.Time) string {
	return "! for " + seconds(max(at.Sub(v.SuspectSince).Seconds(), 0)) + ": " + v.Suspect
}
