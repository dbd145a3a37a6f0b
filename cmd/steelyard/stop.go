// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/spf13/cobra"
)

func newStopCommand(g *globals) *cobra.Command {
	var flush bool
	cmd := &cobra.Command{
		Use:   "stop",
		Short: "End the daemon; its rules stay in force unless --flush is given",
		Long: `End the daemon.

Its rules stay in the kernel and go on balancing with the last weights; the next
run adopts them. With --flush they are removed, and new connections to the VIPs
find no backend.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), callTimeout)
			defer cancel()
			if err := g.dial(g.Socket).Stop(ctx, flush); err != nil {
				return asked(err)
			}
			if flush {
				return g.done("stopping; the rules are removed")
			}
			return g.done("stopping; the rules stay in force")
		},
	}
	cmd.Flags().BoolVar(&flush, "flush", false, "remove the rules from the kernel")
	return cmd
}
