// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/core/lab"
)

const demoLong = `Show what steelyard does, in a lab of its own on this machine.

The lab is a set of network namespaces: a client, a balancer, and three backends
of unequal capacity, each with a web server and an SNMP agent that reports that
backend's own CPU. The real daemon runs in the balancer with the least-cpu
policy; the client opens a new connection for each request, at a steady rate.

Four things happen: it starts with equal shares; a backend loses half its CPU;
a backend is killed; it comes back. The demo ends with a summary and exits with
0 only if every claim in it held. Your own network and rules are not touched,
and nothing is left behind, whenever it ends.

It needs root, for the namespaces.`

// demoTick is the time between two looks at the daemon.
const demoTick = 500 * time.Millisecond

// A demo is one run of the command.
type demo struct {
	name        string // of the lab
	total       time.Duration
	json, keep  bool
	out, errOut io.Writer

	world  *demoWorld
	screen *demoScreen
	log    demoLog
	rate   float64
	cost   time.Duration
}

func newDemoCommand() *cobra.Command {
	d := &demo{}
	var length int
	var clean bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show it all in a lab of its own (root, about a minute)",
		Long:  demoLong,
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			d.out, d.errOut = cmd.OutOrStdout(), cmd.ErrOrStderr()
			if clean {
				return d.clean()
			}
			if d.total, err = checkDemoSeconds(length); err != nil {
				return err
			}
			return d.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.IntVar(&length, "seconds", 60, "length of the traffic")
	f.BoolVar(&d.json, "json", false, "print the summary as JSON, and progress on standard error")
	f.BoolVar(&d.keep, "keep", false, "leave the lab, the backends and the daemon running")
	f.BoolVar(&clean, "clean", false, "remove a lab that --keep left")
	f.StringVar(&d.name, "name", "demo", "name of the lab, to run two at a time")
	return cmd
}

func (d *demo) clean() error {
	found, err := removeDemo(d.name)
	if err != nil {
		return err
	}
	what := "there was nothing to remove"
	if found {
		what = "removed"
	}
	_, err = fmt.Fprintf(d.out, "lab %s: %s\n", d.name, what)
	return err
}

// run is the whole demo. Whatever it has started it has ended when it returns,
// unless it is to be kept.
func (d *demo) run(ctx context.Context) (err error) {
	if err := lab.Available(); err != nil {
		return &codedError{exitPermission, fmt.Errorf("build the lab: %w", err), "sudo steelyard demo"}
	}
	d.screen = newDemoScreen(d.out)
	if d.json {
		d.screen = newDemoScreen(d.errOut)
	}
	kept := false
	defer func() {
		if ctx.Err() != nil {
			err = errors.New("interrupted; nothing is left behind")
		}
		if d.world != nil && !kept {
			err = errors.Join(err, d.world.close())
		}
	}()
	if err := d.setUp(ctx); err != nil {
		return err
	}
	stop, err := d.world.startClient(d.rate, d.log.report)
	if err != nil {
		return err
	}
	if err := d.play(ctx); err != nil {
		return errors.Join(err, stop(0))
	}
	if err := stop(demoTimeout + time.Second); err != nil {
		return err
	}
	s := d.log.summary(d.rate, d.cost)
	if err := d.conclude(s); err != nil {
		return err
	}
	if d.keep {
		if err := d.world.lab.Release(); err != nil {
			return err
		}
		kept = true
		d.screen.say("%s", d.howToEnter())
	}
	return s.verdict()
}

// setUp builds everything up to the traffic.
func (d *demo) setUp(ctx context.Context) (err error) {
	began := time.Now()
	if d.world, err = newDemoWorld(ctx, d.name, d.keep); err != nil {
		return err
	}
	d.screen.say("lab %s is up after %s: a client, a balancer and %d backends in network namespaces of their own",
		d.name, seconds(time.Since(began).Seconds()), len(demoBackends))
	if d.cost, err = d.world.cost(ctx); err != nil {
		return err
	}
	d.rate = demoRate(d.cost)
	if err := d.world.startDaemon(ctx); err != nil {
		return err
	}
	d.screen.say("steelyard runs; a request costs %s of CPU, so the client sends %.0f requests/s: %.0f %% of what all backends can do",
		seconds(d.cost.Seconds()), d.rate, 100*demoLoad)
	return nil
}

