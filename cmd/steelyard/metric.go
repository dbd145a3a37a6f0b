// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/core/admin"
)

func newMetricCommand(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "metric",
		Short: "Hand in what a script knows of the backends",
		Args:  args(cobra.NoArgs),
	}
	cmd.AddCommand(newMetricPushCommand(g))
	return cmd
}

const metricPushLong = `Hand in a number about a backend, for policies that go by it.

TARGET is SERVICE/BACKEND, the name of a backend in whatever services it is, or the
address of one. NAME is what policies call the metric, such as cpu or queue_depth.
A metric never makes a backend up or down; it grows old, and what is older than
shaping.stale_after is unknown to the policy. So push it again and again.

With - it reads many from standard input, a line each: "TARGET NAME VALUE [UNIT]", or
a JSON object with target, name, value, unit, window_seconds and at. Each line is sent
as soon as it is there. What is wrong with one costs no other.

It goes to the daemon on this machine; with --url to the HTTP listener of a daemon, as
the user of the token or password. These two know their backends: a TARGET that is none
is an error that says what there is. With --server it goes to a NATS, as --user, where
nobody answers: "steelyard status" counts what came for unknown backends, and "steelyard
monitor event.warn.bus" names it.`

const metricPushExample = `  steelyard metric push web/web1 queue_depth 12
  uptime | sed 's/.*load average: //; s/,.*//' | xargs steelyard metric push 10.0.0.11 load
  ./read-queues | steelyard metric push - --server nats://192.0.2.53:4222 --user zabbix --password-file zabbix.password
  steelyard metric push web1 cpu 0.42 --unit ratio --url https://lb1.example.org:9190 --token-file zabbix.token`

// A metricFlags is what metric push is told.
type metricFlags struct {
	natsFlags
	unit      string
	window    time.Duration
	source    string
	url       string
	tokenFile string
}

func newMetricPushCommand(g *globals) *cobra.Command {
	var f metricFlags
	cmd := &cobra.Command{
		Use:               "push TARGET NAME VALUE | -",
		Short:             "Hand in a number about a backend",
		Long:              metricPushLong,
		Example:           metricPushExample,
		Args:              args(metricArgs),
		ValidArgsFunction: g.completeBackends,
		RunE:              func(cmd *cobra.Command, a []string) error { return g.metricPush(cmd.Context(), &f, a, cmd.InOrStdin()) },
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if strings.Contains(err.Error(), "unknown shorthand flag") && strings.ContainsAny(err.Error(), "0123456789") {
			return &codedError{exitUsage, err, "write -- before a value below zero: steelyard metric push -- web1 offset -5"}
		}
		return flagError(cmd, err)
	})
	f.natsFlags.addFlags(cmd)
	cmd.Flags().StringVar(&f.unit, "unit", "", "unit: ratio, seconds, count, per_second, bytes, …")
	cmd.Flags().DurationVar(&f.window, "window", 0, "time that the number speaks of, as in 60s")
	cmd.Flags().StringVar(&f.source, "source", "", "name of the monitor; default: the user of --server, or this host")
	cmd.Flags().StringVar(&f.url, "url", "", "HTTP listener of a daemon, such as https://lb1.example.org:9190")
	cmd.Flags().StringVar(&f.tokenFile, "token-file", "", "file that holds the token for --url")
	return cmd
}

func metricArgs(_ *cobra.Command, a []string) error {
	switch {
	case len(a) == 1 && a[0] == "-", len(a) == 3:
		return nil
	}
	return fmt.Errorf("got %s, want TARGET NAME VALUE, or - for standard input", plural(len(a), "argument"))
}

// A metricSender hands metrics in, at most admin.MaxMetrics at a time.
type metricSender interface {
	send(ctx context.Context, list []admin.PushMetric) (admin.MetricsAnswer, error)
	close()
}

// A metricResult is what metric push -o json prints.
type metricResult struct {
	Taken   int             `json:"taken"`
	Refused []refusedMetric `json:"refused,omitempty"`
	// Warning says why what was taken has not reached everybody.
	Warning string `json:"warning,omitempty"`
}

type refusedMetric struct {
	Line  int    `json:"line"`
	Error string `json:"error"`
}

func (g *globals) metricPush(ctx context.Context, f *metricFlags, a []string, stdin io.Reader) error {
	format, err := g.format("table", "json")
	if err != nil {
		return err
	}
	if f.window < 0 {
		return usage(fmt.Errorf("--window=%s: want 0 or more", f.window))
	}
	var single admin.PushMetric
	if len(a) == 3 {
		if single, err = metricOf(a); err != nil {
			return usage(err)
		}
	}
	to, err := g.metricSender(ctx, f)
	if err != nil {
		return err
	}
	defer to.close()
	p := metricPusher{to: to, unit: f.unit, window: f.window.Seconds(), warn: func(text string) {
		if format != "json" || len(a) == 3 {
			g.warn(text)
		}
	}}
	if len(a) == 3 {
		return p.one(ctx, single)
	}
	if err := p.all(ctx, stdin); err != nil {
		return err
	}
	return g.metricsPushed(format, p.result)
}

// metricsPushed tells what became of a stream.
func (g *globals) metricsPushed(format string, r metricResult) error {
	if format == "json" {
		if err := writeJSON(g.stdout, r); err != nil || len(r.Refused) == 0 {
			return err
		}
		return &codedError{code: exitFailure} // it is said already
	}
	if n := len(r.Refused); n > 0 {
		return fmt.Errorf("%d of %s refused", n, plural(r.Taken+n, "metric"))
	}
	return nil
}

// metricSender is the way that the flags choose.
func (g *globals) metricSender(ctx context.Context, f *metricFlags) (metricSender, error) {
	switch {
	case f.url != "" && len(f.servers) > 0:
		return nil, usage(errors.New("--url and --server are two ways; keep one"))
	case f.url != "":
		return newHTTPMetrics(f)
	case f.tokenFile != "":
		return nil, usage(errors.New("--token-file is for --url"))
	case len(f.servers) > 0:
		return newNATSMetrics(ctx, f)
	case f.used():
		return nil, usage(errors.New("logins are for --server and --url; the control socket has none"))
	}
	to, ok := g.dial(g.Socket).(socketMetrics)
	if !ok {
		return nil, errors.New("this control takes no metrics")
	}
	return overSocket{to, cmp.Or(f.source, hostName())}, nil
}

// hostName is the name of a monitor that has no other.
func hostName() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "unknown"
	}
	return name
}

// A socketMetrics takes metrics; admin.Client is the one over the control socket.
type socketMetrics interface {
	PushMetrics(ctx context.Context, source string, list []admin.PushMetric) (admin.MetricsAnswer, error)
}

type overSocket struct {
	to     socketMetrics
	source string
}

func (s overSocket) send(ctx context.Context, list []admin.PushMetric) (admin.MetricsAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	a, err := s.to.PushMetrics(ctx, s.source, list)
	return a, asked(err)
}

func (overSocket) close() {}
