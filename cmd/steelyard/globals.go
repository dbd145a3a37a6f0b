// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/pflag"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/admin"
)

// A control is what the commands ask of a running steelyard; admin.Client is
// the one over its socket.
type control interface {
	Node(ctx context.Context) (core.NodeView, error)
	Service(ctx context.Context, name string) (core.ServiceView, error)
	// Decisions are the latest of a service, newest first.
	Decisions(ctx context.Context, service string, last int) ([]core.Decision, error)
	// Trace follows the next sample of a backend to its end.
	Trace(ctx context.Context, id core.BackendID, probe string, timeout time.Duration) (core.Trace, error)
	// Override changes a backend by command, or ends such a change.
	Override(ctx context.Context, id core.BackendID, r core.OverrideRequest) (core.OverrideResult, error)
	// Cut ends the open connections of a backend and returns how many there were.
	Cut(ctx context.Context, id core.BackendID) (int, error)
	// InForce is what the daemon carries, to compare a configuration with.
	InForce(ctx context.Context) (core.InForce, error)
	// Sessions are the clients that persistence has bound, by service.
	Sessions(ctx context.Context, q admin.SessionsQuery) ([]core.SessionsView, error)
	// Pin pins clients to a backend, or ends that; Forget has persistence forget
	// clients and returns how many there were.
	Pin(ctx context.Context, service string, r core.PinRequest) (core.PinResult, error)
	Forget(ctx context.Context, service string, f core.SessionFilter, author string) (int, error)
	// Recordings calls fn for the latest calls of the policies of services, all if
	// there are none, the oldest of a service first, and with follow for new ones,
	// until ctx is done or fn returns an error.
	Recordings(ctx context.Context, services []string, follow bool, fn func(core.Recorded) error) error
	// Reload returns what the new configuration has changed.
	Reload(ctx context.Context) (core.ReloadResult, error)
	// Stop ends the daemon; flush takes its rules out of the kernel too.
	Stop(ctx context.Context, flush bool) error
}

var _ control = (*admin.Client)(nil)

// globals are what every command shares: the flags of the root command and
// where output goes.
type globals struct {
	Socket string // of the daemon
	Output string // table, json or yaml; empty means the command's own default

	stdout, stderr io.Writer
	getenv         func(string) string
	// dial is admin.NewClient but in tests.
	dial func(socket string) control
}

func newGlobals(stdout, stderr io.Writer) *globals {
	return &globals{
		stdout: &output{Writer: stdout}, stderr: stderr, getenv: os.Getenv,
		dial: func(socket string) control { return admin.NewClient(socket) },
	}
}

// socketVariable names the environment variable behind --socket.
const socketVariable = "STEELYARD_SOCKET"

// addFlags gives the root command its flags.
func (g *globals) addFlags(f *pflag.FlagSet) {
	f.StringVar(&g.Socket, "socket", cmp.Or(g.getenv(socketVariable), defaultSocket), "control socket of the daemon")
	f.StringVarP(&g.Output, "output", "o", "", "output format: table or json")
}

// format is the output format, one of allowed; the first is the default.
func (g *globals) format(allowed ...string) (string, error) {
	if g.Output == "" {
		return allowed[0], nil
	}
	if !slices.Contains(allowed, g.Output) {
		return "", usage(fmt.Errorf("output %q: want %s", g.Output, strings.Join(allowed, " or ")))
	}
	return g.Output, nil
}

// An output remembers that it could not be written: an answer that got lost on
// a full disk is no success.
type output struct {
	io.Writer
	err error // the first
}

func (o *output) Write(b []byte) (int, error) {
	n, err := o.Writer.Write(b)
	if err != nil && o.err == nil {
		o.err = err
	}
	return n, err
}

// color reports whether w is a terminal whose user did not ask for no colour.
func (g *globals) color(w io.Writer) bool {
	if o, ok := w.(*output); ok {
		w = o.Writer
	}
	f, ok := w.(*os.File)
	return ok && g.getenv("NO_COLOR") == "" && g.getenv("TERM") != "dumb" && isatty.IsTerminal(f.Fd())
}

// writeJSON is the one way in which commands print JSON.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
