// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/core"
)

// reloadTimeout is generous: 10,000 services are read, checked and committed.
const reloadTimeout = 2 * time.Minute

func newReloadCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "reload",
		Short: "Make the daemon read its configuration again",
		Long: `Make the daemon read its configuration again, and wait until it is in force. It
says what has changed; "plan" says so before, and in full.

All or nothing: if anything is wrong, the configuration before stays in force and
this command says what is wrong. Connections, counters and learned weights survive.
So do drains, weights and pins by command; one whose backend has left the
configuration is dropped, and told.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return g.reload(cmd.Context()) },
	}
}

func (g *globals) reload(ctx context.Context) error {
	format, err := g.format("table", "json")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, reloadTimeout)
	defer cancel()
	res, err := g.dial(g.Socket).Reload(ctx)
	if err != nil {
		return asked(err)
	}
	if format == "json" {
		return writeJSON(g.stdout, res)
	}
	fmt.Fprintf(g.stdout, "reloaded: %s\n", clean(reloadText(res.Changes)))
	for _, d := range res.Dropped {
		g.warn(d.String())
	}
	return nil
}

// reloadText is what a reload changed in one line: "1 service added (api), 2
// changed (dns, web); probe alive changed".
func reloadText(changes []core.ConfigChange) string {
	if len(changes) == 0 {
		return "nothing changed"
	}
	names := map[string][]string{} // of services, by what became of them
	var rest, waits []string
	for _, c := range changes {
		switch c.Kind {
		case core.KindService:
			names[c.Action] = append(names[c.Action], c.Name)
		case core.KindSetting:
			waits = append(waits, c.Name)
		case core.KindKernel, core.KindProbing:
			rest = append(rest, c.Name+" "+c.Action)
		default:
			rest = append(rest, c.Kind+" "+c.Name+" "+c.Action)
		}
	}
	var services []string
	for _, action := range []string{core.ActionAdded, core.ActionRemoved, core.ActionChanged} {
		list := names[action]
		if len(list) == 0 {
			continue
		}
		number := fmt.Sprint(len(list))
		if len(services) == 0 {
			number = plural(len(list), "service")
		}
		services = append(services, fmt.Sprintf("%s %s (%s)", number, action, fewOf(list)))
	}
	var parts []string
	if len(services) > 0 {
		parts = append(parts, strings.Join(services, ", "))
	}
	if len(rest) > 0 {
		parts = append(parts, fewOf(rest))
	}
	if len(waits) > 0 {
		parts = append(parts, fewOf(waits)+" changed, which takes a restart")
	}
	return strings.Join(parts, "; ")
}

// fewOf names the first of a list and counts the others.
func fewOf(list []string) string {
	const few = 5
	if more := len(list) - few; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:few], ", "), more)
	}
	return strings.Join(list, ", ")
}
