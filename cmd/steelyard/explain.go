// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/admin"
)

const explainLong = `Explain a share: the latest decision record of a service, as a waterfall.

For SERVICE/BACKEND: the readings with their ages, what the policy said, what each
rule of shaping made of it, and the commit that carried it into the kernel; how each
probe of the backend ended last; and what it has of its own in the configuration.
For SERVICE: all of its backends, one a line, and what is done with its connections:
each key of the configuration that is on, and what limits have turned away.

Where the service has a shadow policy, there is also what that would give each backend,
shaped by the same rules as if it had been in force all the time, and how much of the new
connections it would send elsewhere.

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
	d, v, err := g.latest(ctx, service)
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
	state, err := g.serviceState(ctx, v, service)
	if err != nil {
		return err
	}
	switch {
	case format == "json":
		return writeJSON(g.stdout, explainAnswerOf(d, state, backend))
	case one:
		renderExplain(g.stdout, d, d.Backends[0], lastProbes(v, service, backend), g.color(g.stdout))
		renderBackendSettings(g.stdout, state.ServiceView, backend, painter(g.color(g.stdout)))
		renderPins(g.stdout, state.Pins, backend, v.At, g.color(g.stdout))
	default:
		renderExplainService(g.stdout, d, g.color(g.stdout))
		renderSettings(g.stdout, state, painter(g.color(g.stdout)))
		renderPins(g.stdout, state.Pins, "", v.At, g.color(g.stdout))
	}
	return nil
}

// serviceState is what is known of a service of the view besides its decision.
func (g *globals) serviceState(ctx context.Context, v core.NodeView, service string) (serviceState, error) {
	lacks := lacksOffload(v.Kernel.Features)
	v, _ = pick(v, service)
	out := serviceState{ServiceView: v.Services[0], LacksOffload: lacks}
	if out.Settings == nil || out.Settings.Persistence.Timeout == 0 {
		return out, nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	// One session, for the counts beside it: no limit would be all of them.
	list, err := g.dial(g.Socket).Sessions(ctx, admin.SessionsQuery{Service: service, Limit: 1})
	if err != nil {
		return out, asked(err)
	}
	if len(list) > 0 {
		out.Sessions = &list[0]
	}
	return out, nil
}

// lacksOffload is what to do about a kernel without flowtables; empty where it has
// them, or nobody knows.
func lacksOffload(features []core.Feature) string {
	for _, f := range features {
		if f.Name == "flowtable" && !f.Present {
			return f.Remedy
		}
	}
	return ""
}

// An explainAnswer is what `explain -o json` prints.
type explainAnswer struct {
	core.Decision
	Settings   *core.Settings      `json:"settings,omitempty"`
	Refused    uint64              `json:"refused_total"`
	TurnedAway core.Turned         `json:"turned_away_total"`
	Remembered []core.SessionCount `json:"remembered_clients,omitempty"`
	Pins       []core.PinState     `json:"pins_by_command,omitempty"`
	OffloadOff string              `json:"offload_lacks,omitempty"`    // what to do about it
	Backend    *backendSettings    `json:"backend_settings,omitempty"` // of SERVICE/BACKEND
}

func explainAnswerOf(d core.Decision, v serviceState, backend string) explainAnswer {
	out := explainAnswer{Decision: d, Settings: v.Settings, Refused: v.RefusedTotal, TurnedAway: v.TurnedAwayTotal, Pins: v.Pins}
	if v.Sessions != nil {
		out.Remembered = v.Sessions.Counts
	}
	if v.Offload {
		out.OffloadOff = v.LacksOffload
	}
	for _, b := range v.Backends {
		if b.Name == backend {
			own := ownSettings(b)
			out.Backend = &own
		}
	}
	return out
}

// latest is the newest decision of a service, and the node's state before it was
// asked for.
func (g *globals) latest(ctx context.Context, service string) (core.Decision, core.NodeView, error) {
	v, err := g.node(ctx)
	if err != nil {
		return core.Decision{}, v, err
	}
	if _, ok := pick(v, service); !ok {
		return core.Decision{}, v, noSuchService(v, service)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	ds, err := g.dial(g.Socket).Decisions(ctx, service, 1)
	if err != nil {
		return core.Decision{}, v, asked(err)
	}
	if len(ds) == 0 {
		return core.Decision{}, v, fmt.Errorf("service %s: nothing was decided yet", service)
	}
	return ds[0], v, nil
}

// A probeRow is one probe's latest sample and how old it is.
type probeRow struct {
	core.ProbeView
	Age float64 // seconds; negative: it has not run yet
}

// lastProbes are the probes of one backend as of the view, health probes first.
func lastProbes(v core.NodeView, service, backend string) []probeRow {
	var rows []probeRow
	v, _ = pick(v, service)
	for _, b := range v.Services[0].Backends {
		if b.Name != backend {
			continue
		}
		for _, p := range b.Probes {
			age := -1.0
			if !p.At.IsZero() {
				age = max(v.At.Sub(p.At).Seconds(), 0)
			}
			rows = append(rows, probeRow{p, age})
		}
	}
	slices.SortStableFunc(rows, func(a, b probeRow) int {
		return cmp.Compare(string(a.Role), string(b.Role))
	})
	return rows
}

func noSuchBackend(d core.Decision, name string) error {
	var known []string
	for _, b := range d.Backends {
		known = append(known, b.Backend)
	}
	return &codedError{exitFailure, fmt.Errorf("service %s has no backend %q", d.Service, name), "it has " + strings.Join(known, ", ")}
}
