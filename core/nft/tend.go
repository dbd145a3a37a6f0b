// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// sweepEvery is how often clients of dead backends are looked for while there are
// any: a connection that was under way as its backend died may have bound its
// client again.
const sweepEvery = time.Second

// Tend does what has to be done again and again between two changes. It takes the
// clients of backends that are not alive out of the maps of persistence, so that
// their next connection is balanced, one service at a call; and it settles what
// moves, as Settle says. It ends soon once ctx is done. again is when it should be
// called next; 0 when there is nothing to do until the next Sync or Reweight. It
// belongs to the goroutine of those, which do the same by themselves for what they
// change.
func (a *Applier) Tend(ctx context.Context) (again time.Duration, err error) {
	again, err = a.tendSessions(ctx)
	wait, serr := a.settleDue(ctx)
	return sooner(again, wait), errors.Join(err, serr)
}

// sooner is the shorter of two waits, of which 0 is none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// tendSessions sweeps the next service that has a dead backend.
func (a *Applier) tendSessions(ctx context.Context) (again time.Duration, err error) {
	var names []string
	for name, h := range a.known {
		if h.plan.Traffic != nil && hasDead(h.plan) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return 0, nil
	}
	slices.Sort(names)
	// The next by name after the one of the call before.
	i := slices.IndexFunc(names, func(name string) bool { return name > a.tended })
	a.tended = names[max(i, 0)]
	if err := a.sweep(ctx, a.known[a.tended].plan); err != nil && ctx.Err() == nil {
		return sweepEvery, fmt.Errorf("sweep sessions of service %s: %w", a.tended, err)
	}
	return sweepEvery / time.Duration(len(names)), nil
}
