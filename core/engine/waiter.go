// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A waiter is told what became of a command.
type waiter struct {
	// seq is the decision that it waits for, or a later one; 0 while the policy has
	// not yet seen what the command changed: it does in a snapshot after after. With
	// after 0 it does not matter to the command.
	seq, after uint64
	answer     chan core.Decision // capacity 1, so that the engine never waits
}

// await has a waiter told what becomes of the latest decision: at once, or with the
// commit that is to bring it in, or that brings in the same already.
func (s *service) await(w waiter) {
	n := len(s.waiting)
	if n == 0 {
		w.answer <- s.seen()
		return
	}
	w.seq = s.waiting[n-1].d.Seq
	s.waiters = append(s.waiters, w)
}

// policyAnswered passes on those who waited for the policy to see a snapshot.
func (s *service) policyAnswered(snapshot uint64) {
	var on []waiter
	s.waiters = slices.DeleteFunc(s.waiters, func(w waiter) bool {
		if w.seq != 0 || snapshot <= w.after {
			return false
		}
		on = append(on, w)
		return true
	})
	for _, w := range on {
		s.await(w)
	}
}

// answer tells those who wait for a decision, or for one before it.
func (s *service) answer(d core.Decision) {
	s.waiters = slices.DeleteFunc(s.waiters, func(w waiter) bool {
		if w.seq == 0 || w.seq > d.Seq {
			return false
		}
		w.answer <- d
		return true
	})
}

// patiently waits for an answer, but no longer than commitPatience; false if none
// has come.
func patiently[T any](ctx context.Context, answer <-chan T) (got T, in bool) {
	timer := time.NewTimer(commitPatience)
	defer timer.Stop()
	select {
	case got = <-answer:
		return got, true
	case <-timer.C:
	case <-ctx.Done():
	}
	return got, false
}
