// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/core"
)

const explainLong = `Explain a share: the latest decision record of a service, as a waterfall.

For SERVICE/BACKEND: the readings with their ages, what the policy said, what each
rule of shaping made of it, and the commit that carried it into the kernel. For
SERVICE: all of its backends, one a line.

Each step shows the share before and after it. A factor of "=" changed nothing; a
reading that is stale or missing was not shown to the policy.`

func newExplainCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:               "explain SERVICE[/BACKEND]",
		Short:             "Explain how a share came about",
		Long:              explainLong,
		Example:           "  steelyard explain web/web1\n  steelyard explain web -o json",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: g.completeBackends,
		RunE: func(cmd *cobra.Command, a []string) error {
			return g.explain(cmd.Context(), a[0])
		},
	}
}

func (g *globals) explain(ctx context.Context, what string) error {
	format, err := g.format("table", "json")
	if err != nil {
		return err
	}
	service, backend, one := strings.Cut(what, "/")
	if service == "" || one && (backend == "" || strings.Contains(backend, "/")) {
		return usage(fmt.Errorf("%q: want SERVICE or SERVICE/BACKEND", what))
	}
	d, err := g.latest(ctx, service)
	if err != nil {
		return err
	}
	if one {
		i := slices.IndexFunc(d.Backends, func(b core.BackendDecision) bool { return b.Backend == backend })
		if i < 0 {
			return noSuchBackend(d, backend)
		}
		d.Backends = d.Backends[i : i+1]
	}
	switch {
	case format == "json":
		return writeJSON(g.stdout, d)
	case one:
		renderExplain(g.stdout, d, d.Backends[0], g.color(g.stdout))
	default:
		renderExplainService(g.stdout, d, g.color(g.stdout))
	}
	return nil
}

// latest is the newest decision of a service.
func (g *globals) latest(ctx context.Context, service string) (core.Decision, error) {
	v, err := g.node(ctx)
	if err != nil {
		return core.Decision{}, err
	}
	if _, ok := pick(v, service); !ok {
		return core.Decision{}, noSuchService(v, service)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	ds, err := g.dial(g.Socket).Decisions(ctx, service, 1)
	if err != nil {
		return core.Decision{}, asked(err)
	}
	if len(ds) == 0 {
		return core.Decision{}, fmt.Errorf("service %s: nothing was decided yet", service)
	}
	return ds[0], nil
}

func noSuchBackend(d core.Decision, name string) error {
	var known []string
	for _, b := range d.Backends {
		known = append(known, b.Backend)
	}
	return &codedError{exitFailure, fmt.Errorf("service %s has no backend %q", d.Service, name), "it has " + strings.Join(known, ", ")}
}
