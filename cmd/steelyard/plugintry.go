// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/plugins/plugintest/suite"
)

const pluginTestLong = `Put a policy through the conformance suite and through its scenarios.

The suite asks what every policy must be able to answer: no backend, one, 10,000;
all down, all unmeasured, readings that are 0, huge or old; backends that come and
go. It looks whether answers repeat in another worker, whether services stay apart,
what becomes of state that is garbage, and at the time and memory of a call.

Scenarios are what you expect of it: scenarios.yaml beside the policy, or the file
that --scenarios names. --update writes the policy's answers into that file where
they are others than expected; look at the difference before you commit it.

  scenarios:
    - name: the idle one gets more
      backends:
        a: {weight: 10, cpu: 20%, cores: 4}
        b: {weight: 10, cpu: 80%, cores: 4}
      expect: {a: 80%, b: 20%}            # or hold, 10%..30%, or a list: ["a > b"]
      then:
        - seconds: 5
          backends: {b: {health: down}}    # {b: gone} takes it out

A note is something to know; a failure makes the exit code 1.`

// testOptions are the flags of plugin test.
type testOptions struct {
	policy    string
	scenarios string
	only      bool
	update    bool
	allow     []string
	params
}

// A testReport is what plugin test -o json prints.
type testReport struct {
	OK        bool           `json:"ok"`
	Policy    string         `json:"policy"`
	Version   string         `json:"version"`
	Checks    []suite.Result `json:"checks,omitempty"`
	File      string         `json:"scenario_file,omitempty"`
	Scenarios []suite.Result `json:"scenarios,omitempty"`
}

