// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/bus/definitions"
	"github.com/steelyard-lb/steelyard/core/config"
)

const pushLong = `Store services, probes, policies and maintenance for all nodes of a group.

The configuration is checked in full first, and compared with the newest revision.
Nodes with "cluster.definitions: bus" follow at once, each all or nothing: one that
cannot put a revision into force keeps the one before and says so in "steelyard show
nodes". They keep the last good one on disk and start from it when nobody answers.

What is pushed: services, probes, policies with their files, maintenance, probing (but
for concurrency) and kernel.hash_seed. What is of one machine stays in the file of that
machine. A file that a probe or a service names, such as a password_file or a deny_file,
is read by each node from its own disk.

Who may push decides for all nodes that follow what they balance and which files they
read. What they run is theirs to say: a node refuses a revision with a probe of type exec
whose command is not in its own files. On one with "cluster.definitions_exec: allow" he
decides what runs there, too, as which user; then give it to nobody who may not be root.

A push on top of what somebody else pushed meanwhile is refused.`

const pushExample = `  steelyard push -c steelyard.yaml --message "web3 is new"
  steelyard push -c steelyard.yaml --dry-run
  steelyard push --revert 41 --message "web3 was too slow"`

// A pushFlags is what push is told.
type pushFlags struct {
	storeFlags
	from                        source
	message                     string
	expect, revert              uint64
	force, dryRun, secrets      bool
	expected, reverts, fromFile bool // their flags were given
}

func newPushCommand(g *globals) *cobra.Command {
	var f pushFlags
	cmd := &cobra.Command{
		Use:     "push -c FILE",
		Short:   "Store services, probes and policies for all nodes of a group",
		Long:    pushLong,
		Example: pushExample,
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.expected, f.reverts, f.fromFile = cmd.Flags().Changed("expect"), cmd.Flags().Changed("revert"), cmd.Flags().Changed("config")
			return g.push(cmd.Context(), &f)
		},
	}
	f.from.addFlags(cmd)
	f.storeFlags.addFlags(cmd)
	cmd.Flags().StringVarP(&f.message, "message", "m", "", "why, for those who read the list of revisions")
	cmd.Flags().Uint64Var(&f.expect, "expect", 0, "push only on top of this revision; 0: only if there is none; default: the one compared with")
	cmd.Flags().BoolVar(&f.force, "force", false, "push on top of whatever there is")
	cmd.Flags().Uint64Var(&f.revert, "revert", 0, "push what this revision had, as a new one")
	_ = cmd.RegisterFlagCompletionFunc("revert", f.completeRevisions(&f.from)) // it is there: the line above made it
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "say what would change, and push nothing; exit code 2 if something would")
	cmd.Flags().BoolVar(&f.secrets, "with-secrets", false, "push passwords that are written out, which everybody who may read the store can read")
	return cmd
}

// A pushResult is what push -o json prints.
type pushResult struct {
	Group   string                `json:"group"`
	Changed bool                  `json:"changed"`
	Pushed  bool                  `json:"pushed"`
	Base    uint64                `json:"base_revision"`      // that it was compared with; 0: there was none
	New     *definitions.Revision `json:"revision,omitempty"` // nil unless it was pushed
	Diff    string                `json:"diff,omitempty"`     // without secrets
	Notes   []string              `json:"notes,omitempty"`
}

func (g *globals) push(ctx context.Context, f *pushFlags) error {
	format, err := g.format("table", "json")
	if err != nil {
		return err
	}
	if f.expected && f.force {
		return usage(errors.New("--expect and --force say two things; keep one"))
	}
	cfg, err := g.pushConfig(ctx, f)
	if err != nil {
		return g.checkFailed(format, err)
	}
	s, err := f.openStore(cfg)
	if err != nil {
		return err
	}
	defer s.Close()
	r := pushResult{Group: s.group}
	d, err := g.toPush(ctx, f, s, cfg, &r)
	if err != nil {
		return err
	}
	if err := g.comparePush(ctx, s, d, f.what(), &r); err != nil {
		return err
	}
	if (r.Changed || f.force) && !f.dryRun {
		err = g.store(ctx, f, s, d, &r)
	}
	if err != nil {
		return err
	}
	if r.Pushed && (cfg == nil || cfg.Definitions != config.DefinitionsBus) {
		// A pusher hears no node: which of them follow is not known here.
		r.Notes = append(r.Notes, "nodes with cluster.definitions: bus take it over, and no others; `steelyard show nodes` on one of them tells which have it")
	}
	return g.pushed(format, f, r)
}

// what is pushed, in a word.
func (f *pushFlags) what() string {
	if f.reverts {
		return fmt.Sprintf("revision %d", f.revert)
	}
	return f.from.path
}

// pushConfig loads the configuration; nil where only the store is needed, and the
// flags say where that is.
func (g *globals) pushConfig(ctx context.Context, f *pushFlags) (*config.Config, error) {
	if f.reverts && f.whole() && !f.fromFile {
		return nil, nil
	}
	return f.from.loadWith(func(o *config.Options) {
		if !f.reverts {
			o.CheckPolicies, o.KeepShared = checkPolicies(ctx), true
		}
	})
}

