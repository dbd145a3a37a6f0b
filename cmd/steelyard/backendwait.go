// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/admin"
)

const (
	waitEvery   = 500 * time.Millisecond // the spacing of the daemon's own counts
	sayEvery    = 5 * time.Second        // of lines that are not a terminal's
	rateOver    = 10 * time.Second       // what the rate and the estimate go by
	unknownFor  = 5 * time.Second        // how long a count may be missing
	recountFor  = 30 * time.Second       // how long it may be of before the drain: a large table takes some time
	absentFor   = 30 * time.Second       // how long the daemon may be away, as for a restart
	cutPatience = 10 * time.Second       // from a cut until the count has followed
	groupLag    = 3 * time.Second        // until the other nodes of a group have followed, counted and told
)

// A waitFlags says whether and how long a drain is waited for.
type waitFlags struct {
	wait, cut bool
	deadline  time.Duration
}

func (w *waitFlags) addFlags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&w.wait, "wait", false, "wait until no connection of the backend is open: on any node of the group if this one leads the service, else on this one")
	cmd.Flags().DurationVar(&w.deadline, "deadline", 0, "with --wait: wait no longer than this; 0 means without end")
	cmd.Flags().BoolVar(&w.cut, "cut", false, "with --deadline: end the connections that are open then")
}

func (w *waitFlags) check() error {
	switch {
	case w.deadline < 0:
		return usage(fmt.Errorf("--deadline %s: want a time above 0", w.deadline))
	case w.deadline > 0 && !w.wait:
		return usage(errors.New("--deadline is for --wait"))
	case w.cut && w.deadline == 0:
		return usage(errors.New("--cut needs --wait and a --deadline, when to cut"))
	}
	return nil
}

// A drainResult is what -o json prints at the end of a wait.
type drainResult struct {
	core.OverrideResult
	Remaining uint64  `json:"remaining_connections"`
	Waited    float64 `json:"waited_seconds"`
	Cut       int     `json:"cut_connections,omitempty"`
}

// drain drains a backend and waits for its connections if w says so.
func (g *globals) drain(ctx context.Context, what string, r core.OverrideRequest, w waitFlags) error {
	if !w.wait {
		return g.override(ctx, what, r)
	}
	format, err := g.format("table", "json")
	if err != nil {
		return err
	}
	id, res, err := g.command(ctx, what, r)
	if err != nil {
		return err
	}
	if format != "json" {
		renderOverride(g.stdout, res)
		g.warn(res.Warning)
	}
	if res.NotInForce != "" { // nobody can say when the last new client has come
		if format == "json" {
			err = writeJSON(g.stdout, res)
		}
		return errors.Join(err, g.notYet(format, what, res.NotInForce))
	}
	d := &drainWait{g: g, id: id, flags: w, since: res.At, began: time.Now(), say: io.Discard}
	if format != "json" {
		d.say, d.terminal = g.stdout, isTerminal(g.stdout)
	}
	d.since = d.since.Add(g.lag(ctx))
	err = d.run(ctx)
	if format != "json" {
		return err
	}
	out := drainResult{res, d.remaining, time.Since(d.began).Seconds(), d.cutCount}
	if err == nil || errors.As(err, new(*deadlineError)) {
		if werr := writeJSON(g.stdout, out); werr != nil {
			return werr
		}
	}
	if errors.As(err, new(*deadlineError)) {
		return &codedError{code: exitDeadline} // the answer says the rest
	}
	return err
}

// lag is how much later than here a drain is in force everywhere, and known to be.
func (g *globals) lag(ctx context.Context) time.Duration {
	if v, err := g.node(ctx); err == nil && v.Cluster == nil {
		return 0
	}
	return groupLag
}

