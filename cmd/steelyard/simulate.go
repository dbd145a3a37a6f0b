// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/core/sim"
)

const simulateLong = `Run policies against simulated backends, without a daemon and without root.

A SCENARIO is one that comes with steelyard (--list), or a YAML file; without any,
all that come with it are run. A policy is a shipped one, a WASM module or Lua
script of your own (FILE or NAME=FILE), or one of the naive ones, which are there
to be compared with; "shipped" and "naive" stand for all of a kind. Beside them
stands "best": shares by true capacity at every moment.

Shaping is that of the daemon. The same scenario, policy and seed give the same
figures. Latencies, imbalance, oscillation and churn are means over the seeds,
convergence is that of the slowest. docs/simulation.md says what they mean, what is
modelled and what is not.`

const simulateExample = `  steelyard simulate --list
  steelyard simulate step --policy least-cpu,least-conn,naive-idle
  steelyard simulate step --policy least-cpu --param alpha=0.5 --plot -
  steelyard simulate step-lag60 sinkhole --policy ./mine.wasm,least-cpu --plot mine.svg
  steelyard simulate --print step > mine.yaml && steelyard simulate ./mine.yaml
  steelyard simulate --policy shipped -o json`

// A simulation is what the flags of simulate say.
type simulation struct {
	policies []string
	params   []string
	seeds    int
	plot     string
	list     bool
	print    bool
	worker   bool
}

// maxSeeds bounds a hand that slips on the keyboard.
const maxSeeds = 1000

func newSimulateCommand(g *globals) *cobra.Command {
	var s simulation
	cmd := &cobra.Command{
		Use:               "simulate [SCENARIO...]",
		Short:             "Run policies against simulated backends",
		Long:              simulateLong,
		Example:           simulateExample,
		ValidArgsFunction: completeScenarios,
		RunE:              func(cmd *cobra.Command, a []string) error { return g.simulate(cmd.Context(), &s, a) },
	}
	f := cmd.Flags()
	f.StringSliceVarP(&s.policies, "policy", "p", []string{"least-cpu"}, "policies, separated by commas: names, files, or NAME=FILE")
	f.StringArrayVar(&s.params, "param", nil, "a parameter of the policies that take it, as in --param alpha=0.5")
	f.IntVar(&s.seeds, "seeds", 3, "how many runs with other random numbers")
	f.StringVar(&s.plot, "plot", "", "draw shares and CPU over time: - on the terminal, or a file for an SVG")
	f.BoolVar(&s.list, "list", false, "list the scenarios and policies that there are")
	f.BoolVar(&s.print, "print", false, "print the scenarios as YAML, to begin one of your own with")
	f.BoolVar(&s.worker, "worker", false, "run shipped policies as the daemon does: as WASM in a worker")
	// They are there: the lines above made them.
	_ = cmd.RegisterFlagCompletionFunc("policy", completePolicies)
	_ = cmd.MarkFlagFilename("plot", "svg")
	_ = cmd.RegisterFlagCompletionFunc("param", completeParams)
	return cmd
}

func (g *globals) simulate(ctx context.Context, s *simulation, names []string) error {
	format, err := g.format("table", "json", "markdown")
	if err != nil {
		return err
	}
	if s.list {
		return g.simulateList(format)
	}
	if s.seeds < 1 || s.seeds > maxSeeds {
		return usage(fmt.Errorf("--seeds %d: want 1 to %d", s.seeds, maxSeeds))
	}
	scenarios, err := findScenarios(names)
	if err != nil {
		return err
	}
	if s.print {
		return printScenarios(g.stdout, scenarios)
	}
	crew, err := newCrew(ctx, s)
	if err != nil {
		return err
	}
	defer crew.close()
	for _, c := range crew.contenders {
		if custom := crew.customMetrics(c.name); len(custom) > 0 {
			fmt.Fprintf(g.stderr, "note: %s goes by %s, which no scenario has: it is unknown all the time\n", c.name, strings.Join(custom, ", "))
		}
	}
	results, err := crew.run(ctx, scenarios)
	if err != nil {
		return err
	}
	if s.plot != "" {
		if err := g.simulatePlot(s.plot, results); err != nil {
			return err
		}
	}
	switch {
	case format == "json":
		return writeJSON(g.stdout, simulateAnswer{Scenarios: results})
	case format == "markdown":
		renderSimulationMarkdown(g.stdout, results)
	default:
		renderSimulation(g.stdout, results, painter(g.color(g.stdout)))
	}
	return nil
}

// simulateList prints what there is to choose from.
func (g *globals) simulateList(format string) error {
	var l simulateLists
	for _, sc := range sim.Library() {
		l.Scenarios = append(l.Scenarios, named{sc.Name, sc.About})
	}
	for _, p := range allPolicies() {
		l.Policies = append(l.Policies, named{p.name, p.about})
	}
	if format == "json" {
		return writeJSON(g.stdout, l)
	}
	p := painter(g.color(g.stdout))
	for i, part := range [][]named{l.Scenarios, l.Policies} {
		t := table{columns: []column{{title: [2]string{"SCENARIO", "POLICY"}[i]}, {title: "ABOUT"}}}
		for _, n := range part {
			t.add(n.Name, n.About)
		}
		if i > 0 {
			fmt.Fprintln(g.stdout)
		}
		t.write(g.stdout, "", t.widths(nil), p)
	}
	return nil
}

// simulateLists is what --list prints as JSON.
type simulateLists struct {
	Scenarios []named `json:"scenarios"`
	Policies  []named `json:"policies"`
}

type named struct {
	Name  string `json:"name"`
	About string `json:"about"`
}

// completeScenarios offers scenarios that are not named yet, and files.
func completeScenarios(_ *cobra.Command, done []string, _ string) ([]string, cobra.ShellCompDirective) {
	var out []string
	for _, sc := range sim.Library() {
		if !slices.Contains(done, sc.Name) {
			out = append(out, sc.Name+"\t"+sc.About)
		}
	}
	return out, cobra.ShellCompDirectiveDefault // a shell that finds none of them completes files
}

// completePolicies offers the last of a list of policies.
func completePolicies(_ *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
	head := word[:strings.LastIndex(word, ",")+1]
	var out []string
	for _, p := range allPolicies() {
		if !slices.Contains(strings.Split(head, ","), p.name) {
			out = append(out, head+p.name+"\t"+p.about)
		}
	}
	return out, cobra.ShellCompDirectiveNoSpace
}

// completeParams offers the parameters of the policies on the line.
func completeParams(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	chosen, _ := cmd.Flags().GetStringSlice("policy")
	var out []string
	for _, p := range allPolicies() {
		for _, q := range p.params {
			if slices.Contains(chosen, p.name) {
				out = append(out, fmt.Sprintf("%s=\t%s; default %g", q.Name, q.About, q.Default))
			}
		}
	}
	slices.SortFunc(out, cmp.Compare[string])
	return slices.Compact(out), cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
}
