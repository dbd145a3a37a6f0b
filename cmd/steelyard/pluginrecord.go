// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/core"
)

const pluginRecordLong = `Write what the policies of a running steelyard were asked and answered, one JSON
object per line, for "steelyard plugin replay". A running steelyard keeps the latest
of them in memory: --last writes those and ends. Without a service: all services.

A line holds readings and names of backends, no client's address.`

func newPluginRecordCommand(g *globals) *cobra.Command {
	var length time.Duration
	var last bool
	cmd := &cobra.Command{
		Use: "record [SERVICE…]", Short: "Write down what policies are asked and answer, for replay",
		Long:              pluginRecordLong,
		Example:           "  steelyard plugin record web --for 10m > web.jsonl\n  steelyard plugin record --last > now.jsonl",
		ValidArgsFunction: g.completeServices,
		RunE: func(cmd *cobra.Command, services []string) error {
			if last == (length > 0) {
				return usage(errors.New("want --for TIME or --last"))
			}
			enc := json.NewEncoder(g.stdout)
			n := 0
			write := func(r core.Recorded) error { n++; return enc.Encode(r) }
			if err := g.recordings(cmd.Context(), services, length, write); err != nil {
				return err
			}
			fmt.Fprintf(g.stderr, "%d decisions written\n", n)
			return nil
		},
	}
	cmd.Flags().DurationVar(&length, "for", 0, "record for so long, from now on")
	cmd.Flags().BoolVar(&last, "last", false, "those that steelyard has in memory")
	return cmd
}

// recordings calls f with what policies were asked about these services, or all:
// with a length of 0 the latest that are in memory, else those from now on for so
// long. Ctrl-C ends it early, and well.
func (g *globals) recordings(ctx context.Context, services []string, length time.Duration, f func(core.Recorded) error) error {
	one, from := "", time.Time{}
	if len(services) == 1 {
		one = services[0] // then the daemon says whether there is such a service
	}
	if length > 0 {
		from = time.Now()
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, length)
		defer cancel()
	}
	err := g.dial(g.Socket).Recordings(ctx, one, length > 0, func(r core.Recorded) error {
		if r.At.Before(from) || len(services) > 0 && !slices.Contains(services, r.Snapshot.Service) {
			return nil
		}
		return f(r)
	})
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return asked(err)
}

// parseRatio reads 0.1 or 10%; empty is otherwise.
func parseRatio(text string, otherwise float64) (float64, error) {
	if text == "" {
		return otherwise, nil
	}
	number, isPercent := strings.CutSuffix(strings.TrimSpace(text), "%")
	v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if isPercent {
		v /= 100
	}
	if err == nil && !(0 <= v && v <= 1) {
		err = errors.New("out of range")
	}
	return v, err
}
