// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/nft"
)

const planLong = `Show what a configuration would change, and change nothing.

It is compared with what the running daemon carries; if no daemon answers, with the
table that one has left in the kernel and with the commands that it has left in its
state_dir (which takes root); and if there is no table, everything is new. The exit code is 0 if nothing would change and 2 if something
would; any other is an error.

Shown are the keys that differ, what becomes of each service in the kernel (with
--nft as a diff of the table, as nft lists it), what the kernel has counted or
remembers and would begin anew, what it would refuse here, and the drains, weights and
pins by command that would end because what they are about is gone.

Weights stay as they are where neither backends nor weights differ. Elsewhere they
are a guess: a new backend is taken for up, and the policy weighs anew after the
reload. A secret that differs from the one in force is not seen.`

func newPlanCommand(g *globals) *cobra.Command {
	var from source
	var text bool
	cmd := &cobra.Command{
		Use:     "plan -c FILE",
		Short:   "Show what a configuration would change",
		Long:    planLong,
		Example: "  steelyard plan -c new.yaml\n  steelyard plan -c new.yaml --nft",
		Args:    args(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return g.plan(cmd.Context(), &from, text) },
	}
	from.addFlags(cmd)
	cmd.Flags().BoolVar(&text, "nft", false, "show the change of the table as a diff of what nft lists")
	return cmd
}

// What a plan is compared with.
const (
	againstDaemon = "daemon"
	againstKernel = "kernel"
	againstNone   = "nothing"
)

// A planResult is what `plan -o json` prints.
type planResult struct {
	Against string `json:"against"` // daemon, kernel or nothing
	Node    string `json:"node,omitempty"`
	Changed bool   `json:"changed"`

	Changes []core.ConfigChange `json:"changes"`          // of the configuration
	Kernel  []nft.ServiceDiff   `json:"kernel"`           // of the table
	Dropped []core.Dropped      `json:"dropped_commands"` // that end with what they are about
	Refused map[string]string   `json:"refused,omitempty"`
	Missing []core.Feature      `json:"missing,omitempty"` // what this kernel has not got
	Notes   []string            `json:"notes,omitempty"`
	NFT     string              `json:"nft,omitempty"` // unified diff, with --nft
}

func (g *globals) plan(ctx context.Context, from *source, text bool) error {
	format, err := g.format("table", "json")
	if err != nil {
		return err
	}
	cfg, err := from.loadInForce()
	if err != nil {
		return err
	}
	base, err := g.planBase(ctx, cfg.StateDir)
	if err != nil {
		return err
	}
	r, err := base.compare(ctx, cfg, text)
	if err != nil {
		return err
	}
	if format == "json" {
		err = writeJSON(g.stdout, r)
	} else {
		renderPlan(g.stdout, r, g.color(g.stdout))
	}
	if err == nil && r.Changed {
		return &codedError{code: exitChanges} // it is said already
	}
	return err
}
