// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/plugins/plugintest/suite"
)

const pluginBenchLong = `Measure what a call of a policy costs, for services of 16, 64, 1,000 and 10,000
backends. Two files are measured in turns, so that what else the machine does hits
both.

  IN WORKER   copy in, run, copy out: what the policy itself can make faster
  ROUND TRIP  from the daemon to the worker and back, one service at a time
  BATCHED     a call's part where many services are asked at once, as the daemon does

A call may take 50 ms of CPU time. p99 depends on the machine; compare p50.`

// A benchReport is what plugin bench -o json prints, one for each file.
type benchReport struct {
	Policy string `json:"policy"`
	File   string `json:"file,omitempty"`
	SHA256 string `json:"sha256"`
	Bytes  int    `json:"size_bytes"`
	suite.Costs
}

func newPluginBenchCommand(g *globals) *cobra.Command {
	each := time.Second
	cmd := &cobra.Command{
		Use: "bench FILE [FILE]", Short: "What a call costs: time, memory, loading; two files side by side",
		Long:              pluginBenchLong,
		Example:           "  steelyard plugin bench idle.wasm\n  steelyard plugin bench old.wasm new.wasm --for 5s -o json",
		Args:              args(cobra.RangeArgs(1, 2)),
		ValidArgsFunction: completeCandidates(2),
		RunE: func(cmd *cobra.Command, a []string) error {
			format, err := g.format("table", "json")
			if err != nil {
				return err
			}
			var list []candidate
			var subjects []suite.Subject
			for _, arg := range a {
				c, err := findCandidate(arg, "")
				if err != nil {
					return err
				}
				list, subjects = append(list, c), append(subjects, c.Subject)
			}
			costs, err := suite.Measure(cmd.Context(), subjects, each, func(what string) { fmt.Fprintf(g.stderr, "measuring %s\n", what) })
			if err != nil {
				return err
			}
			reports := make([]benchReport, len(list))
			for i, c := range list {
				reports[i] = benchReport{c.Name, c.Path, c.SHA256, len(c.Code), costs[i]}
			}
			if format == "json" {
				return writeJSON(g.stdout, reports)
			}
			renderBench(g.stdout, list, reports, painter(g.color(g.stdout)))
			return nil
		},
	}
	cmd.Flags().DurationVar(&each, "for", each, "time for each number of backends of each file")
	return cmd
}

func renderBench(out io.Writer, list []candidate, reports []benchReport, p painter) {
	heads := table{columns: []column{{"POLICY", false}, {"SIZE", true}, {"LOAD", true}, {"WORKER MEMORY", true}, {"AT WORK", true}}}
	for i, r := range reports {
		heads.add(list[i].label(), byteCount(float64(r.Bytes)), seconds(r.LoadSeconds), byteCount(float64(r.MemoryStart)), byteCount(float64(r.MemoryAtWork)))
	}
	heads.write(out, "", heads.widths(nil), p)
	fmt.Fprintln(out)
	t := table{columns: []column{{"BACKENDS", true}, {"POLICY", false}, {"IN WORKER p50", true}, {"p99", true},
		{"ROUND TRIP p50", true}, {"p99", true}, {"BATCHED p50", true}, {"CALLS", true}}}
	if len(reports) == 2 {
		t.columns = append(t.columns, column{"IN WORKER", true})
	}
	for k := range reports[0].Rows {
		for i, r := range reports {
			c := r.Rows[k]
			row := []any{c.Backends, list[i].label(), microseconds(c.WorkerP50), microseconds(c.WorkerP99),
				microseconds(c.TripP50), microseconds(c.TripP99), microseconds(c.BatchedP50), c.Calls}
			if len(reports) == 2 {
				row = append(row, fmt.Sprintf("× %.2f", c.WorkerP50/max(reports[0].Rows[k].WorkerP50, 1e-9)))
			}
			t.add(row...)
		}
	}
	if len(reports) == 1 {
		t.drop(1)
	}
	t.write(out, "", t.widths(nil), p)
}

// microseconds is a time of a call; below a millisecond it keeps a digit more
// than seconds does.
func microseconds(v float64) string {
	if v < 1e-4 {
		return fmt.Sprintf("%.1f µs", v*1e6)
	}
	return seconds(v)
}
