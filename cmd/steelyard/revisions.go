// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/bus/definitions"
	"github.com/steelyard-lb/steelyard/core/config"
)

const revisionsLong = `List what was pushed to a group, the newest first, or print one revision.

WHO is the user of the machine HOST, and the one of the NATS where that is another:
"root as deploy". Both are what the one who pushed says. At most 64 are kept. Secrets are printed as (secret). "steelyard show nodes" tells
which node has which revision in force.`

func newRevisionsCommand(g *globals) *cobra.Command {
	var f storeFlags
	var from source
	cmd := &cobra.Command{
		Use:               "revisions [REVISION]",
		Short:             "List the pushed revisions, or print one",
		Long:              revisionsLong,
		Example:           "  steelyard revisions\n  steelyard revisions 41\n  steelyard revisions --server nats://192.0.2.53:4222 --user ops --password-file ops.password --group edge",
		Args:              args(cobra.MaximumNArgs(1)),
		ValidArgsFunction: f.completeRevisions(&from),
		RunE: func(cmd *cobra.Command, a []string) error {
			return g.revisions(cmd.Context(), &f, &from, cmd.Flags().Changed("config"), a)
		},
	}
	from.addFlags(cmd)
	f.addFlags(cmd)
	return cmd
}

// A revisionView is what `revisions REVISION -o json` prints.
type revisionView struct {
	definitions.Revision
	Document string `json:"document"` // YAML without secrets
}

func (g *globals) revisions(ctx context.Context, f *storeFlags, from *source, fromFile bool, a []string) error {
	format, err := g.format("table", "json")
	if err != nil {
		return err
	}
	number := uint64(0)
	if len(a) == 1 {
		if number, err = strconv.ParseUint(a[0], 10, 63); err != nil || number == 0 {
			return usage(fmt.Errorf("revision %q: want its number, from 1", a[0]))
		}
	}
	var cfg *config.Config
	if !f.whole() || fromFile {
		if cfg, err = from.load(); err != nil {
			return err
		}
	}
	s, err := f.openStore(cfg)
	if err != nil {
		return err
	}
	defer s.Close()
	if number > 0 {
		return g.oneRevision(ctx, s, number, format)
	}
	all, err := s.History(ctx)
	if errors.Is(err, definitions.ErrNone) {
		all, err = nil, nil
	}
	if err != nil {
		return stored(err)
	}
	if format == "json" {
		return writeJSON(g.stdout, append([]definitions.Revision{}, all...)) // an empty list, not null
	}
	g.renderRevisions(s.group, all)
	return nil
}

func (g *globals) oneRevision(ctx context.Context, s *store, number uint64, format string) error {
	r, yaml, err := s.get(ctx, number)
	if err != nil {
		return err
	}
	shown, err := config.ShowShared(fmt.Sprintf("revision %d", number), yaml)
	if err != nil {
		return err
	}
	if format == "json" {
		return writeJSON(g.stdout, revisionView{r, string(shown)})
	}
	fmt.Fprintf(g.stdout, "# revision %d of %s, %s\n# by %s on %s: %s\n", r.Number, s.group, r.At.Local().Format(time.DateTime), clean(r.By()), clean(r.Host), clean(cmp.Or(r.Message, "no message")))
	_, err = g.stdout.Write(shown)
	return err
}

var revisionColumns = []column{{"REVISION", true}, {title: "WHEN"}, {title: "WHO"}, {title: "HOST"}, {"FILES", true}, {title: "SHA-256"}, {title: "MESSAGE"}}

func (g *globals) renderRevisions(group string, all []definitions.Revision) {
	if len(all) == 0 {
		fmt.Fprintf(g.stdout, "nothing was pushed to %s yet\n", group)
		return
	}
	t := &table{columns: revisionColumns}
	for _, r := range all {
		t.add(r.Number, r.At.Local().Format(time.DateTime), r.By(), r.Host, len(r.Files), r.SHA256[:min(12, len(r.SHA256))], cmp.Or(r.Message, unknown))
	}
	t.write(g.stdout, "", t.widths(nil), painter(g.color(g.stdout)))
}
