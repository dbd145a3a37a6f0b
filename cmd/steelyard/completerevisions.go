// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/core/config"
)

// completeStoreTimeout is how long a press of the TAB key may wait for JetStream: longer
// than for the daemon, since it may be far away and is asked for each revision.
const completeStoreTimeout = time.Second

// completeRevisions offers the numbers of revisions, the newest first, where the flags or
// the configuration say that they are. It never complains.
func (f *storeFlags) completeRevisions(from *source) cobra.CompletionFunc {
	return func(cmd *cobra.Command, done []string, _ string) ([]string, cobra.ShellCompDirective) {
		const how = cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
		if len(done) > 0 {
			return nil, how
		}
		ctx := cmd.Context()
		if ctx == nil { // cobra completes without one
			ctx = context.Background()
		}
		return f.revisionNumbers(ctx, from, cmd.Flags().Changed("config")), how
	}
}

func (f *storeFlags) revisionNumbers(ctx context.Context, from *source, fromFile bool) []string {
	var cfg *config.Config
	if !f.whole() || fromFile {
		var err error
		if cfg, err = from.load(); err != nil {
			return nil
		}
	}
	f.patience = completeStoreTimeout
	s, err := f.openStore(cfg)
	if err != nil {
		return nil
	}
	defer s.Close()
	ctx, cancel := context.WithTimeout(ctx, completeStoreTimeout)
	defer cancel()
	all, _ := s.History(ctx) // with an error the newest are here, or none
	var out []string
	for _, r := range all {
		out = append(out, fmt.Sprintf("%d\t%s, %s: %s", r.Number, r.At.Local().Format(time.DateTime), clean(r.By()), clean(cmp.Or(r.Message, "no message"))))
	}
	return out
}
