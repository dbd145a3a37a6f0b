// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/core"
)

const backendLong = `Change a backend by command: drain it, give it another weight, or end either.

Such a change holds until "backend ready" ends it, its --for is over, or another
takes its place. It survives reloads and restarts of the daemon. "show", "explain"
and "monitor" say who made it, why, and how long it still lasts.

A command returns when the kernel has followed. Exit code 7 means that it was taken
and is not in force yet, and says why: the kernel has refused it and it will be
tried again, or the backend is down and gets its share when it is up.

The backend goes on being probed: its health is up or down as before.`

const drainLong = `Drain a backend: it gets no new connections, and keeps the open ones and the
clients that persistence has bound to it. When the command returns, the kernel has
followed: no new client reaches the backend any more. If no other backend takes them
now, it warns of what they meet.

With --wait it returns when no connection of the backend is open, and shows how
many are left. --deadline ends the wait; with --cut the connections that are then
left are ended: their next packet goes to another backend, which answers it with a
reset.

In a group of nodes, a drain on the node that leads the service is for all of them, and
--wait waits for the connections of all. On any other node it is for that node, and
waits for its connections only. --cut ends those of this node.

Exit code 6 means that the deadline passed with connections still open. The drain
goes on, however the wait ends.`

// newBackendCommand is the family of the commands that change a backend.
func newBackendCommand(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backend",
		Short: "Drain a backend, or change its weight, for a while",
		Long:  backendLong,
		Example: `  steelyard backend drain web/web1 --for 30m --reason "kernel update" --wait
  steelyard backend ready web/web1
  steelyard backend weight web/web2 20 --for 2h
  steelyard backend list`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newDrainCommand(g), newReadyCommand(g), newWeightCommand(g), newBackendListCommand(g))
	return cmd
}

// A commandFlags are the flags that the commands of a backend share.
type commandFlags struct {
	reason, author string
	lasts          time.Duration
}

// addFlags gives a command its flags; only a change that lasts has --for.
func (f *commandFlags) addFlags(cmd *cobra.Command, lasts bool) {
	cmd.Flags().StringVar(&f.reason, "reason", "", "why, for those who look later")
	cmd.Flags().StringVar(&f.author, "author", "", "who (default: the user who runs the command)")
	if lasts {
		cmd.Flags().DurationVar(&f.lasts, "for", 0, "end it by itself after this time, as in 30m or 2h; 0 means never")
	}
}

// request is what the flags ask for.
func (f *commandFlags) request(g *globals, kind core.OverrideKind) (core.OverrideRequest, error) {
	if f.lasts < 0 {
		return core.OverrideRequest{}, usage(fmt.Errorf("--for %s: want a time above 0, or 0 for no end", f.lasts))
	}
	r := core.OverrideRequest{Kind: kind, Author: f.author, Reason: f.reason, ForSeconds: f.lasts.Seconds()}
	if r.Author == "" {
		r.Author = author(g.getenv)
	}
	return r, nil
}

// author is the user at the keyboard, also behind sudo.
func author(getenv func(string) string) string {
	if name := getenv("SUDO_USER"); name != "" {
		return name
	}
	u, err := user.Current()
	if err != nil {
		return "unknown"
	}
	return u.Username
}

func newDrainCommand(g *globals) *cobra.Command {
	var f commandFlags
	var w waitFlags
	cmd := &cobra.Command{
		Use:   "drain SERVICE/BACKEND",
		Short: "Give a backend no new connections, and keep its open ones",
		Long:  drainLong,
		Example: `  steelyard backend drain web/web1 --for 30m --reason "kernel update"
  steelyard backend drain web/web1 --wait --deadline 10m --cut && ssh web1 reboot`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: g.completeBackendIDs(func(o *core.Override) bool { return o == nil || o.Kind != core.OverrideDrain }),
		RunE: func(cmd *cobra.Command, a []string) error {
			if err := w.check(); err != nil {
				return err
			}
			r, err := f.request(g, core.OverrideDrain)
			if err != nil {
				return err
			}
			return g.drain(cmd.Context(), a[0], r, w)
		},
	}
	f.addFlags(cmd, true)
	w.addFlags(cmd)
	return cmd
}

func newReadyCommand(g *globals) *cobra.Command {
	var f commandFlags
	cmd := &cobra.Command{
		Use:   "ready SERVICE/BACKEND",
		Short: "End a drain or a weight that was set by command",
		Long: `End a drain or a weight that was set by command: the configuration holds again.
After a drain the backend starts as one that has just come up, with the service's
slow_start if that is set.`,
		Example:           `  steelyard backend ready web/web1`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: g.completeBackendIDs(func(o *core.Override) bool { return o != nil }),
		RunE: func(cmd *cobra.Command, a []string) error {
			r, err := f.request(g, core.OverrideReady)
			if err != nil {
				return err
			}
			return g.override(cmd.Context(), a[0], r)
		},
	}
	f.addFlags(cmd, false)
	return cmd
}

