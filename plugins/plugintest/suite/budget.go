// SPDX-License-Identifier: Apache-2.0

package suite

import (
	"context"
	"fmt"
	"time"

	"github.com/steelyard-lb/steelyard/plugins/worker"
)

// budget looks at the time of a call with 10,000 backends, the fastest of five:
// the others waited for something else.
func budget(ctx context.Context, t *trial) Result {
	best := func(n int) (time.Duration, error) {
		s := t.snapshot(fmt.Sprint("budget ", n), n)
		least := time.Hour
		for range 5 {
			tick(&s)
			a, err := t.Schedule(ctx, &s)
			if err != nil {
				return 0, err
			}
			least = min(least, a.Took)
		}
		return least, nil
	}
	small, err := best(16)
	if err != nil {
		return failed(err)
	}
	large, err := best(10_000)
	if err != nil {
		return failed(err)
	}
	part := float64(large) / float64(worker.CallCPU)
	text := fmt.Sprintf("16 backends %v, 10,000 backends %v, %.1f%% of the %v that a call has", small, large, 100*part, worker.CallCPU)
	if part > 0.5 {
		return note(text, "it would not do with 20,000 backends, or on a machine half as fast: do less per backend")
	}
	return pass(text)
}

// memory looks at what the worker has come to after all these calls, and whether
// it still grows.
func memory(ctx context.Context, t *trial) Result {
	first := int64(0)
	for round := range 12 {
		t.Forget()
		s := t.snapshot("memory", 64)
		for range 250 {
			tick(&s)
			if _, err := t.Schedule(ctx, &s); err != nil {
				return failed(err)
			}
		}
		if round == 3 {
			first = t.Memory()
		}
	}
	last := t.Memory()
	text := fmt.Sprintf("the worker has %d MiB", last>>20)
	if grown := last - first; grown > 4<<20 {
		return fail(fmt.Sprintf("the worker grew by %d MiB in 2,000 calls, to %d MiB", grown>>20, last>>20),
			"keep nothing between calls, and free what a call takes")
	}
	return pass(text)
}
