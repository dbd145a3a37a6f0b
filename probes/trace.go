// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"context"
	"fmt"
)

// traceKey is under which a context holds the func(step, text string) that
// watches a run.
type traceKey struct{}

// traced is ctx for a run that somebody watches.
func traced(ctx context.Context, say func(step, text string)) context.Context {
	return context.WithValue(ctx, traceKey{}, say)
}

// note tells whoever watches the run what it does: a step in a word or two, and
// what came of it. It never holds a secret. Nobody watches the runs of a Runner.
func note(ctx context.Context, step, format string, args ...any) {
	if say, ok := ctx.Value(traceKey{}).(func(step, text string)); ok {
		say(step, oneLine(fmt.Sprintf(format, args...)))
	}
}
