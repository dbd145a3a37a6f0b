// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"
)

const (
	firstWait = 500 * time.Millisecond
	longest   = time.Minute // between two attempts, unless the receiver asks for more
	mostAsked = time.Hour   // that a receiver may ask for
)

// run sends one message after the other until ctx is done. A message that is under way
// then goes back to where it was.
func (h *hook) run(ctx context.Context, log *slog.Logger) {
	failures := 0 // in a row, of attempts: a receiver that is down is not flooded by those that wait
	for {
		m, ok := h.queue.next(ctx)
		if !ok {
			return
		}
		r, ok := h.request(m)
		if !ok {
			continue // another node's
		}
		if !h.deliver(ctx, r, &failures, log) {
			h.queue.putBack(m)
			return
		}
	}
}

// deliver tries until the message is taken or given up; false if ctx ended it.
func (h *hook) deliver(ctx context.Context, r request, failures *int, log *slog.Logger) bool {
	for {
		err := h.attempt(ctx, r)
		if ctx.Err() != nil && err != nil {
			return false
		}
		var refused *refusal
		if err == nil || errors.As(err, &refused) && refused.final {
			*failures = 0
			h.done(r, err, log)
			return true
		}
		*failures++
		h.stats.failing(err)
		wait := pause(*failures, refused)
		if time.Since(r.at)+wait > h.cfg.RetryFor {
			h.done(r, err, log)
			pass(ctx, wait) // the next one meets the same receiver
			return true
		}
		if *failures == 1 {
			log.Warn("a webhook does not take a message; it is sent again", "host", h.host, "subject", r.subject, "err", err)
		}
		h.stats.retry()
		if !pass(ctx, wait) {
			return false
		}
	}
}

// attempt is post that may go on for a while after ctx is done: what is broken off is
// sent again, and the receiver may have it already.
func (h *hook) attempt(ctx context.Context, r request) error {
	on, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(underWay, cancel) })()
	return h.post(on, r)
}

// done counts a message that was taken or given up.
func (h *hook) done(r request, err error, log *slog.Logger) {
	if err == nil {
		h.stats.sent(time.Now())
		return
	}
	h.stats.failing(err)
	h.stats.failed()
	log.Error("a message for a webhook is given up", "host", h.host, "subject", r.subject, "err", err)
}

// empty sends what is queued, once each, until ctx is done or one fails.
func (h *hook) empty(ctx context.Context) {
	for {
		m, ok := h.queue.take()
		if !ok {
			return
		}
		r, ok := h.request(m)
		if !ok {
			continue
		}
		if err := h.post(ctx, r); err != nil {
			h.stats.failing(err)
			h.stats.failed()
			return
		}
		h.stats.sent(time.Now())
	}
}

// pause is the wait before the next attempt: twice as long each time, and between
// half and all of that, so that many senders do not come back together.
func pause(failures int, r *refusal) time.Duration {
	wait := min(firstWait<<min(failures-1, 10), longest)
	wait = wait/2 + rand.N(wait/2+1)
	if r != nil {
		wait = max(wait, min(r.after, mostAsked))
	}
	return wait
}

// pass waits; false if ctx ended it.
func pass(ctx context.Context, wait time.Duration) bool {
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
