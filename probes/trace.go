// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"context"
	"fmt"
)

// traceKey is under which a context holds the trace of a run that somebody watches.
type traceKey struct{}

// A trace is told the steps of a run, without the secrets.
type trace struct {
	say     func(step, text string)
	secrets []string
}

// traced is ctx for a run that somebody watches. secrets may be in what the other side
// says, and are left out.
func traced(ctx context.Context, say func(step, text string), secrets ...string) context.Context {
	return context.WithValue(ctx, traceKey{}, trace{say, secrets})
}

// note tells whoever watches the run what it does: a step in a word or two, and
// what came of it. It never holds a secret. Nobody watches the runs of a Runner.
func note(ctx context.Context, step, format string, args ...any) {
	if t, ok := ctx.Value(traceKey{}).(trace); ok {
		t.say(step, oneLine(hide(fmt.Sprintf(format, args...), t.secrets)))
	}
}
