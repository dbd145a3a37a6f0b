// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// simulateColumns are the figures of a run, with their units.
var simulateColumns = []struct {
	title string
	text  func(policyResult) string
}{
	{"P50", func(r policyResult) string { return seconds(r.P50) }},
	{"P99", func(r policyResult) string { return seconds(r.P99) }},
	{"P99.9", func(r policyResult) string { return seconds(r.P999) }},
	{"FAILED", func(r policyResult) string { return ratio(r.Failed) }},
	{"IMBALANCE", func(r policyResult) string { return strconv.FormatFloat(r.Imbalance, 'f', 2, 64) }},
	{"OSCILLATION", func(r policyResult) string { return ratio(r.Oscillation) }},
	{"CONVERGENCE", func(r policyResult) string {
		if r.Convergence == nil {
			return "never"
		}
		return strconv.FormatFloat(*r.Convergence, 'f', 0, 64) + " s"
	}},
	{"MOVED/H", func(r policyResult) string { return strconv.FormatFloat(r.Moved, 'f', 1, 64) }},
	{"COMMITS/H", func(r policyResult) string { return strconv.FormatFloat(r.Commits, 'f', 0, 64) }},
}

// renderSimulation prints a table for each scenario; all line up.
func renderSimulation(w io.Writer, results []scenarioResult, p painter) {
	tables := make([]table, len(results))
	var widths []int
	for i, r := range results {
		t := &tables[i]
		t.columns = []column{{title: "POLICY"}}
		for _, c := range simulateColumns {
			t.columns = append(t.columns, column{c.title, true})
		}
		for _, one := range r.Results {
			row := []any{one.Policy}
			for _, c := range simulateColumns {
				row = append(row, c.text(one))
			}
			t.add(row...)
		}
		widths = t.widths(widths)
	}
	for i, r := range results {
		if i > 0 {
			fmt.Fprintln(w)
		}
		about := clean(r.About)
		if about != "" {
			about = ": " + about
		}
		fmt.Fprintf(w, "%s%s (%s)\n", p.paint(bold, clean(r.Name)), about, plural(r.Seeds, "seed"))
		tables[i].write(w, "  ", widths, p)
	}
}

// renderSimulationMarkdown prints one table for a document.
func renderSimulationMarkdown(w io.Writer, results []scenarioResult) {
	fmt.Fprint(w, "| scenario | policy |")
	for _, c := range simulateColumns {
		fmt.Fprintf(w, " %s |", strings.ToLower(c.title))
	}
	fmt.Fprint(w, "\n|---|---|"+strings.Repeat("--:|", len(simulateColumns))+"\n")
	for _, r := range results {
		for _, one := range r.Results {
			fmt.Fprintf(w, "| %s | %s |", r.Name, one.Policy)
			for _, c := range simulateColumns {
				fmt.Fprintf(w, " %s |", c.text(one))
			}
			fmt.Fprintln(w)
		}
	}
}
