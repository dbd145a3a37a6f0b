// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/core/admin"
)

const monitorLong = `Follow what steelyard learns, decides and commits, as it happens.

PATTERN is a subject of the bus; the prefix steelyard.v1 may be left out. * is any
one word, > is all that follows. Without a pattern everything is shown. The words
after the class are escaped: the dots of 10.0.0.1 are written 10=2E0=2E0=2E1.

  probe.<service>.<backend>.<probe>.<node>      samples of the probes
  metric.<source>.<service>.<backend>.<name>    what monitors add
  metric.<source>.<target>.<name>               the same, about a target
  health.<service>.<backend>                    up and down
  decision.<service>                            shares, before and after
  commit.<node>                                 transactions of the kernel
  event.<severity>.<topic>                      what an operator should see
  node.<group>.<node>                           which nodes of a group are there
  weights.<group>.<service>.<node>              the shares that the leader of a service decides
  flows.<group>.<service>.<node>                connections at each balancer

Each node of a group says four times a second that it is there. Of that only what is new
is shown, unless the pattern begins with node or the output is json.`

// errEnough ends a stream from the inside, errSaidBefore is a message that is not shown.
var (
	errEnough     = errors.New("enough")
	errSaidBefore = errors.New("said before")
)

func newMonitorCommand(g *globals) *cobra.Command {
	var count uint64
	cmd := &cobra.Command{
		Use:   "monitor [PATTERN]",
		Short: "Follow samples, health, decisions and commits",
		Long:  monitorLong,
		Example: `  steelyard monitor 'probe.web.>'
  steelyard monitor health.web.web1 -o json --count 1`,
		Args: args(cobra.MaximumNArgs(1)),
		ValidArgsFunction: cobra.FixedCompletions([]cobra.Completion{
			"probe.>\tsamples", "metric.>\twhat monitors add", "health.>\tup and down", "decision.>\tshares",
			"commit.>\ttransactions", "event.>\tevents", "event.error.>\terrors",
			"node.>\tnodes of a group", "weights.>\tshares by leaders", "flows.>\tconnections by balancer",
		}, cobra.ShellCompDirectiveNoFileComp),
		RunE: func(cmd *cobra.Command, a []string) error {
			pattern := ">"
			if len(a) == 1 {
				pattern = a[0]
			}
			return g.monitor(cmd.Context(), pattern, count)
		},
	}
	cmd.Flags().Uint64Var(&count, "count", 0, "end after so many messages; 0 means never")
	return cmd
}

// monitor follows a pattern until ctx is done or count messages were shown.
func (g *globals) monitor(ctx context.Context, pattern string, count uint64) error {
	format, err := g.format("text", "table", "json")
	if err != nil {
		return err
	}
	show := g.monitorJSON
	if format != "json" {
		f := monitorFormat{painter: painter(g.color(g.stdout))}
		all := strings.HasPrefix(strings.TrimPrefix(pattern, bus.Prefix+"."), string(bus.NodeClass)+".")
		show = func(l admin.Line) error {
			text := f.line(l)
			if f.again && !all {
				return errSaidBefore
			}
			_, err := fmt.Fprintln(g.stdout, text)
			return err
		}
	}
	err = admin.NewClient(g.Socket).Monitor(ctx, pattern, countLines(show, count))
	if errors.Is(err, errEnough) {
		return nil
	}
	return asked(err)
}

// monitorJSON writes one object a line, for programs that read line by line.
func (g *globals) monitorJSON(l admin.Line) error {
	enc := json.NewEncoder(g.stdout)
	enc.SetEscapeHTML(false)
	return enc.Encode(l)
}

// countLines ends the stream after count messages that were shown; a note of lost ones is none.
func countLines(show func(admin.Line) error, count uint64) func(admin.Line) error {
	var shown uint64
	return func(l admin.Line) error {
		if err := show(l); errors.Is(err, errSaidBefore) {
			return nil
		} else if err != nil {
			return err
		}
		if l.Subject != "" {
			shown++
		}
		if count > 0 && shown >= count {
			return errEnough
		}
		return nil
	}
}
