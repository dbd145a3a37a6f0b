// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/spf13/cobra"
)

func newStatusCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show how the daemon, the kernel table and the policies are",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			format, err := g.format("table", "json")
			if err != nil {
				return err
			}
			v, err := g.node(cmd.Context())
			if err != nil {
				return err
			}
			if format == "json" {
				return writeJSON(g.stdout, v)
			}
			renderStatus(g.stdout, v, g.color(g.stdout))
			return nil
		},
	}
}