// play goes through the phases.
func (d *demo) play(ctx context.Context) error {
	end := time.Now().Add(d.total)
	for i, phase := range demoPhases() {
		until := time.Now().Add(phase.lasts(d.total))
		d.log.begin(time.Now())
		d.screen.say("\n%s", d.screen.paint.paint(bold, fmt.Sprintf("Phase %d: %s", i+1, phase.title)))
		if err := d.act(ctx, i); err != nil {
			return err
		}
		if err := d.watch(ctx, until, end); err != nil {
			return err
		}
	}
	d.log.end(time.Now())
	return nil
}

// act is what happens at the beginning of a phase.
func (d *demo) act(ctx context.Context, phase int) error {
	switch phase {
	case 1:
		return d.world.backends[demoHalved].Signal(syscall.SIGUSR1)
	case demoKilled:
		d.log.kill(time.Now())
		d.world.backends[demoVictim].Kill()
	case demoReturned:
		if err := d.world.startBackend(demoVictim); err != nil {
			return err
		}
		return d.world.awaitBackend(ctx, demoVictim)
	}
	return nil
}

// watch looks at the daemon until the phase is over.
func (d *demo) watch(ctx context.Context, until, end time.Time) error {
	tick := time.NewTicker(demoTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-d.world.daemon.Done():
			return fmt.Errorf("the daemon ended: %w\n%s", errors.Join(errors.New("that is not part of the plan"), d.world.daemon.Err()), d.world.logTail())
		case now := <-tick.C:
			if now.After(until) {
				return nil
			}
			if err := d.look(ctx); err != nil {
				return err
			}
			d.screen.draw(&d.log, now, end)
		}
	}
}

func (d *demo) look(ctx context.Context) error {
	v, err := d.world.client.Node(ctx)
	if err != nil {
		return fmt.Errorf("ask the daemon: %w", err)
	}
	d.log.view(v)
	if d.log.waitsForDeath() {
		const last = 20 // decisions; two seconds of them at the very most
		ds, err := d.world.client.Decisions(ctx, demoService, last)
		if err != nil {
			return fmt.Errorf("ask the daemon: %w", err)
		}
		d.log.decisions(ds)
	}
	return nil
}

func (d *demo) conclude(s demoSummary) error {
	if d.json {
		return writeJSON(d.out, s)
	}
	s.write(d.out, d.screen.paint)
	_, err := io.WriteString(d.out, demoNext)
	return err
}

// verdict is the error of a demo that did not show what it claims.
func (s demoSummary) verdict() error {
	failed := 0
	for _, c := range s.Checks {
		if !c.OK {
			failed++
		}
	}
	if s.OK {
		return nil
	}
	return &codedError{exitFailure, fmt.Errorf("the demo did not show all it claims: %d of %d checks failed", failed, len(s.Checks)),
		"another heavy load on this machine can do that; --seconds 120 gives the shares more time"}
}

func (d *demo) howToEnter() string {
	name := ""
	if d.name != "demo" {
		name = " --name " + d.name
	}
	return fmt.Sprintf(`
The lab is still up, without traffic:
    %[1]s show --socket %[2]s
    %[1]s explain %[3]s/%[4]s --socket %[2]s
    ip netns exec %[5]s %[1]s lab-client %[6]s:80 --rate 100   new traffic
    ip netns exec %[7]s nft list table inet steelyard          the rules
    less %[8]s
Edit %[10]s to try a policy of yours, then:
    %[1]s reload --socket %[2]s
Remove it with:
    %[1]s demo --clean%[9]s`, d.world.binary, d.world.socket(), demoService, demoBackends[0].name,
		d.world.lab.Client.Namespace, d.world.lab.VIP4, d.world.lab.Balancer.Namespace, d.world.log(), name, d.world.config())
}

func newDemoScreen(out io.Writer) *demoScreen {
	f, ok := out.(*os.File)
	terminal := ok && isatty.IsTerminal(f.Fd()) && os.Getenv("TERM") != "dumb"
	return &demoScreen{out: out, terminal: terminal, paint: painter(terminal && os.Getenv("NO_COLOR") == "")}
}
