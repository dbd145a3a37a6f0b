// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/config"
	"github.com/steelyard-lb/steelyard/probes"
)

const probeTestLong = `Run the probes of a backend now, once, and print what they find. It needs no daemon
and changes nothing; a running daemon goes on as before.

With -v each step is printed as it happens: where the probe goes, what it sends, what
comes back, and what is made of it; of SNMP the objects, the raw counters, their
differences, the window and the busy share. A probe that needs two answers for a
number, as all that read counters do, is run until it has one.

BACKEND is SERVICE/BACKEND, or an address for a probe that is named with --probe:
with a port as in 10.0.0.11:8080 unless the probe has one of its own.

The exit code is 0 if every probe was good, 1 if one was not.`

// A probeTest is the flags of `probe test`.
type probeTest struct {
	from    source
	probe   string
	verbose bool
	timeout time.Duration
}

func newProbeCommand(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use: "probe", Aliases: []string{"probes"},
		Short: "Run a probe now and see each step of it",
		Args:  args(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newProbeTestCommand(g))
	return cmd
}

func newProbeTestCommand(g *globals) *cobra.Command {
	var o probeTest
	cmd := &cobra.Command{
		Use:   "test BACKEND -c FILE",
		Short: "Run the probes of a backend now and print what they find",
		Long:  probeTestLong,
		Example: `  steelyard probe test web/web1
  steelyard probe test web/web1 --probe cpu -v
  steelyard probe test 10.0.0.11 --probe cpu -v -c new.yaml`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error { return g.probeTest(cmd.Context(), &o, a[0]) },
	}
	o.from.addFlags(cmd)
	cmd.Flags().StringVarP(&o.probe, "probe", "p", "", "only this probe")
	cmd.Flags().BoolVarP(&o.verbose, "verbose", "v", false, "print each step as it happens")
	cmd.Flags().DurationVar(&o.timeout, "timeout", 30*time.Second, "of a probe that waits for a second answer; one run has the timeout of the configuration")
	cmd.ValidArgsFunction = o.completeBackend
	_ = cmd.RegisterFlagCompletionFunc("probe", o.completeProbe) // it is there: the line above made it
	return cmd
}

func (g *globals) probeTest(ctx context.Context, o *probeTest, what string) error {
	format, err := g.format("table", "json")
	if err != nil {
		return err
	}
	if o.timeout <= 0 {
		return usage(fmt.Errorf("--timeout=%s: want more than 0", o.timeout))
	}
	cfg, err := o.from.loadInForce()
	if err != nil {
		return err
	}
	chosen, err := chooseTargets(cfg, what, o.probe)
	if err != nil {
		return err
	}
	answer := probeTestAnswer{Probes: []probeOutcome{}}
	failed := 0
	for i, t := range chosen {
		var live *stepPrinter
		if format != "json" {
			live = &stepPrinter{g: g, verbose: o.verbose}
			live.begin(t, i > 0)
		}
		out := tryProbe(ctx, t, o.timeout, live)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if live != nil {
			live.end(out)
		}
		if !out.OK {
			failed++
		}
		answer.Probes = append(answer.Probes, out)
	}
	if format == "json" {
		if err := writeJSON(g.stdout, answer); err != nil {
			return err
		}
	}
	if failed > 0 {
		return &codedError{code: exitFailure} // it is said already
	}
	return nil
}

// tryProbe runs one probe, and tells live of its steps unless that is nil.
func tryProbe(ctx context.Context, t probes.Target, timeout time.Duration, live *stepPrinter) probeOutcome {
	ctx, cancel := context.WithTimeout(ctx, max(timeout, t.Spec.Timeout))
	defer cancel()
	start := time.Now()
	steps := []probeStep{}
	s := probes.Try(ctx, t, func(step, text string) {
		steps = append(steps, probeStep{time.Since(start).Seconds(), step, text})
		if live != nil {
			live.step(steps[len(steps)-1])
		}
	})
	out := probeOutcome{
		Backend: t.ID.String(), Probe: t.Spec.Name, Type: t.Spec.Type, Role: t.Spec.Role, Address: probes.Where(t),
		OK: s.OK, Code: s.Code, Meaning: s.Code.Explain(), Detail: s.Detail, Admin: s.Admin,
		TookSeconds: s.Took.Seconds(), Metrics: []probeMetric{}, Steps: steps,
	}
	if t.ID.Service == "" {
		out.Backend = ""
	}
	if !s.OK {
		out.Remedy = s.Code.Remedy()
	}
	for _, m := range s.Metrics {
		out.Metrics = append(out.Metrics, probeMetric{m.Name, m.Value, m.Unit, m.Window.Seconds()})
	}
	return out
}