// isTerminal reports whether a line can be written over.
func isTerminal(w io.Writer) bool {
	if o, ok := w.(*output); ok {
		w = o.Writer
	}
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// A deadlineError says that connections are left at the deadline.
type deadlineError struct {
	id   core.BackendID
	left uint64
	wait time.Duration
}

func (e *deadlineError) Error() string {
	return fmt.Sprintf("%s has %s open after %s", e.id, plural(int(e.left), "connection"), seconds(e.wait.Seconds()))
}

// A drainWait follows the open connections of a backend to their end.
type drainWait struct {
	g        *globals
	id       core.BackendID
	flags    waitFlags
	since    time.Time // from when on the kernel sends it nobody, by the daemon's clock
	began    time.Time
	say      io.Writer
	terminal bool // say can write over its line

	counts    []counted // the latest, over rateOver
	remaining uint64
	first     uint64
	saidAt    time.Time
	saidWhat  uint64
	counting  time.Time // when a count was last there
	present   time.Time // when the daemon last answered
	led       time.Time // when this node last led the service; zero if it never did
	cutAt     time.Time // zero before the cut
	cutCount  int
}

// A counted is how many connections were open at a time.
type counted struct {
	at   time.Time
	open uint64
}

// run returns when no connection is open, or the wait has failed.
func (d *drainWait) run(ctx context.Context) error {
	d.counting, d.present = d.began, d.began
	tick := time.NewTicker(waitEvery)
	defer tick.Stop()
	for {
		end, err := d.look(ctx)
		if err != nil || end {
			if d.terminal && len(d.counts) > 0 {
				fmt.Fprint(d.say, clearLine)
			}
			if err == nil {
				fmt.Fprintln(d.say, d.farewell())
			}
			return err
		}
		select {
		case <-ctx.Done():
			return &codedError{exitFailure, fmt.Errorf("interrupted: %s still drains, with %s open", d.id, plural(int(d.remaining), "connection")), ""}
		case <-tick.C:
		}
	}
}

// look asks once and reports whether the wait is over.
func (d *drainWait) look(ctx context.Context) (end bool, err error) {
	b, leader, err := d.backend(ctx)
	now := time.Now()
	switch {
	case errors.Is(err, admin.ErrUnreachable) && now.Sub(d.present) < absentFor:
		return false, nil // it may be restarting; the drain survives that
	case err != nil:
		return false, asked(err)
	}
	d.present = now
	if b.Override == nil || b.Override.Kind != core.OverrideDrain {
		return false, &codedError{exitFailure, fmt.Errorf("the drain of %s was ended while %s were open", d.id, plural(int(d.remaining), "connection")),
			"`steelyard monitor event.info.override` shows by whom"}
	}
	if leader == nil {
		d.led = now
	} else if !d.led.IsZero() {
		return false, d.withoutLead(ctx, leader.Node, now)
	}
	if b.Connections == nil || b.ConnectionsAt.Before(d.since) {
		patience := unknownFor
		if b.Connections != nil {
			patience = recountFor
		}
		if now.Sub(d.counting) < patience {
			return false, nil
		}
		return false, &codedError{exitFailure, fmt.Errorf("nobody counts the open connections of %s", d.id),
			"connection tracking does not see those of forwarding dsr and stateless; the drain itself is in force"}
	}
	d.counting = now
	d.take(counted{now, *b.Connections})
	if d.remaining == 0 {
		return true, nil
	}
	return false, d.atDeadline(ctx, now)
}

// withoutLead goes on with a wait that was for all nodes, while another one leads: that has
// no drain, and what is counted here is of this node alone. After a restart of the daemon
// the lead comes back.
func (d *drainWait) withoutLead(ctx context.Context, leader string, now time.Time) error {
	if now.Sub(d.led) < absentFor {
		return d.atDeadline(ctx, now)
	}
	return &codedError{exitFailure, fmt.Errorf("%s leads %s now: on other nodes %s gets connections again, and how many is not known here", leader, d.id.Service, d.id),
		"drain it on " + leader + ", too; the drain on this node goes on"}
}

// backend is the present state of the backend, and who leads its service if that is another
// node.
func (d *drainWait) backend(ctx context.Context) (core.BackendView, *core.LeaderView, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	s, err := d.g.dial(d.g.Socket).Service(ctx, d.id.Service)
	if err != nil {
		return core.BackendView{}, nil, err
	}
	i := slices.IndexFunc(s.Backends, func(b core.BackendView) bool { return b.Name == d.id.Backend })
	if i < 0 {
		return core.BackendView{}, nil, fmt.Errorf("backend %s: it is not in the configuration any more", d.id)
	}
	return s.Backends[i], s.Leader, nil
}

// take files a count and tells of it.
func (d *drainWait) take(c counted) {
	if len(d.counts) == 0 {
		d.first = c.open
	}
	d.remaining = c.open
	d.counts = append(d.counts, c)
	for len(d.counts) > 2 && c.at.Sub(d.counts[0].at) > rateOver {
		d.counts = d.counts[1:]
	}
	switch {
	case d.terminal:
		fmt.Fprint(d.say, clearLine+d.progress(c))
	case c.open > 0 && (d.saidAt.IsZero() || c.at.Sub(d.saidAt) >= sayEvery && c.open != d.saidWhat):
		fmt.Fprintln(d.say, d.progress(c))
		d.saidAt, d.saidWhat = c.at, c.open
	}
}

// clearLine goes back to the begin of the line and wipes it.
const clearLine = "\r\x1b[K"

// progress is one line about what is left.
func (d *drainWait) progress(c counted) string {
	text := fmt.Sprintf("%s  %s left", clean(d.id.String()), plural(int(c.open), "connection"))
	if d.first > c.open {
		text = fmt.Sprintf("%s  %d of %s left", clean(d.id.String()), c.open, plural(int(d.first), "connection"))
	}
	if r := d.rate(); r > 0 {
		text += fmt.Sprintf(", %.1f/s close, about %s to go", r, seconds(float64(c.open)/r))
	}
	if d.flags.deadline > 0 && d.cutAt.IsZero() {
		text += fmt.Sprintf("; deadline in %s", seconds(max(d.flags.deadline-c.at.Sub(d.began), 0).Seconds()))
	}
	return text
}

// rate is how many connections close per second of late; 0 if none do.
func (d *drainWait) rate() float64 {
	a, b := d.counts[0], d.counts[len(d.counts)-1]
	if b.open >= a.open {
		return 0
	}
	return float64(a.open-b.open) / b.at.Sub(a.at).Seconds()
}

// atDeadline ends the wait, or cuts what is left.
func (d *drainWait) atDeadline(ctx context.Context, now time.Time) error {
	switch {
	case d.flags.deadline == 0 || now.Sub(d.began) < d.flags.deadline:
		return nil
	case d.flags.cut && d.cutAt.IsZero():
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		n, err := d.g.dial(d.g.Socket).Cut(ctx, d.id)
		d.cutAt, d.cutCount = now, n
		return asked(err)
	case d.flags.cut && now.Sub(d.cutAt) < cutPatience:
		return nil
	}
	hint := "the drain goes on; --cut ends such connections at the deadline"
	if d.flags.cut {
		hint = "they were cut on this node, and came back: clients whose persistence binds them to the backend, or that conntrack picked up again; those of other nodes of its group are cut there"
	}
	return &codedError{exitDeadline, &deadlineError{d.id, d.remaining, now.Sub(d.began)}, hint}
}

func (d *drainWait) farewell() string {
	text := fmt.Sprintf("%s  no connection is open, after %s", clean(d.id.String()), seconds(time.Since(d.began).Seconds()))
	if d.cutCount > 0 {
		text += fmt.Sprintf("; %d were cut at the deadline", d.cutCount)
	}
	return text
}