func newPluginTestCommand(g *globals) *cobra.Command {
	var o testOptions
	cmd := &cobra.Command{
		Use: "test FILE", Short: "Contract, properties and your scenarios",
		Long:              pluginTestLong,
		Example:           "  steelyard plugin test idle.wasm\n  steelyard plugin test idle.lua --only-scenarios --update\n  steelyard plugin test least-cpu -o json",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: completeCandidates(1),
		RunE:              func(cmd *cobra.Command, a []string) error { return g.pluginTest(cmd.Context(), a[0], o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.scenarios, "scenarios", "", "scenario file (default: scenarios.yaml beside the policy, if it is there)")
	f.BoolVar(&o.only, "only-scenarios", false, "leave the conformance suite out")
	f.BoolVar(&o.update, "update", false, "write the policy's answers into the scenario file")
	f.StringSliceVar(&o.allow, "allow", nil, "properties that it breaks on purpose: "+strings.Join(suite.Allowed, ", "))
	_ = cmd.MarkFlagFilename("scenarios", "yaml", "yml")                                                                   // it is there: made above
	_ = cmd.RegisterFlagCompletionFunc("allow", cobra.FixedCompletions(suite.Allowed, cobra.ShellCompDirectiveNoFileComp)) // so is this
	addPolicyFlag(cmd, &o.policy)
	o.addFlag(cmd)
	return cmd
}

func (g *globals) pluginTest(ctx context.Context, arg string, o testOptions) error {
	format, err := g.format("table", "json")
	if err != nil {
		return err
	}
	for _, a := range o.allow {
		if !slices.Contains(suite.Allowed, a) {
			return usage(fmt.Errorf("--allow %s: want %s", a, strings.Join(suite.Allowed, " or ")))
		}
	}
	c, err := findCandidate(arg, o.policy)
	if err != nil {
		return err
	}
	file, err := o.file(c)
	if err != nil {
		return err
	}
	r := testReport{Policy: c.Name, Version: c.Version}
	w := &resultWriter{out: g.stdout, painter: painter(g.color(g.stdout))}
	if format == "json" {
		w.out = io.Discard
	}
	if err := g.runTest(ctx, c, o, file, &r, w); err != nil {
		return err
	}
	if r.OK = w.counts[suite.Fail] == 0; format == "json" {
		if err := writeJSON(g.stdout, r); err != nil {
			return err
		}
	}
	w.end()
	if !r.OK {
		return &codedError{code: exitFailure} // it has been said
	}
	return nil
}

// valuesFor are the parameters for the suite. They are looked at first, or every
// check would fail for them.
func (o *testOptions) valuesFor(ctx context.Context, c candidate) (map[string]float64, error) {
	if len(o.given) == 0 {
		return nil, nil
	}
	if o.only {
		return nil, &codedError{exitUsage, errors.New("--param is for the suite, and --only-scenarios leaves that out"), "write params: into the scenario"}
	}
	t, err := c.Open(ctx)
	if err != nil {
		return o.values() // the suite says what is wrong with the module
	}
	defer t.Close()
	return o.takenBy(&t.Info)
}

func (g *globals) runTest(ctx context.Context, c candidate, o testOptions, file *suite.ScenarioFile, r *testReport, w *resultWriter) error {
	values, err := o.valuesFor(ctx, c)
	if err != nil {
		return err
	}
	allow := o.allow
	if file != nil {
		allow = append(slices.Clone(allow), file.Allow...)
	}
	if !o.only {
		w.title("conformance of " + c.Version)
		if r.Checks, err = suite.Conform(ctx, c.Subject, suite.Options{Allow: allow, Params: values, Ended: w.result}); err != nil {
			return err
		}
	}
	if file == nil || len(r.Checks) == 1 { // a module that does not load has nothing more to say
		return nil
	}
	t, err := c.Open(ctx)
	if err != nil {
		return err
	}
	defer t.Close()
	r.File = file.Path
	if o.update {
		if file, err = g.updateScenarios(ctx, t, file); err != nil {
			return err
		}
	}
	w.title("scenarios of " + file.Path)
	r.Scenarios, err = file.Run(ctx, t, w.result)
	return err
}

// updateScenarios writes the policy's answers into the file.
func (g *globals) updateScenarios(ctx context.Context, t *suite.Session, file *suite.ScenarioFile) (*suite.ScenarioFile, error) {
	text, changed, err := file.Update(ctx, t)
	if err != nil || changed == 0 {
		return file, err
	}
	if err := os.WriteFile(file.Path, []byte(text), 0o644); err != nil {
		return nil, err
	}
	fmt.Fprintf(g.stderr, "%s: %d places written\n", file.Path, changed)
	return suite.ReadScenarios(file.Path, []byte(text))
}

// file is the scenario file, nil if there is none.
func (o *testOptions) file(c candidate) (*suite.ScenarioFile, error) {
	path := o.scenarios
	if path == "" && c.Path != "" {
		path = filepath.Join(filepath.Dir(c.Path), "scenarios.yaml")
	}
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && o.scenarios == "":
		return nil, nil
	case err != nil:
		return nil, err
	}
	f, err := suite.ReadScenarios(path, data)
	if err != nil {
		return nil, &codedError{exitConfig, err, ""}
	}
	return f, nil
}

// A resultWriter prints results as they come in, and counts them.
type resultWriter struct {
	out    io.Writer
	counts map[suite.Status]int
	titles int
	said   map[string]bool // causes; one that comes again is not told again
	painter
}

func (w *resultWriter) title(text string) {
	if w.titles++; w.titles > 1 {
		fmt.Fprintln(w.out)
	}
	fmt.Fprintf(w.out, "%s\n", w.paint(bold, clean(text)))
}

func (w *resultWriter) result(r suite.Result) {
	if w.counts == nil {
		w.counts, w.said = map[suite.Status]int{}, map[string]bool{}
	}
	w.counts[r.Status]++
	if w.said[r.Cause] && r.Cause != "" {
		r.Detail, r.Cause, r.Remedy = "as above", "", ""
	}
	w.said[r.Cause] = true
	mark := w.paint(green, "ok  ")
	switch r.Status {
	case suite.Fail:
		mark = w.paint(red, "FAIL")
	case suite.Note:
		mark = w.paint(yellow, "note")
	}
	line := fmt.Sprintf("  %s  %-34s %s", mark, clean(r.Name), w.paint(dim, clean(r.Detail)))
	fmt.Fprintln(w.out, strings.TrimRight(line, " "))
	if r.Cause != "" {
		fmt.Fprintf(w.out, "        %s\n", clean(r.Cause))
	}
	if r.Remedy != "" {
		fmt.Fprintf(w.out, "        = %s\n", w.paint(green, clean(r.Remedy)))
	}
}

func (w *resultWriter) end() {
	text := fmt.Sprintf("%d passed", w.counts[suite.Pass])
	if n := w.counts[suite.Note]; n > 0 {
		text += fmt.Sprintf(", %d to note", n)
	}
	if n := w.counts[suite.Fail]; n > 0 {
		text += w.paint(red, fmt.Sprintf(", %d failed", n))
	}
	fmt.Fprintf(w.out, "\n%s\n", text)
}
