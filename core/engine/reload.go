// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// ErrBusy says that a reload is under way already.
var ErrBusy = errors.New("a reload is under way; wait for it and try again")

// A reload is a setup on its way into the kernel.
type reload struct {
	setup    Setup
	services map[string]*service
	undo     bool              // this sync brings the setup before back
	cause    error             // why it is undone
	done     chan reloadAnswer // capacity 1, so that the engine never waits for the caller
}

// A reloadAnswer is what became of a reload.
type reloadAnswer struct {
	dropped []core.Dropped
	err     error
}

// Reload makes setup the one in force, all or nothing: when the kernel refuses
// any service of it, the setup before is brought back and the error names the
// service. What was learned of a backend that stays (health, readings,
// opinions, counters) stays. It returns the commands that have ended because what
// they were about is gone.
func (e *Engine) Reload(ctx context.Context, setup Setup) ([]core.Dropped, error) {
	r := &reload{setup: setup, done: make(chan reloadAnswer, 1)}
	var busy bool
	err := e.do(ctx, func() {
		if busy = e.committer.reload != nil; busy {
			return
		}
		r.services = e.build(setup, core.Plan{})
		for _, s := range inOrder(r.services) {
			e.decide(s, cause{trigger: "reload", at: time.Now()}, s.pace())
		}
		e.committer.reload = r
	})
	if err != nil {
		return nil, err
	}
	if busy {
		return nil, ErrBusy
	}
	select {
	case a := <-r.done:
		return a.dropped, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Setup is the one in force.
func (e *Engine) Setup(ctx context.Context) (s Setup, err error) {
	err = e.do(ctx, func() { s = e.setup })
	return s, err
}

// finishReload files the sync of a reload: it is in force, or is undone.
func (e *Engine) finishReload(c commitResult) {
	r, o := c.job.reload, *c.sync
	switch err := refusal(o); {
	case r.undo:
		e.committer.reload = nil
		e.finishSync(c.job, o)
		if err != nil {
			r.done <- reloadAnswer{err: notUndone{fmt.Errorf("%w; the one before could not be brought back whole, which is tried again: %w", r.cause, err)}}
			return
		}
		r.done <- reloadAnswer{err: fmt.Errorf("%w; the one before is in force", r.cause)}
	case err != nil:
		e.noteKernel(o.commit, o.err)
		// One more sync puts the services in force back.
		r.undo, r.cause, r.services = true, err, e.services
	default:
		e.committer.reload = nil
		dropped := e.install(r.setup, r.services)
		e.finishSync(c.job, o)
		e.event(core.Info, "reload", "", "", fmt.Sprintf("configuration reloaded: %d services", len(r.services)))
		r.done <- reloadAnswer{dropped: dropped}
	}
}

// A notUndone is an error of a reload after which the setup before is not in
// force as a whole.
type notUndone struct{ error }

// NotUndone implements what callers ask an error before they promise anything.
func (notUndone) NotUndone() bool { return true }
func (e notUndone) Unwrap() error { return e.error }

// refusal is why a sync counts as failed as a whole.
func refusal(o syncOutcome) error {
	if o.err != nil {
		return fmt.Errorf("the kernel did not take the configuration: %w", o.err)
	}
	if len(o.refused) == 0 {
		return nil
	}
	var names []string
	for name, err := range o.refused {
		names = append(names, fmt.Sprintf("service %s: %s", name, strings.TrimPrefix(err.Error(), "service "+name+": ")))
	}
	slices.Sort(names)
	return errors.New(strings.Join(names, "; "))
}
