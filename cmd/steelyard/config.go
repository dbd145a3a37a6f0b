// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/core/config"
)

func newConfigCommand(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print the schema, the reference or the effective configuration",
		Args:  args(cobra.NoArgs),
	}
	cmd.AddCommand(newConfigSchemaCommand(g), newConfigReferenceCommand(g), newConfigViewCommand(g))
	return cmd
}

func newConfigSchemaCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the configuration, for editors",
		Long: `Print the JSON Schema of the configuration.

Editors with a YAML language server complete and check a file whose first line is
  # yaml-language-server: $schema=steelyard.schema.json`,
		Args: args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			_, err := g.stdout.Write(config.Schema())
			return err
		},
	}
}

func newConfigReferenceCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "reference",
		Short: "Print a configuration with every key, its default and what it is for",
		Args:  args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			_, err := g.stdout.Write(config.Reference())
			return err
		},
	}
}

func newConfigViewCommand(g *globals) *cobra.Command {
	var from source
	var origin bool
	cmd := &cobra.Command{
		Use:   "view -c FILE",
		Short: "Print the effective configuration, defaults included, secrets hidden",
		Long: `Print the configuration as the daemon would see it: all files, the environment and
--set merged, defaults filled in. Secrets are printed as (secret).`,
		Args: args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			format, err := g.format("yaml", "json")
			if err != nil {
				return err
			}
			cfg, err := from.loadWhole(func(o *config.Options) { o.KeepView = true })
			if err != nil {
				return err
			}
			if format == "json" {
				return writeJSON(g.stdout, cfg.View())
			}
			_, err = g.stdout.Write(cfg.YAML(origin))
			return err
		},
	}
	from.addFlags(cmd)
	cmd.Flags().BoolVar(&origin, "origin", false, "say behind each value where it comes from (YAML only)")
	return cmd
}
