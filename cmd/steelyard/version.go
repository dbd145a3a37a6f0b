// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

func newVersionCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			format, err := g.format("table", "json")
			if err != nil {
				return err
			}
			platform := runtime.GOOS + "/" + runtime.GOARCH
			if format == "json" {
				return writeJSON(g.stdout, map[string]string{"version": version, "go": runtime.Version(), "platform": platform})
			}
			fmt.Fprintf(g.stdout, "steelyard %s (%s, %s)\n", version, runtime.Version(), platform)
			return nil
		},
	}
}
