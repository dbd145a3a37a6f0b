// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/plugins/plugintest/suite"
)

const pluginReplayLong = `Ask a candidate what it would have done with decisions that a running steelyard
took, and compare the answers: recorded ones, from "steelyard plugin record", or with
--live those of the next time. The candidate's state starts empty and warms up in the
order of the decisions, so the first ones of a policy with state say little.

  MOVED    the part of all new connections that would have gone elsewhere: half the
           sum of the differences of the shares
  RECORDED, CANDIDATE   mean share by the answer of the policy, before shaping; what
           is held keeps the share it had
  DIFF     mean and largest difference of the shares

It is open loop: the readings are those of backends under the weights of the policy
that was in force. A candidate that swings swings only when its weights are applied:
"steelyard simulate" and "shadow:" in the configuration tell more about that.`

// replayOptions are the flags of plugin replay.
type replayOptions struct {
	policy   string
	recorded string
	live     time.Duration
	services []string
	maxMoved string
	params
}

// A replayReport is what plugin replay -o json prints.
type replayReport struct {
	Policy  string `json:"policy"`
	Version string `json:"version"`
	File    string `json:"recorded_file,omitempty"`
	suite.Replayed
}

func newPluginReplayCommand(g *globals) *cobra.Command {
	var o replayOptions
	cmd := &cobra.Command{
		Use: "replay FILE {--recorded FILE | --live TIME}", Short: "What it would have done with decisions that were taken",
		Long: pluginReplayLong,
		Example: `  steelyard plugin record web --for 10m > web.jsonl
  steelyard plugin replay idle.wasm --recorded web.jsonl --max-moved 10%
  steelyard plugin replay idle.wasm --live 30s --service web`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: completeCandidates(1),
		RunE:              func(cmd *cobra.Command, a []string) error { return g.pluginReplay(cmd.Context(), a[0], o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.recorded, "recorded", "", "file that plugin record wrote; - is the standard input")
	f.DurationVar(&o.live, "live", 0, "take the decisions of a running steelyard, for so long")
	f.StringSliceVar(&o.services, "service", nil, "only these services")
	f.StringVar(&o.maxMoved, "max-moved", "", "fail if the mean of MOVED of a service is over this, as in 10%")
	_ = cmd.MarkFlagFilename("recorded", "jsonl")                     // it is there: made above
	_ = cmd.RegisterFlagCompletionFunc("service", g.completeServices) // so is this
	addPolicyFlag(cmd, &o.policy)
	o.addFlag(cmd)
	return cmd
}

func (g *globals) pluginReplay(ctx context.Context, arg string, o replayOptions) error {
	format, err := g.format("table", "json")
	if err != nil {
		return err
	}
	if (o.recorded == "") == (o.live == 0) {
		return &codedError{exitUsage, errors.New("want --recorded FILE or --live TIME"), "steelyard plugin record > FILE writes one"}
	}
	most, err := parseRatio(o.maxMoved, 1)
	if err != nil {
		return usage(fmt.Errorf("--max-moved %s: want 0%% to 100%%", o.maxMoved))
	}
	c, err := findCandidate(arg, o.policy)
	if err != nil {
		return err
	}
	t, err := c.Open(ctx)
	if err != nil {
		return err
	}
	defer t.Close()
	values, err := o.takenBy(&t.Info)
	if err != nil {
		return err
	}
	r := suite.NewReplayer(t)
	feed := func(rec core.Recorded) error {
		if len(o.services) > 0 && !slices.Contains(o.services, rec.Snapshot.Service) {
			return nil
		}
		return r.Add(ctx, rec, values)
	}
	if err := g.feed(ctx, o, feed); err != nil {
		return err
	}
	out := replayReport{c.Name, c.Version, o.recorded, r.Result()}
	if out.Decisions+out.Faults == 0 {
		return &codedError{exitFailure, errors.New("no decision to compare"), "record for longer, or look at the names of the services"}
	}
	if format == "json" {
		err = writeJSON(g.stdout, out)
	} else {
		renderReplay(g.stdout, out, painter(g.color(g.stdout)))
	}
	if err != nil {
		return err
	}
	return out.judge(most)
}

// judge is the error for a candidate that moves too much, or does not answer.
func (r replayReport) judge(most float64) error {
	for _, s := range r.Services {
		if s.MovedMean > most {
			return &codedError{exitFailure, fmt.Errorf("%s: %s of new connections would go elsewhere, more than %s", s.Service, ratio(s.MovedMean), ratio(most)), ""}
		}
	}
	if r.Faults > 0 {
		return &codedError{exitFailure, fmt.Errorf("the candidate failed %d times: %s", r.Faults, r.LastFault), "steelyard plugin test looks for the cause"}
	}
	return nil
}

// feed calls f with the decisions to replay.
func (g *globals) feed(ctx context.Context, o replayOptions, f func(core.Recorded) error) error {
	if o.live > 0 {
		fmt.Fprintf(g.stderr, "comparing for %s\n", o.live)
		return g.recordings(ctx, o.services, o.live, f)
	}
	in := io.Reader(os.Stdin)
	if o.recorded != "-" {
		file, err := os.Open(o.recorded)
		if err != nil {
			return err
		}
		defer file.Close()
		in = file
	}
	return readRecorded(o.recorded, in, f)
}

// maxRecorded bounds a line: 16,384 backends take some 12 MB.
const maxRecorded = 64 << 20

// readRecorded reads a file of one decision per line.
func readRecorded(name string, in io.Reader, f func(core.Recorded) error) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 1<<20), maxRecorded)
	for n := 1; lines.Scan(); n++ {
		if strings.TrimSpace(lines.Text()) == "" {
			continue
		}
		var rec core.Recorded
		if err := json.Unmarshal(lines.Bytes(), &rec); err != nil {
			return &codedError{exitFailure, fmt.Errorf("read %s: line %d: %w", name, n, err), "it wants what steelyard plugin record writes"}
		}
		if err := f(rec); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return nil
}

func renderReplay(out io.Writer, r replayReport, p painter) {
	for i, s := range r.Services {
		if i > 0 {
			fmt.Fprintln(out)
		}
		fmt.Fprintf(out, "%s  %d decisions in %s, recorded of %s; candidate %s\n", p.paint(bold, clean(s.Service)), s.Decisions,
			seconds(s.To.Sub(s.From).Seconds()), clean(strings.Join(s.Versions, ", ")), clean(r.Version))
		fmt.Fprintf(out, "  moved: %s of new connections in the mean, %s at most (%s)\n", ratio(s.MovedMean), ratio(s.MovedMax), stamp(s.MovedMaxAt))
		if s.Faults > 0 {
			fmt.Fprintf(out, "  %s %d: %s\n", p.paint(red, "faults of the candidate:"), s.Faults, clean(s.LastFault))
		}
		if s.RecordedFaults > 0 {
			fmt.Fprintf(out, "  %s %d, left out\n", p.paint(yellow, "faults of the recorded policy:"), s.RecordedFaults)
		}
		t := table{columns: []column{{"BACKEND", false}, {"RECORDED", true}, {"CANDIDATE", true}, {"DIFF MEAN", true}, {"DIFF MAX", true}, {"HELD", true}}}
		for _, b := range s.Backends {
			t.add(b.Backend, ratio(b.Recorded), ratio(b.Share), ratio(b.DiffMean), ratio(b.DiffMax), b.Held)
		}
		t.write(out, "  ", t.widths(nil), p)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(out, "%s %s\n", p.paint(yellow, "note:"), clean(n))
	}
}
