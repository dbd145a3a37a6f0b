// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// sweepEvery is how often clients of dead backends are looked for while there are
// any: a connection that was under way as its backend died may have bound its
// client again.
const sweepEvery = time.Second

// Tend does what has to be done again and again between two changes: it takes the
// clients of backends that are not alive out of the maps of persistence, so that
// their next connection is balanced. Each call looks at one service, and ends soon
// once ctx is done. again is when it should be called next; 0 when there is
// nothing to do until the next Sync or Reweight. It belongs to the goroutine of
// those, which do the same by themselves for what they change.
func (a *Applier) Tend(ctx context.Context) (again time.Duration, err error) {
	var names []string
	for name, h := range a.known {
		if hasDead(h.plan) {
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