// toPush is the document of the configuration, or of the revision to go back to,
// checked as a node would check it.
func (g *globals) toPush(ctx context.Context, f *pushFlags, s *store, cfg *config.Config, r *pushResult) (*document, error) {
	if f.reverts {
		return f.toRevert(ctx, s, r)
	}
	shared := cfg.Shared
	if n := len(shared.Secrets); n > 0 && !f.secrets {
		return nil, &codedError{exitConfig, fmt.Errorf("%s: written out: %s; everybody who may read the store could read what stands there", plural(n, "secret"), fewOf(shared.Secrets)),
			"use community_file, password_file or the like, which each node reads from its own disk, or push --with-secrets"}
	}
	if len(shared.Local) > 0 {
		r.Notes = append(r.Notes, "each node reads these files from its own disk: "+fewOf(shared.Local))
	}
	if len(cfg.Services) == 0 {
		r.Notes = append(r.Notes, "there are no services: nodes that follow will balance nothing but what their own files say")
	}
	d, err := documentOf(shared)
	if err != nil {
		return nil, err
	}
	// Without the file of this machine it must hold, too. Its policies are loaded already.
	alone, err := checkDocument(d, nil)
	if err != nil {
		return nil, fmt.Errorf("without what is of this machine alone: %w", err)
	}
	r.noteCommands(alone)
	return d, nil
}

// toRevert is toPush of the revision to go back to.
func (f *pushFlags) toRevert(ctx context.Context, s *store, r *pushResult) (*document, error) {
	old, d, err := s.read(ctx, f.revert)
	if err != nil {
		return nil, err
	}
	if f.message == "" {
		f.message = strings.TrimSuffix(fmt.Sprintf("back to revision %d: %s", old.Number, old.Message), ": ")
	}
	cfg, err := checkDocument(d, checkPolicies(ctx))
	if err != nil {
		return nil, err
	}
	r.noteCommands(cfg)
	return d, nil
}

// noteCommands says which nodes will refuse what is pushed for the commands in it.
func (r *pushResult) noteCommands(cfg *config.Config) {
	if names := commands(cfg); len(names) > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("%s of type exec: %s; nodes refuse the revision unless their own files have these commands, or say cluster.definitions_exec: allow", plural(len(names), "probe"), fewOf(names)))
	}
}

// comparePush tells what the document changes.
func (g *globals) comparePush(ctx context.Context, s *store, d *document, name string, r *pushResult) error {
	base, yaml, err := s.get(ctx, 0)
	if errors.Is(err, definitions.ErrNone) {
		r.Changed, r.Diff = true, unifiedDiff("nothing", name, "", string(d.shown))
		return nil
	}
	if err != nil {
		return err
	}
	r.Base, r.Changed = base.Number, !d.same(base, yaml)
	baseName := fmt.Sprintf("revision %d", base.Number)
	shown, err := config.ShowShared(baseName, yaml)
	if err != nil {
		// It is not for this version of steelyard to read; that must not keep a good one out.
		r.Notes = append(r.Notes, fmt.Sprintf("%s cannot be compared with: %v", baseName, err))
		return nil
	}
	r.Diff = unifiedDiff(baseName, name, string(shown), string(d.shown))
	if r.Changed && r.Diff == "" {
		r.Notes = append(r.Notes, "only secrets differ")
	}
	return nil
}

func (g *globals) store(ctx context.Context, f *pushFlags, s *store, d *document, r *pushResult) error {
	expect := r.Base
	switch {
	case f.force:
		expect = definitions.AnyRevision
	case f.expected:
		expect = f.expect
	}
	made, err := s.Push(ctx, d.yaml, d.files, g.pusher(s.login, f.message), expect)
	if err != nil {
		return stored(err)
	}
	r.Pushed, r.New = true, &made
	return nil
}

func (g *globals) pushed(format string, f *pushFlags, r pushResult) error {
	var done error
	if f.dryRun && r.Changed {
		done = &codedError{code: exitChanges}
	}
	if format == "json" {
		if err := writeJSON(g.stdout, r); err != nil {
			return err
		}
		return done
	}
	for _, n := range r.Notes {
		g.warn(n)
	}
	p := painter(g.color(g.stdout))
	for line := range strings.Lines(r.Diff) {
		fmt.Fprint(g.stdout, p.diffLine(clean(strings.TrimSuffix(line, "\n"))), "\n")
	}
	switch {
	case r.Pushed:
		fmt.Fprintf(g.stdout, "pushed revision %d of %s\n", r.New.Number, r.Group)
	case !r.Changed:
		fmt.Fprintf(g.stdout, "nothing changed: revision %d has this already\n", r.Base)
	default:
		fmt.Fprintf(g.stdout, "would be pushed on top of revision %d of %s\n", r.Base, r.Group)
	}
	return done
}

// diffLine colours a line of a diff.
func (p painter) diffLine(line string) string {
	switch {
	case strings.HasPrefix(line, "+"):
		return p.paint(green, line)
	case strings.HasPrefix(line, "-"):
		return p.paint(red, line)
	}
	return line
}
