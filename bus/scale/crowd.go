// SPDX-License-Identifier: Apache-2.0

package scale

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/steelyard-lb/steelyard/bus"
)

// tick is how often a Crowd speaks; in between it gathers what is due.
const tick = 10 * time.Millisecond

// A Crowd speaks for all nodes of a group, over one or more buses that it shares out to
// them.
type Crowd struct {
	Size  Size
	Buses []*bus.Bus // of nodes that are not of the group
}

// Speak says what all nodes say in a time, and returns how many messages of each class it
// was. On a machine that cannot keep up it takes longer, and says no less. It ends early,
// without an error, when ctx does.
func (c *Crowd) Speak(ctx context.Context, period time.Duration) (map[bus.Class]int, error) {
	streams := c.Size.Paper()
	said, errs := make([]int, len(streams)), make([]error, len(streams))
	var wg sync.WaitGroup
	for i, s := range streams {
		wg.Go(func() { said[i], errs[i] = c.stream(ctx, s, int(s.PerSecond*period.Seconds())) })
	}
	wg.Wait()
	out := map[bus.Class]int{}
	for i, s := range streams {
		out[s.Class] = said[i]
	}
	return out, errors.Join(errs...)
}

// stream says n messages of a class at its rate.
func (c *Crowd) stream(ctx context.Context, s Stream, n int) (said int, err error) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for start := time.Now(); said < n && ctx.Err() == nil; {
		for due := min(n, int(time.Since(start).Seconds()*s.PerSecond)+1); said < due; said++ {
			b := c.Buses[c.Size.speaker(s.Class, said)%len(c.Buses)]
			if err := c.Size.say(b, s.Class, said); err != nil {
				return said, fmt.Errorf("say %d of %s: %w", said, s.Class, err)
			}
		}
		<-ticker.C
	}
	return said, nil
}
