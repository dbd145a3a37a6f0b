// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/admin"
)

const showSessionsLong = `Show the clients that persistence has bound to a backend, and those that are
pinned to one, by the configuration or by command.

A session expires when its client has made no new connection for the timeout of the
service. A pin never does by itself, unless it was made with --for. Where a client
has both, the pin counts; of several pins the one of the longest prefix.

CLIENT is an address or a network. Without SERVICE all services are shown that have
persistence or pins.`

// sessionsLimit is how many sessions of a service are shown unless --limit says
// otherwise.
const sessionsLimit = 100

func newShowSessionsCommand(g *globals) *cobra.Command {
	var q admin.SessionsQuery
	var client string
	cmd := &cobra.Command{
		Use:               "sessions [SERVICE [CLIENT]]",
		Short:             "Show which clients are bound to which backend",
		Long:              showSessionsLong,
		Example:           "  steelyard show sessions web --backend web1\n  steelyard show sessions web 192.0.2.7\n  steelyard show sessions --client 192.0.2.0/24 -o json",
		Args:              args(cobra.MaximumNArgs(2)),
		ValidArgsFunction: g.completeServices,
		RunE: func(cmd *cobra.Command, a []string) error {
			if len(a) > 0 {
				q.Service = a[0]
			}
			if len(a) == 2 {
				if client != "" {
					return usage(errors.New("want CLIENT or --client, not both"))
				}
				client = a[1]
			}
			if q.Backend != "" && q.Service == "" {
				return usage(errors.New("--backend needs a SERVICE"))
			}
			if q.Limit < 0 {
				return usage(fmt.Errorf("--limit %d: want a number, 0 for all", q.Limit))
			}
			if client != "" {
				var err error
				if q.Client, err = core.ParseClient(client); err != nil {
					return usage(err)
				}
			}
			return g.showSessions(cmd.Context(), q)
		},
	}
	cmd.Flags().StringVar(&q.Backend, "backend", "", "only those of this backend")
	cmd.Flags().StringVar(&client, "client", "", "only those of this address or network")
	cmd.Flags().IntVar(&q.Limit, "limit", sessionsLimit, "sessions of a service to show; 0 for all")
	return cmd
}

func (g *globals) showSessions(ctx context.Context, q admin.SessionsQuery) error {
	format, err := g.format("table", "json")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	list, err := g.dial(g.Socket).Sessions(ctx, q)
	if err != nil {
		return asked(err)
	}
	if format == "json" {
		return writeJSON(g.stdout, admin.SessionsAnswer{Services: list})
	}
	renderSessions(g.stdout, list, time.Now(), g.color(g.stdout))
	return nil
}

const sessionLong = `Change which backend a client gets, by command.

A pin by command counts before one of the configuration for the same client. It
holds until "session unpin" ends it, its --for is over, or another takes its place,
and survives reloads and restarts of the daemon. A pin whose backend leaves the
configuration is dropped, with an event. While its backend is down, a pinned client
is balanced like any other.

Open connections stay where they are: all of this is about new ones.`

// newSessionCommand is the family of the commands about single clients.
func newSessionCommand(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "session",
		Short: "Pin clients to a backend, or have persistence forget them",
		Long:  sessionLong,
		Example: `  steelyard session pin web 192.0.2.7 web1 --for 30m --reason "look at one client"
  steelyard session unpin web 192.0.2.7
  steelyard session forget web --backend web1
  steelyard show sessions web`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newPinCommand(g), newUnpinCommand(g), newForgetCommand(g))
	return cmd
}

func newPinCommand(g *globals) *cobra.Command {
	var f commandFlags
	cmd := &cobra.Command{
		Use:   "pin SERVICE CLIENT BACKEND",
		Short: "Send the new connections of a client to one backend",
		Long: `Send the new connections of a client to one backend, whatever the weights. CLIENT is
an address, or a network such as 192.0.2.0/24. A drained backend keeps the clients
that are pinned to it; one that is down does not get them.`,
		Example:           `  steelyard session pin web 192.0.2.7 web1 --for 30m --reason "look at one client"`,
		Args:              args(cobra.ExactArgs(3)),
		ValidArgsFunction: g.completePin,
		RunE: func(cmd *cobra.Command, a []string) error {
			return g.pin(cmd.Context(), a[0], a[1], a[2], f)
		},
	}
	f.addFlags(cmd, true)
	return cmd
}

