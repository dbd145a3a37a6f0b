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
of them in memory, within 1 MiB for all services: --last writes those and ends, and
says how far back they reach. With --for, those of services that you name are kept
for you, however many others there are. Without a service: all services.

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
			n, oldest := 0, time.Now()
			write := func(r core.Recorded) error {
				if n++; r.At.Before(oldest) {
					oldest = r.At
				}
				return enc.Encode(r)
			}
			if err := g.recordings(cmd.Context(), services, length, write); err != nil {
				return err
			}
			fmt.Fprintln(g.stderr, written(n, last, time.Since(oldest)))
			return nil
		},
	}
	cmd.Flags().DurationVar(&length, "for", 0, "record for so long, from now on")
	cmd.Flags().BoolVar(&last, "last", false, "those that steelyard has in memory")
	return cmd
}

// written says how many decisions there were, and of those that steelyard had in
// memory how far back they reach: with many services that is not far.
func written(n int, last bool, reach time.Duration) string {
	text := fmt.Sprintf("%d decisions written", n)
	switch {
	case !last:
	case n == 0:
		text += ": steelyard has none in memory; --for 1m records those from now on"
	default:
		text += fmt.Sprintf(", the oldest %s ago", seconds(reach.Seconds()))
	}
	return text
}

// recordings calls f with what policies were asked about these services, or all:
// with a length of 0 the latest that are in memory, else those from now on for so
// long. Ctrl-C ends it early, and well.
func (g *globals) recordings(ctx context.Context, services []string, length time.Duration, f func(core.Recorded) error) error {
	from := time.Time{}
	if length > 0 {
		from = time.Now()
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, length)
		defer cancel()
	}
	err := g.dial(g.Socket).Recordings(ctx, services, length > 0, func(r core.Recorded) error {
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
