// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/core"
)

const traceLong = `Follow the next sample of a backend, from the end of its probe to the kernel.

Each of the seven steps that a sample goes through is one line: when it was done, in
milliseconds since the end of the probe, and what came of it. A sample that changes the
health of the backend is decided and committed at once. Any other is followed to the next
decision of its service that has it among its inputs.

It waits for the next sample, so it takes as long as the probe's interval, and then that of
the service (every). Of a service that another node leads, it ends when that has sent
nothing by then, and says whose shares are in force and since when; what its leader makes
of a sample is to be asked there. What is known by the end of --timeout is printed.`

// traceTimeout is how long it waits by default: longer than most probes' interval and
// the service's.
const traceTimeout = 30 * time.Second

func newTraceCommand(g *globals) *cobra.Command {
	var probe string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:               "trace SERVICE/BACKEND",
		Short:             "Follow one sample from its probe to the kernel",
		Long:              traceLong,
		Example:           "  steelyard trace web/web1\n  steelyard trace web/web1 --probe cpu --timeout 1m",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: g.completeBackendIDs(func(*core.Override) bool { return true }),
		RunE: func(cmd *cobra.Command, a []string) error {
			return g.traceSample(cmd.Context(), a[0], probe, timeout)
		},
	}
	cmd.Flags().StringVar(&probe, "probe", "", "of this probe, or of the metric of this name that a monitor sends; default: whichever comes first")
	cmd.Flags().DurationVar(&timeout, "timeout", traceTimeout, "how long to wait at most")
	_ = cmd.RegisterFlagCompletionFunc("probe", g.completeProbesOf)
	return cmd
}

// completeProbesOf offers the probes of the backend that is named already.
func (g *globals) completeProbesOf(cmd *cobra.Command, done []string, _ string) ([]string, cobra.ShellCompDirective) {
	var out []string
	for _, s := range g.completeView(cmd).Services {
		for _, b := range s.Backends {
			if len(done) == 0 || done[0] != (core.BackendID{Service: s.Name, Backend: b.Name}).String() {
				continue
			}
			for _, p := range b.Probes {
				out = append(out, fmt.Sprintf("%s\t%s, %s", p.Name, p.Type, p.Code))
			}
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

func (g *globals) traceSample(ctx context.Context, what, probe string, timeout time.Duration) error {
	format, err := g.format("table", "json")
	if err != nil {
		return err
	}
	id, err := core.ParseBackendID(what)
	if err != nil {
		return usage(err)
	}
	if timeout <= 0 {
		return usage(errors.New("timeout: want more than 0"))
	}
	t, err := g.dial(g.Socket).Trace(ctx, id, probe, timeout)
	if err != nil {
		return asked(err)
	}
	if format == "json" {
		return writeJSON(g.stdout, t)
	}
	renderTrace(g.stdout, t)
	return nil
}

// renderTrace writes one step a line, with the milliseconds since the end of the probe.
func renderTrace(w io.Writer, t core.Trace) {
	widest := 0
	offsets := make([]string, len(t.Steps))
	for i, s := range t.Steps {
		offsets[i] = fmt.Sprintf("%+.1f ms", 1000*s.SinceSeconds)
		widest = max(widest, len(offsets[i]))
	}
	for i, s := range t.Steps {
		fmt.Fprintf(w, "  %d %-9s  %*s  %s\n", s.Step, clean(s.Name), widest, offsets[i], clean(s.Text))
	}
	if t.Conclusion != "" {
		fmt.Fprintf(w, "  = %s\n", clean(t.Conclusion))
	}
}

// Trace follows one sample, for the control socket.
func (d *daemon) Trace(ctx context.Context, id core.BackendID, probe string) (core.Trace, error) {
	return d.engine.Trace(ctx, id, probe)
}