// chooseTargets are the probes that a command line names.
func chooseTargets(cfg *config.Config, what, probe string) ([]probes.Target, error) {
	if addr, ok := bareAddress(what); ok {
		return addressTarget(cfg, addr, probe)
	}
	id, err := core.ParseBackendID(what)
	if err != nil {
		return nil, &codedError{exitUsage, fmt.Errorf("backend %q: want SERVICE/BACKEND, or an address and --probe", what), ""}
	}
	var of, named []probes.Target
	var ids []string
	for _, t := range targets(cfg) {
		if ids = append(ids, t.ID.String()); t.ID != id {
			continue
		}
		if of = append(of, t); t.Spec.Name == probe {
			named = append(named, t)
		}
	}
	switch {
	case len(of) == 0:
		return nil, noProbes(cfg, id, ids)
	case probe == "":
		return of, nil
	case len(named) == 0:
		return nil, &codedError{exitUsage, fmt.Errorf("backend %s has no probe %q", id, probe), "its probes: " + probeNames(of)}
	}
	return named, nil
}

// noProbes says why nothing of a backend can be run.
func noProbes(cfg *config.Config, id core.BackendID, ids []string) error {
	for _, s := range cfg.Services {
		for _, b := range s.Backends {
			if s.Name == id.Service && b.Name == id.Backend {
				return &codedError{exitUsage, fmt.Errorf("backend %s has no probes", id), "name one of another service: --probe NAME with its address, " + b.Addr.String()}
			}
		}
	}
	e := &codedError{exitUsage, fmt.Errorf("there is no backend %q in the configuration", id), ""}
	if near := core.Nearest(id.String(), ids); near != "" {
		e.hint = fmt.Sprintf("did you mean %q?", near)
	}
	return e
}

// bareAddress reads an address with or without a port.
func bareAddress(s string) (netip.AddrPort, bool) {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap, true
	}
	a, err := netip.ParseAddr(strings.Trim(s, "[]"))
	return netip.AddrPortFrom(a, 0), err == nil
}

// addressTarget is a configured probe for an address that need not be.
func addressTarget(cfg *config.Config, addr netip.AddrPort, probe string) ([]probes.Target, error) {
	known := make([]string, 0, len(cfg.Probes))
	for name := range cfg.Probes {
		known = append(known, name)
	}
	slices.Sort(known)
	spec, ok := cfg.Probes[probe]
	if !ok {
		e := &codedError{exitUsage, fmt.Errorf("there is no probe %q in the configuration", probe), "known: " + cmp.Or(strings.Join(known, ", "), "none")}
		if probe == "" {
			e.err = fmt.Errorf("which probe is to ask %s? Name it with --probe", addr.Addr())
		}
		return nil, e
	}
	t := probes.Target{Addr: addr, Spec: &spec}
	if probes.NeedsPort(t) {
		return nil, &codedError{exitUsage, fmt.Errorf("probe %s has no port of its own", probe), fmt.Sprintf("name one with the address: %s", netip.AddrPortFrom(addr.Addr(), 80))}
	}
	return []probes.Target{t}, nil
}

func probeNames(ts []probes.Target) string {
	names := make([]string, len(ts))
	for i, t := range ts {
		names[i] = t.Spec.Name
	}
	return strings.Join(names, ", ")
}

// completeBackend offers the backends of the configuration that have probes.
func (o *probeTest) completeBackend(_ *cobra.Command, done []string, _ string) ([]string, cobra.ShellCompDirective) {
	cfg, err := o.from.loadInForce()
	if err != nil || len(done) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	last := core.BackendID{}
	for _, t := range targets(cfg) {
		if t.ID != last {
			out = append(out, t.ID.String()+"\t"+t.Addr.String())
		}
		last = t.ID
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// completeProbe offers the probes of the backend that is named, or all.
func (o *probeTest) completeProbe(_ *cobra.Command, done []string, _ string) ([]string, cobra.ShellCompDirective) {
	cfg, err := o.from.loadInForce()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for name, spec := range cfg.Probes {
		for _, s := range cfg.Services {
			if of, _, isID := strings.Cut(strings.Join(done, ""), "/"); !isID || s.Name == of && slices.Contains(s.Probes, name) {
				out = append(out, name+"\t"+spec.Type)
				break
			}
		}
	}
	slices.Sort(out)
	return out, cobra.ShellCompDirectiveNoFileComp
}