func newUnpinCommand(g *globals) *cobra.Command {
	var f commandFlags
	cmd := &cobra.Command{
		Use:               "unpin SERVICE CLIENT",
		Short:             "End a pin that was made by command",
		Long:              "End a pin that was made by command. One of the configuration for the same client counts again.",
		Example:           "  steelyard session unpin web 192.0.2.7",
		Args:              args(cobra.ExactArgs(2)),
		ValidArgsFunction: g.completeUnpin,
		RunE: func(cmd *cobra.Command, a []string) error {
			return g.pin(cmd.Context(), a[0], a[1], "", f)
		},
	}
	f.addFlags(cmd, false)
	return cmd
}

// pin pins a client, or with no backend ends that, and says what became of it.
func (g *globals) pin(ctx context.Context, service, client, backend string, f commandFlags) error {
	format, err := g.format("table", "json")
	if err != nil {
		return err
	}
	c, err := core.ParseClient(client)
	if err != nil {
		return usage(err)
	}
	o, err := f.request(g, core.OverrideReady)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	res, err := g.dial(g.Socket).Pin(ctx, service, core.PinRequest{Client: c, Backend: backend, Author: o.Author, Reason: o.Reason, ForSeconds: o.ForSeconds})
	if err != nil {
		return asked(err)
	}
	if format == "json" {
		err = writeJSON(g.stdout, res)
	} else {
		fmt.Fprintln(g.stdout, clean(pinText(c, res)))
		g.warn(res.Warning)
	}
	return errors.Join(err, g.notYet(format, service+" "+core.ClientText(c), res.NotInForce))
}

// pinText says in one line what a command about a pin has done.
func pinText(c netip.Prefix, res core.PinResult) string {
	text := fmt.Sprintf("%s %s: ", res.Service, core.ClientText(c))
	switch {
	case res.Pin != nil:
		text += "pinned to " + res.Pin.Backend + ", " + pinWhy(*res.Pin, res.Pin.Since)
		if res.Configured != "" {
			text += "; the configuration says " + res.Configured
		}
		return text
	case res.Before == nil:
		text += "was not pinned by command"
	default:
		text += "unpinned; ended: " + res.Before.String()
	}
	if res.Configured != "" {
		text += "; the configuration pins it to " + res.Configured
	}
	return text
}

func newForgetCommand(g *globals) *cobra.Command {
	var backend, author string
	var all bool
	cmd := &cobra.Command{
		Use:   "forget SERVICE {CLIENT | --backend BACKEND | --all}",
		Short: "Have persistence forget clients, so that they are balanced anew",
		Long: `Have persistence forget clients, so that their next connections are balanced anew.
CLIENT is an address or a network; of a service that remembers networks, the network
of the address is forgotten. Pins stay: "session unpin" ends those.`,
		Example:           "  steelyard session forget web 192.0.2.7\n  steelyard session forget web --backend web1",
		Args:              args(cobra.RangeArgs(1, 2)),
		ValidArgsFunction: g.completeServices,
		RunE: func(cmd *cobra.Command, a []string) error {
			f := core.SessionFilter{Backend: backend}
			if len(a) == 2 {
				var err error
				if f.Client, err = core.ParseClient(a[1]); err != nil {
					return usage(err)
				}
			}
			if f.Any() != all {
				return usage(errors.New("want a CLIENT, --backend, or --all alone"))
			}
			return g.forget(cmd.Context(), a[0], f, author)
		},
	}
	cmd.Flags().StringVar(&backend, "backend", "", "those of this backend")
	cmd.Flags().BoolVar(&all, "all", false, "all clients of the service")
	cmd.Flags().StringVar(&author, "author", "", "who (default: the user who runs the command)")
	return cmd
}

func (g *globals) forget(ctx context.Context, service string, f core.SessionFilter, by string) error {
	format, err := g.format("table", "json")
	if err != nil {
		return err
	}
	if by == "" {
		by = author(g.getenv)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	n, err := g.dial(g.Socket).Forget(ctx, service, f, by)
	if err != nil {
		return asked(err)
	}
	if format == "json" {
		return writeJSON(g.stdout, admin.ForgetView{Service: service, Forgotten: n})
	}
	fmt.Fprintf(g.stdout, "%s: %s forgotten\n", clean(service), plural(n, "session"))
	return nil
}
