// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

const (
	// tendAfter is how long after a commit the Applier is first given its turn to
	// tend what is in the kernel.
	tendAfter = time.Second
	// maxChores bounds the commands that wait for their turn in the kernel.
	maxChores = 64
)

// A chore is a command that needs the Applier and commits no decision. It is run
// while no commit is, answers whoever waits for it, and reports whether it is done:
// it is called again if something urgent has cut it short.
type chore func(ctx context.Context) (done bool)

// ErrNoPersistence says that a command is about the sessions of a service that has
// none.
var ErrNoPersistence = errors.New("has no persistence")

// launchChore gives the Applier to what is no commit: commands, and its own
// tending. It reports whether it has; with an urgent decision waiting it never
// does.
func (e *Engine) launchChore(ctx context.Context) bool {
	c := &e.committer
	due := !c.tendAt.IsZero() && !time.Now().Before(c.tendAt)
	if len(c.chores) == 0 && !due || e.urgentWaits() {
		return false
	}
	turn, cut := context.WithCancel(ctx)
	c.cut = cut
	if len(c.chores) > 0 {
		f := c.chores[0]
		e.run(ctx, func() commitResult {
			defer cut()
			done := f(turn)
			return commitResult{chore: func() {
				if done {
					c.chores = c.chores[1:]
				}
			}}
		})
		return true
	}
	e.run(ctx, func() commitResult {
		defer cut()
		again, err := e.cfg.Applier.Tend(turn)
		return commitResult{chore: func() { e.tended(again, err) }}
	})
	return true
}

// tended files a turn of tending.
func (e *Engine) tended(again time.Duration, err error) {
	e.committer.tendAt = time.Time{}
	if again > 0 {
		e.committer.tendAt = time.Now().Add(again)
	}
	if err == nil {
		return
	}
	if _, due := e.tendTold.Due("tend", "failed", time.Now()); due {
		e.log.Error("what is in the kernel could not be tended", "err", err)
		e.event(core.Error, "kernel", "", "", err.Error())
	}
}

// tendLater has the Applier look soon whether a commit has left it something to
// tend.
func (c *committer) tendLater() {
	if soon := time.Now().Add(tendAfter); c.tendAt.IsZero() || c.tendAt.After(soon) {
		c.tendAt = soon
	}
}

// hurryTend cuts a chore or a turn of tending short when an urgent decision waits behind it.
func (e *Engine) hurryTend() {
	if e.committer.cut != nil && e.urgentWaits() {
		e.committer.cut()
	}
}

func (e *Engine) urgentWaits() bool {
	for _, s := range e.services {
		if s.urgent && len(s.waiting) > 0 {
			return true
		}
	}
	return false
}

// Forget makes persistence forget the clients of a service that the filter picks,
// and returns how many there were. Their open connections stay where they are;
// their next ones are balanced.
func (e *Engine) Forget(ctx context.Context, service string, f core.SessionFilter, author string) (int, error) {
	type outcome struct {
		n   int
		err error
	}
	done := make(chan outcome, 1) // so that the chore never waits
	var bad error
	err := e.do(ctx, func() {
		s := e.services[service]
		switch {
		case s == nil:
			bad = fmt.Errorf("service %s %w", service, ErrUnknownBackend)
		case s.spec.Persistence.Timeout == 0:
			bad = fmt.Errorf("service %s %w", service, ErrNoPersistence)
		case f.Backend != "" && s.find(f.Backend) == nil:
			bad = fmt.Errorf("backend %s/%s %w", service, f.Backend, ErrUnknownBackend)
		case len(e.committer.chores) == maxChores:
			bad = fmt.Errorf("forget sessions of %s: %d commands wait for the kernel already", service, maxChores)
		default:
			sum := 0
			e.committer.chores = append(e.committer.chores, func(ctx context.Context) bool {
				n, err := e.cfg.Applier.Forget(ctx, service, f)
				sum += n
				if err != nil && ctx.Err() != nil {
					return false
				}
				done <- outcome{sum, err}
				return true
			})
		}
	})
	if err := errors.Join(err, bad); err != nil {
		return 0, err
	}
	select {
	case o := <-done:
		if o.err == nil {
			e.tellCommand("session", service, f.Backend, fmt.Sprintf("%d sessions forgotten by %s", o.n, author))
		}
		return o.n, o.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}
