// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/core"
)

const showPluginsLong = `Show the policies that are loaded, shipped ones and your own.

  LANGUAGE  shipped, wasm or lua
  VERSION   the first digits of the SHA-256 of the module or script
  CALLS     answers so far, good and bad; P50 and P99: how long the latest took, in the worker
  MEMORY    of the worker process that runs it, without the program itself, which all
            processes share; the shipped policies have one worker together
  FAULTS    calls whose answer could not be used, of all since it was loaded
  STATE     well; quarantined: not called for a while, since it cost its worker its life;
            rolled back: the version that was loaded last failed or was refused

Below the table stands what you have to see to, one policy after another.`

func newShowPluginsCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:               "plugins",
		Short:             "Show the loaded policies, how fast they are, and what went wrong with them",
		Long:              showPluginsLong,
		Example:           "  steelyard show plugins\n  steelyard show plugins -o json",
		Args:              args(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			format, err := g.format("table", "json")
			if err != nil {
				return err
			}
			v, err := g.node(cmd.Context())
			if err != nil {
				return err
			}
			if format == "json" {
				return writeJSON(g.stdout, pluginsAnswer{v.At, append([]core.PolicyView{}, v.Policies...)})
			}
			renderPlugins(g.stdout, v, g.color(g.stdout))
			return nil
		},
	}
}

// renderPlugins prints the policies and, below them, what is wrong.
func renderPlugins(w io.Writer, v core.NodeView, color bool) {
	p := painter(color)
	if len(v.Policies) == 0 {
		fmt.Fprintln(w, "no policies")
		return
	}
	t := &table{columns: []column{{title: "POLICY"}, {title: "LANGUAGE"}, {title: "VERSION"}, {"CALLS", true}, {"P50", true}, {"P99", true},
		{"MEMORY", true}, {"FAULTS", true}, {title: "STATE"}, {title: "FILE"}}}
	for _, pv := range v.Policies {
		p50, p99, memory := unknown, unknown, unknown
		if pv.Calls > 0 {
			p50, p99 = seconds(pv.P50Seconds), seconds(pv.P99Seconds)
		}
		if pv.MemoryBytes > 0 {
			memory = byteCount(float64(pv.MemoryBytes))
		}
		t.add(cell{pv.Name, bold}, pv.Language, versionHash(pv.Version), pv.Calls, p50, p99, memory, faultCell(pv), policyState(pv), policyFileText(pv))
	}
	t.write(w, "", t.widths(nil), p)
	for _, pv := range v.Policies {
		notes := policyNotes(pv, v.At)
		if len(notes) == 0 && pv.Previous == "" {
			continue
		}
		fmt.Fprintf(w, "\n%s\n", p.paint(bold, clean(pv.Name)))
		for _, n := range notes {
			field(w, p, "", "! "+n.text, n.color)
		}
		if pv.Previous != "" {
			field(w, p, "previous", pv.Previous+" stands by, should this one fail", "")
		}
	}
}
