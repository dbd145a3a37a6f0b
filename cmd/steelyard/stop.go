// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/core/admin"
	"github.com/steelyard-lb/steelyard/core/nft"
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
				return stopRefused(err, flush)
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

// stopRefused is err; where no daemon is left to remove the rules, with the way
// to remove them without one.
func stopRefused(err error, flush bool) error {
	out := asked(err)
	var e *admin.Error
	var coded *codedError
	if flush && errors.As(err, &e) && e.Code == admin.CodeUnreachable && errors.As(out, &coded) {
		coded.hint = "if it has ended and left its rules, `nft delete table inet " + nft.DefaultTable + "` removes them"
	}
	return out
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
