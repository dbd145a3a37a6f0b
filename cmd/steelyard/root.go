// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

const (
	defaultConfig = "/etc/steelyard/steelyard.yaml"
	defaultSocket = "/run/steelyard/control.sock"
)

const rootLong = `steelyard is a layer-4 load balancer. nftables in the kernel carries every packet;
steelyard watches the backends, lets a sandboxed policy weigh them, and commits the
weights as one atomic map update.

Start with:   steelyard check -c FILE      is this configuration right?
              steelyard run -c FILE        balance
              steelyard show               what does each backend get, and why
              steelyard explain web/web1   how did that share come about
              steelyard demo               see it all in a lab of its own`

// execute runs one command line and returns the exit code.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	g := newGlobals(stdout, stderr)
	root := newRootCommand(g)
	root.SetArgs(args)
	root.SetOut(g.stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err != nil && strings.HasPrefix(err.Error(), "unknown command") {
		err = unknownCommand(err)
	}
	if o, ok := g.stdout.(*output); ok && o.err != nil {
		g.Output = "" // not there: it would be lost as well
		return g.fail(o.err)
	}
	return g.fail(err)
}

// flagError is what is wrong with the flags, with a remedy.
func flagError(cmd *cobra.Command, err error) error {
	e := &codedError{code: exitUsage, err: err, hint: cmd.CommandPath() + " --help lists the flags"}
	if strings.Contains(err.Error(), "time: ") {
		e.hint = "a time has a unit, as in 30s, 30m or 2h"
	}
	return e
}

// unknownCommand puts cobra's proposals into the hint.
func unknownCommand(err error) error {
	what, proposals, ok := strings.Cut(err.Error(), "\n\nDid you mean this?\n")
	e := &codedError{code: exitUsage, err: errors.New(what), hint: "steelyard --help lists the commands"}
	if w := strings.Split(what, `"`); len(w) == 5 && strings.HasSuffix(w[1], ".yaml") {
		e.hint = "a configuration is named with -c: " + w[3] + " -c " + w[1]
	}
	if ok {
		e.hint = "did you mean " + strings.Join(strings.Fields(proposals), " or ") + "?"
	}
	return e
}

func newRootCommand(g *globals) *cobra.Command {
	root := &cobra.Command{
		Use:     "steelyard",
		Short:   "A layer-4 load balancer on nftables whose weights follow the backends",
		Long:    rootLong + "\n\n" + exitHelp,
		Version: version,
		// fail says what went wrong, once.
		SilenceErrors: true, SilenceUsage: true,
	}
	g.addFlags(root.PersistentFlags())
	_ = root.RegisterFlagCompletionFunc("output", completeOutput) // it is there: the line above made it
	root.SetFlagErrorFunc(flagError)
	root.AddGroup(
		&cobra.Group{ID: "use", Title: "Balance:"},
		&cobra.Group{ID: "look", Title: "Look:"},
		&cobra.Group{ID: "tools", Title: "Tools:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("use", newCheckCommand(g), newRunCommand(g), newBackendCommand(g), newSessionCommand(g), newPlanCommand(g), newReloadCommand(g), newStopCommand(g), newPushCommand(g), newMetricCommand(g))
	add("look", newShowCommand(g), newExplainCommand(g), newTraceCommand(g), newMonitorCommand(g), newStatusCommand(g), newRevisionsCommand(g))
	add("tools", newSimulateCommand(g), newPluginCommand(g), newProbeCommand(g), newDemoCommand(), newConfigCommand(g), newBusCommand(g), newVersionCommand(g))
	root.AddCommand(newLabBackendCommand(), newLabClientCommand())
	return root
}
