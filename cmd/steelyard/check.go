// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/core/config"
)

const checkLong = `Check a configuration without a daemon and without root.

Your own policies are loaded in a worker, as the daemon would do it, asked whether
they take the parameters that services give them, and run once.

Every problem is reported, each with its file, line and column. The exit code is
3 if there is any, 0 if there is none, or none but warnings.`

// A source is where a command takes its configuration from.
type source struct {
	path string
	set  []string
}

func (s *source) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&s.path, "config", "c", defaultConfig, "configuration file; conf.d/*.yaml beside it is read too")
	cmd.Flags().StringArrayVar(&s.set, "set", nil, "set a key over the files, as in --set log.level=debug")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml") // it is there: the line above made it
}

// load reads the configuration, without what config.Config.View needs.
func (s *source) load() (*config.Config, error) { return s.loadWith(func(*config.Options) {}) }

// loadWith is load with more options.
func (s *source) loadWith(more func(*config.Options)) (*config.Config, error) {
	o, err := configOptions(s.path, s.set)
	if err != nil {
		return nil, usage(err)
	}
	more(&o)
	return config.Load(o)
}

// A checkResult is what `check -o json` prints, well or not.
type checkResult struct {
	OK       bool     `json:"ok"`
	Files    []string `json:"files,omitempty"`
	Hash     string   `json:"hash,omitempty"`
	Services int      `json:"services"`
	Backends int      `json:"backends"`
	Probes   int      `json:"probes"`
	// FromBus says that services, probes and policies are pushed: Revision of them is
	// counted above; 0: none is, since there is none on this machine that may be read.
	FromBus  bool          `json:"from_bus,omitempty"`
	Revision uint64        `json:"revision,omitempty"`
	Problems config.Errors `json:"problems,omitempty"`
	// Warnings are about what may be, and was probably not meant.
	Warnings config.Errors `json:"warnings,omitempty"`
}

func newCheckCommand(g *globals) *cobra.Command {
	var from source
	var quiet bool
	cmd := &cobra.Command{
		Use:     "check -c FILE",
		Short:   "Check a configuration",
		Long:    checkLong,
		Example: "  steelyard check -c examples/01-web/steelyard.yaml",
		Args:    args(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return g.check(cmd.Context(), &from, quiet) },
	}
	from.addFlags(cmd)
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "say nothing if all is well")
	return cmd
}

func (g *globals) check(ctx context.Context, from *source, quiet bool) error {
	format, err := g.format("table", "json")
	if err != nil {
		return err
	}
	cfg, revision, err := from.loadGood(func(o *config.Options) { o.CheckPolicies = checkPolicies(ctx) })
	secret := cfg != nil && errors.Is(err, fs.ErrPermission)
	if err != nil && !secret {
		return g.checkFailed(format, err)
	}
	r := summarize(cfg, revision)
	if format != "json" {
		cfg.Warnings.RenderWarnings(g.stderr, g.color(g.stderr))
	}
	switch {
	case quiet:
	case format == "json":
		return writeJSON(g.stdout, r)
	default:
		fmt.Fprintf(g.stdout, "%s: ok: %s, %s, %s%s\n", from.path, plural(r.Services, "service"), plural(r.Backends, "backend"), plural(r.Probes, "probe"), r.fromBus(secret))
		for _, f := range cfg.Files[min(1, len(cfg.Files)):] {
			fmt.Fprintf(g.stdout, "  and %s\n", f)
		}
	}
	return nil
}

// checkFailed is err, or with JSON the same as a result on stdout.
func (g *globals) checkFailed(format string, err error) error {
	var problems config.Errors
	if format != "json" || !errors.As(err, &problems) {
		return err
	}
	if err := writeJSON(g.stdout, checkResult{Problems: problems}); err != nil {
		return err
	}
	return &codedError{code: exitConfig} // it is said already
}

// fromBus says where the services are that the file does not have.
func (r *checkResult) fromBus(secret bool) string {
	switch {
	case !r.FromBus:
		return ""
	case r.Revision > 0:
		return fmt.Sprintf(", with revision %d from the bus", r.Revision)
	case secret:
		return "; services come from the bus, and what is on this machine of them is for root to read"
	}
	return "; services come from the bus, and none has come to this machine yet"
}

func summarize(cfg *config.Config, revision uint64) checkResult {
	r := checkResult{
		OK: true, Files: cfg.Files, Hash: cfg.Hash, Services: len(cfg.Services), Probes: len(cfg.Probes), Warnings: cfg.Warnings,
		FromBus: cfg.Definitions == config.DefinitionsBus, Revision: revision,
	}
	for _, s := range cfg.Services {
		r.Backends += len(s.Backends)
	}
	return r
}
