// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/core"
)

func newBackendListCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the backends that were changed by command",
		Long:  "List the backends of all services that were changed by command, and what is left of that.",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			format, err := g.format("table", "json")
			if err != nil {
				return err
			}
			v, err := g.node(cmd.Context())
			if err != nil {
				return err
			}
			rows := overrideRows(v)
			if format == "json" {
				return writeJSON(g.stdout, map[string]any{"overrides": rows})
			}
			renderOverrides(g.stdout, rows, v.At, g.color(g.stdout))
			return nil
		},
	}
}

// An overrideRow is one backend that was changed by command.
type overrideRow struct {
	Backend string `json:"backend"`
	core.Override
	Health      core.HealthState `json:"health"`
	Connections *uint64          `json:"connections"`
}

// overrideRows are all of a node, in the order of show.
func overrideRows(v core.NodeView) []overrideRow {
	rows := []overrideRow{}
	for _, s := range v.Services {
		for _, b := range s.Backends {
			if b.Override != nil {
				rows = append(rows, overrideRow{s.Name + "/" + b.Name, *b.Override, b.Health, b.Connections})
			}
		}
	}
	return rows
}

func renderOverrides(w io.Writer, rows []overrideRow, at time.Time, color bool) {
	if len(rows) == 0 {
		fmt.Fprintln(w, "no backend was changed by command")
		return
	}
	t := &table{columns: []column{{title: "BACKEND"}, {title: "COMMAND"}, {title: "HEALTH"}, {"CONNS", true}, {title: "AUTHOR"}, {"SINCE", true}, {"LEFT", true}, {title: "REASON"}}}
	for _, r := range rows {
		what, left := string(r.Kind), unknown
		if r.Kind == core.OverrideWeight {
			what += fmt.Sprintf(" %d", r.Weight)
		}
		if !r.Until.IsZero() {
			left = seconds(max(r.Until.Sub(at).Seconds(), 0))
		}
		t.add(cell{r.Backend, bold}, cell{what, yellow}, cell{r.Health.String(), healthColor(r.Health)}, count(r.Connections), r.Author, ago(r.Since, at), left, r.Reason)
	}
	t.write(w, "", t.widths(nil), painter(color))
}
