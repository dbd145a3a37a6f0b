// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/core"
)

const showLong = `Show services and their backends: what share of new connections each gets, and why.

  STATE     up, down or unknown; drain by command or by its agent; maint in a
            maintenance window; full by max_connections; ejected by passive health;
            reserve while a priority group before its own is enough; sorry
  PRIO      priority group, where there are several
  WEIGHT    as configured; with * as set by "steelyard backend weight"
  SHARE     of new connections, as committed to the kernel
  CONNS     connections open now, of max_connections if that is set; in a group those of
            all nodes where this node leads the service, and else its own
  CPS       connections opened per second
  CHECK     how the health probe ended, and how long it took; then metric probes that fail
  WHY       the reason for the share, with the time that is left of a command, an
            ejection or a hold; "steelyard explain SERVICE/BACKEND" has all of it

The line that begins with "with" names what else is done with the connections of a
service; "steelyard explain SERVICE" tells all of it. Of a service with a shadow policy
its line says how much of the new connections that would send elsewhere.

With --stats there are totals since the table was made, with --rate numbers per
second over the last 2 seconds (CPS: 5 seconds), with both flags both:

  CONNS    connections that were sent to the backend   CPS     connections opened
  INPKTS   packets from clients                        INPPS
  OUTPKTS  packets to clients                          OUTPPS
  INBYTES  bytes from clients, with their IP headers   INBPS   in bytes, not bits
  OUTBYTES bytes to clients                            OUTBPS

Packets and bytes are counted for services with "count_bytes: true", of others they
are "-". What a flowtable forwards ("offload: true") is not counted.

A number that nobody knows is "-". With -o json the units are in the names.`

func newShowCommand(g *globals) *cobra.Command {
	var watch time.Duration
	var o showOptions
	cmd := &cobra.Command{
		Use:               "show [SERVICE]",
		Short:             "Show services, backends, shares and the reasons for them",
		Long:              showLong,
		Args:              args(cobra.MaximumNArgs(1)),
		ValidArgsFunction: g.completeServices,
		RunE: func(cmd *cobra.Command, a []string) error {
			if len(a) == 1 {
				o.Service = a[0]
			}
			if watch < 0 || watch > 0 && watch < minWatch {
				return usage(fmt.Errorf("--watch=%s: want at least %s", watch, minWatch))
			}
			return g.show(cmd.Context(), o, watch)
		},
	}
	cmd.Flags().DurationVarP(&watch, "watch", "w", 0, "repeat, every 2s or --watch=TIME")
	cmd.Flags().Lookup("watch").NoOptDefVal = "2s"
	cmd.AddCommand(newShowSessionsCommand(g), newShowPluginsCommand(g), newShowProbesCommand(g), newShowNodesCommand(g))
	cmd.Flags().BoolVar(&o.Stats, "stats", false, "connections, packets and bytes, in and out")
	cmd.Flags().BoolVar(&o.Rate, "rate", false, "the same per second")
	return cmd
}

const minWatch = 100 * time.Millisecond

// show prints once, or with watch again and again until ctx is done.
func (g *globals) show(ctx context.Context, o showOptions, watch time.Duration) error {
	format, err := g.format("table", "json")
	if err != nil {
		return err
	}
	if watch == 0 {
		return g.showOnce(ctx, o, format, false)
	}
	tick := time.NewTicker(watch)
	defer tick.Stop()
	for {
		if err := g.showOnce(ctx, o, format, true); err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil // Ctrl-C is how a watch ends
		case <-tick.C:
		}
	}
}

// clearScreen homes the cursor and wipes what is below, without a flicker.
const clearScreen = "\x1b[H\x1b[2J"

func (g *globals) showOnce(ctx context.Context, o showOptions, format string, again bool) error {
	v, err := g.node(ctx)
	if err != nil {
		return err
	}
	if o.Service != "" {
		if _, ok := pick(v, o.Service); !ok {
			return notShown(v, o.Service, again)
		}
		v, _ = pick(v, o.Service)
	}
	o.Color = g.color(g.stdout)
	switch {
	case format == "json" && again:
		return json.NewEncoder(g.stdout).Encode(v) // one line each, for jq
	case format == "json":
		return writeJSON(g.stdout, v)
	case again && o.Color:
		fmt.Fprint(g.stdout, clearScreen)
	}
	renderShow(g.stdout, v, o)
	if again && !o.Color {
		fmt.Fprintln(g.stdout)
	}
	return nil
}

// callTimeout bounds one question to the daemon.
const callTimeout = 10 * time.Second

// node asks the daemon for its state.
func (g *globals) node(ctx context.Context) (core.NodeView, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	v, err := g.dial(g.Socket).Node(ctx)
	return v, asked(err)
}

func noSuchService(v core.NodeView, name string) error {
	hint := "there are no services"
	for i, s := range v.Services {
		if i == 0 {
			hint = "known: " + s.Name
			continue
		}
		if i == 10 {
			hint += ", …"
			break
		}
		hint += ", " + s.Name
	}
	return &codedError{exitFailure, fmt.Errorf("no service %q", name), hint}
}

// notShown is noSuchService, or what was probably meant: show takes services
// only, and --watch its time behind an equals sign.
func notShown(v core.NodeView, name string, again bool) error {
	hint := ""
	service, _, ok := strings.Cut(name, "/")
	if _, known := pick(v, service); ok && known {
		hint = "`steelyard explain " + name + "` shows one backend"
	}
	if _, err := time.ParseDuration(name); err == nil && again {
		hint = "write --watch=" + name
	}
	if hint == "" {
		return noSuchService(v, name)
	}
	return &codedError{exitFailure, fmt.Errorf("no service %q", name), hint}
}
