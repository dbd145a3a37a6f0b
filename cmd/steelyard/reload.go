// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

// reloadTimeout is generous: 10,000 services are read, checked and committed.
const reloadTimeout = 2 * time.Minute

func newReloadCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "reload",
		Short: "Make the daemon read its configuration again",
		Long: `Make the daemon read its configuration again, and wait until it is in force.

All or nothing: if anything is wrong, the configuration before stays in force and
this command says what is wrong. Connections, counters and learned weights survive.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), reloadTimeout)
			defer cancel()
			if err := g.dial(g.Socket).Reload(ctx); err != nil {
				return asked(err)
			}
			return g.done("reloaded")
		},
	}
}

// done says that a command did what it should.
func (g *globals) done(what string) error {
	format, err := g.format("table", "json")
	if err != nil {
		return err
	}
	if format == "json" {
		return writeJSON(g.stdout, map[string]string{"done": what})
	}
	fmt.Fprintln(g.stdout, what)
	return nil
}
