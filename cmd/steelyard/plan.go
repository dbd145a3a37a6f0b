// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/admin"
	"github.com/steelyard-lb/steelyard/core/config"
	"github.com/steelyard-lb/steelyard/core/engine"
	"github.com/steelyard-lb/steelyard/core/nft"
)

const planLong = `Show what a configuration would change, and change nothing.

It is compared with what the running daemon carries; if no daemon answers, with the
table that one has left in the kernel (which takes root); and if there is none,
everything is new. The exit code is 0 if nothing would change and 2 if something
would; any other is an error.

Shown are the keys that differ, what becomes of each service in the kernel (with
--nft as a diff of the table, as nft lists it), what the kernel has counted or
remembers and would begin anew, and what it would refuse here.

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

	Changes []planChange      `json:"changes"` // of the configuration
	Kernel  []nft.ServiceDiff `json:"kernel"`  // of the table
	Refused map[string]string `json:"refused,omitempty"`
	Missing []core.Feature    `json:"missing,omitempty"` // what this kernel has not got
	Notes   []string          `json:"notes,omitempty"`
	NFT     string            `json:"nft,omitempty"` // unified diff, with --nft
}

func (g *globals) plan(ctx context.Context, from *source, text bool) error {
	format, err := g.format("table", "json")
	if err != nil {
		return err
	}
	cfg, err := from.load()
	if err != nil {
		return err
	}
	base, err := g.planBase(ctx)
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

// A planBase is what a plan is compared with.
type planBase struct {
	against string
	inForce core.InForce
	table   *nft.Table // of the kernel; nil where a daemon answers
}

// planBase asks the daemon, or looks into the kernel if there is none.
func (g *globals) planBase(ctx context.Context) (planBase, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	f, err := g.dial(g.Socket).InForce(ctx)
	if err == nil {
		return planBase{against: againstDaemon, inForce: f}, nil
	}
	var e *admin.Error
	if !errors.As(err, &e) || e.Code != admin.CodeUnreachable {
		return planBase{}, asked(err)
	}
	t, err := nft.Read(ctx, "")
	if err != nil {
		return planBase{}, fmt.Errorf("no daemon answers on %s, and the kernel cannot be read: %w", g.Socket, err)
	}
	b := planBase{against: againstKernel, table: t, inForce: core.InForce{Plan: t.Plan, Features: t.Features}}
	if t.None() {
		b.against = againstNone
	}
	return b, nil
}

func (b planBase) compare(ctx context.Context, cfg *config.Config, text bool) (planResult, error) {
	r := planResult{Against: b.against, Node: b.inForce.Node}
	want := engine.Preview(setup(cfg), b.inForce)
	after, refused := nft.Check(b.inForce.Plan, want, b.inForce.Features)
	for name, err := range refused {
		if r.Refused == nil {
			r.Refused = map[string]string{}
		}
		r.Refused[name] = err.Error()
	}
	for _, f := range b.inForce.Features {
		if !f.Present {
			r.Missing = append(r.Missing, f)
		}
	}
	if b.against == againstDaemon {
		r.Changes, r.Kernel = planChanges(b.inForce, cfg), nft.Diff(b.inForce.Plan, after)
	} else {
		r.Changes, r.Kernel = planNames(b.inForce.Plan, cfg), b.table.Diff(want)
	}
	r.Notes = b.notes(cfg, r.Changes)
	r.Changed = len(r.Changes)+len(r.Kernel) > 0
	if !text {
		return r, nil
	}
	before, now := "", nft.Render(after)
	switch b.against {
	case againstDaemon:
		before = nft.Render(b.inForce.Plan)
	case againstKernel:
		var err error
		if before, err = listTable(ctx); err != nil {
			return r, err
		}
		before, now = inOrderOf(before, now), separate(now, block.FindAllString(now, -1))
	}
	r.NFT = unifiedDiff("in force", cfg.Path, before, now)
	return r, nil
}

// notes are what an operator must know of the comparison itself.
func (b planBase) notes(cfg *config.Config, changes []planChange) (notes []string) {
	if b.against == againstKernel {
		notes = append(notes, "no daemon answers: compared with the table in the kernel, which does not tell policies, probes and configured weights")
	}
	if b.table != nil && b.table.Wrong != nil {
		notes = append(notes, fmt.Sprintf("the table in the kernel will be replaced: %v", b.table.Wrong))
	}
	weighs := slices.ContainsFunc(changes, func(c planChange) bool { return c.weighs() })
	if weighs && b.against == againstDaemon {
		notes = append(notes, "the weights of services whose backends, weights or policy differ are a guess; new backends are taken for up")
	}
	if b.against == againstDaemon && len(changes) == 0 && b.inForce.ConfigHash != cfg.Hash {
		notes = append(notes, "the files differ in what changes nothing, or was overridden when the daemon read them")
	}
	for _, c := range changes {
		if c.Kind == kindSetting {
			notes = append(notes, "settings of the node take a restart of the daemon; a reload with another node, state_dir, control or bus is refused")
			break
		}
	}
	return notes
}

// planNames are the changes as far as a table tells them: which services come and
// go.
func planNames(inForce core.Plan, cfg *config.Config) (list []planChange) {
	old := map[string]bool{}
	for _, s := range inForce.Services {
		old[s.Name] = true
	}
	for i := range cfg.Services {
		if s := &cfg.Services[i]; !old[s.Name] {
			list = append(list, planChange{Kind: kindService, Name: s.Name, Action: actionAdded, Text: serviceText(s)})
		}
		delete(old, cfg.Services[i].Name)
	}
	for _, name := range slices.Sorted(maps.Keys(old)) {
		list = append(list, planChange{Kind: kindService, Name: name, Action: actionRemoved})
	}
	return list
}
