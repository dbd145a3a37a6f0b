// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/plugins"
	"github.com/steelyard-lb/steelyard/plugins/abi"
	"github.com/steelyard-lb/steelyard/plugins/wasm"
)

const pluginInspectLong = `Show what is in a module or a script: sizes, imports and exports, its manifest, and
why the daemon would refuse it, if it would. It works on what is refused too; the
exit code is then 1.

The sha256 is what "sha256:" in the configuration pins.`

func newPluginInspectCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "inspect FILE", Short: "Show what is in a module: imports, exports, manifest, what is wrong",
		Long:              pluginInspectLong,
		Example:           "  steelyard plugin inspect idle.wasm\n  steelyard plugin inspect least-cpu -o json",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: completeCandidates(1),
		RunE: func(cmd *cobra.Command, a []string) error {
			format, err := g.format("table", "json")
			if err != nil {
				return err
			}
			c, err := findCandidate(a[0], "")
			if err != nil {
				return err
			}
			in, err := inspect(cmd.Context(), c.Code)
			if err != nil {
				return err
			}
			if format == "json" {
				err = writeJSON(g.stdout, in)
			} else {
				renderInspection(g.stdout, c.label(), in, painter(g.color(g.stdout)))
			}
			if err == nil && len(in.Problems) > 0 {
				return &codedError{code: exitFailure} // it has been said
			}
			return err
		},
	}
}

// inspect asks a host of its own.
func inspect(ctx context.Context, code []byte) (plugins.Inspection, error) {
	h := plugins.NewHost(plugins.Config{})
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { _ = h.Run(ctx) }) // it has no error to tell
	defer wg.Wait()
	defer cancel()
	return h.Inspect(ctx, code)
}

func renderInspection(out io.Writer, label string, in plugins.Inspection, p painter) {
	verdict := p.paint(green, "good")
	if len(in.Problems) > 0 {
		verdict = p.paint(red, "refused")
	}
	fmt.Fprintf(out, "%s  %s, %s, %s\n", p.paint(bold, clean(label)), in.Language, byteCount(float64(in.Bytes)), verdict)
	fmt.Fprintf(out, "  sha256  %s\n", in.SHA256)
	if in.Language == "wasm" {
		fmt.Fprintf(out, "  code    %d functions, %s", in.Functions, byteCount(float64(in.CodeBytes)))
		if m := in.Memory; m != nil {
			most := "no limit of its own"
			if m.MaxBytes >= 0 {
				most = "at most " + byteCount(float64(m.MaxBytes))
			}
			fmt.Fprintf(out, "; memory %s at first, %s", byteCount(float64(m.MinBytes)), most)
		}
		fmt.Fprintln(out)
	}
	if in.Damage != "" && in.Language == "wasm" {
		fmt.Fprintf(out, "  %s %s\n", p.paint(yellow, "described only up to:"), clean(in.Damage))
	}
	for _, text := range in.Problems {
		fmt.Fprintf(out, "  %s %s\n", p.paint(red, "refused:"), clean(text))
	}
	if in.Manifest != nil {
		for _, policy := range in.Manifest.Policies {
			renderPolicyInfo(out, policy, p)
		}
	}
	renderSymbols(out, "IMPORTS", in.Imports, p)
	renderSymbols(out, "EXPORTS", in.Exports, p)
	renderSections(out, in.Sections, p)
}

func renderPolicyInfo(out io.Writer, info abi.PolicyInfo, p painter) {
	name := info.Name
	if name == "" {
		name = "(no manifest)"
	}
	fmt.Fprintf(out, "\npolicy %s", p.paint(bold, clean(name)))
	if info.About != "" {
		fmt.Fprintf(out, ": %s", clean(info.About))
	}
	reads := "every reading, as it does not say: every connection of the node is followed for it"
	if info.Reads != nil {
		reads = strings.Join(info.Reads, ", ")
	}
	if reads == "" {
		reads = "no reading"
	}
	fmt.Fprintf(out, "\n  reads   %s\n", clean(reads))
	if len(info.Metrics) > 0 {
		fmt.Fprintf(out, "  metrics %s\n", clean(strings.Join(info.Metrics, ", ")))
	}
	fmt.Fprintf(out, "  state   %d numbers per backend, %d per service\n", info.BackendSlots, info.ServiceSlots)
	if len(info.Params) == 0 {
		return
	}
	t := table{columns: []column{{"PARAMETER", false}, {"DEFAULT", true}, {"UNIT", false}, {"RANGE", false}, {"ABOUT", false}}}
	for _, q := range info.Params {
		t.add(q.Name, fmt.Sprintf("%g", q.Default), q.Unit, q.Range(), q.About)
	}
	t.write(out, "  ", t.widths(nil), p)
}

func renderSymbols(out io.Writer, title string, list []wasm.Symbol, p painter) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintln(out)
	t := table{columns: []column{{title, false}, {"KIND", false}, {"TYPE", false}}}
	for _, s := range list {
		name := s.Name
		if s.Module != "" {
			name = s.Module + "." + s.Name
		}
		t.add(name, s.Kind, s.Type)
	}
	t.write(out, "", t.widths(nil), p)
}

func renderSections(out io.Writer, list []wasm.Section, p painter) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintln(out)
	t := table{columns: []column{{"CUSTOM SECTION", false}, {"SIZE", true}}}
	for _, s := range list {
		t.add(s.Name, byteCount(float64(s.Bytes)))
	}
	t.write(out, "", t.widths(nil), p)
}