func newWeightCommand(g *globals) *cobra.Command {
	var f commandFlags
	cmd := &cobra.Command{
		Use:   "weight SERVICE/BACKEND N",
		Short: "Give a backend another weight than the configured one",
		Long: fmt.Sprintf(`Give a backend another weight than the configured one, 0 to %d. The service's
policy goes by it at once. With 0 the backend gets no new connections.`, core.MaxWeight),
		Example:           `  steelyard backend weight web/web2 20 --for 2h --reason "half the disks are gone"`,
		Args:              args(cobra.ExactArgs(2)),
		ValidArgsFunction: g.completeBackendIDs(func(*core.Override) bool { return true }),
		RunE: func(cmd *cobra.Command, a []string) error {
			n, err := strconv.ParseUint(a[1], 10, 32)
			if err != nil || n > core.MaxWeight {
				return usage(fmt.Errorf("weight %q: want 0 to %d", a[1], core.MaxWeight))
			}
			r, err := f.request(g, core.OverrideWeight)
			if err != nil {
				return err
			}
			r.Weight = uint32(n)
			return g.override(cmd.Context(), a[0], r)
		},
	}
	f.addFlags(cmd, true)
	return cmd
}

// override sends a command and says what became of it.
func (g *globals) override(ctx context.Context, what string, r core.OverrideRequest) error {
	format, err := g.format("table", "json")
	if err != nil {
		return err
	}
	_, res, err := g.command(ctx, what, r)
	if err != nil {
		return err
	}
	if format == "json" {
		err = writeJSON(g.stdout, res)
	} else {
		renderOverride(g.stdout, res)
		g.warn(res.Warning)
	}
	if res.NotInForce != "" && res.Before == nil && res.Override == nil { // nothing to be in force
		return errors.Join(err, g.stillSo(format, what, res.NotInForce))
	}
	return errors.Join(err, g.notYet(format, what, res.NotInForce))
}

// stillSo is the error of a command that had nothing to change, and does not come to
// what it is about.
func (g *globals) stillSo(format, what, why string) error {
	if format == "json" {
		return &codedError{code: exitNotYet}
	}
	return &codedError{exitNotYet, fmt.Errorf("%s: %s", what, why), ""}
}

// notYet is the error of a command that was taken and is not in force; nil if why is
// empty. In JSON the answer has said it.
func (g *globals) notYet(format, what, why string) error {
	switch {
	case why == "":
		return nil
	case format == "json":
		return &codedError{code: exitNotYet}
	}
	return &codedError{exitNotYet, fmt.Errorf("%s: it is set, but not in force yet: %s", what, why), ""}
}

// command sends a command about SERVICE/BACKEND.
func (g *globals) command(ctx context.Context, what string, r core.OverrideRequest) (core.BackendID, core.OverrideResult, error) {
	id, err := core.ParseBackendID(what)
	if err != nil {
		return id, core.OverrideResult{}, usage(err)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	res, err := g.dial(g.Socket).Override(ctx, id, r)
	return id, res, asked(err)
}

// warn tells on stderr what the answer on stdout must not be cluttered with.
func (g *globals) warn(text string) {
	if text != "" {
		p := painter(g.color(g.stderr))
		fmt.Fprintf(g.stderr, "%s %s\n", p.paint(yellow, "steelyard: warning:"), clean(text))
	}
}

// renderOverride says in one line what a command has done.
func renderOverride(w io.Writer, res core.OverrideResult) {
	state := "ready"
	switch {
	case res.Override != nil:
		state = overrideText(*res.Override, res.Override.Since)
	case res.Before == nil && res.NotInForce != "":
		state = "nothing was set by command"
	case res.Before == nil:
		state = "ready already: nothing was set by command"
	case res.Before != nil:
		state = "ready; ended: " + res.Before.String()
	}
	fmt.Fprintf(w, "%s: %s\n", clean(res.Backend), clean(state))
}

// overrideText is an override in a few words as of a time: "drain, alice, 28 min
// left: kernel update".
func overrideText(o core.Override, at time.Time) string {
	parts := []string{string(o.Kind)}
	if o.Kind == core.OverrideWeight {
		parts[0] += " " + strconv.FormatUint(uint64(o.Weight), 10)
	}
	parts = append(parts, o.Author)
	if !o.Until.IsZero() {
		parts = append(parts, timeLeft(o.Until, at))
	}
	text := strings.Join(parts, ", ")
	if o.Reason != "" {
		text += ": " + o.Reason
	}
	return text
}

// timeLeft is such as "28 min left", of what ends at until.
func timeLeft(until, at time.Time) string {
	return seconds(max(until.Sub(at).Seconds(), 0)) + " left"
}
