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
	text := fmt.Sprintf("16 backends %s, 10,000 backends %s, %.1f%% of the %s that a call has", spent(small), spent(large), 100*part, spent(worker.CallCPU))
	if part > 0.5 {
		return note(text, "it would not do with 20,000 backends, or on a machine half as fast: do less per backend")
	}
	return pass(text)
}

// spent is a time for people, as the tables of steelyard print it.
func spent(d time.Duration) string {
	switch {
	case d < 10*time.Microsecond:
		return fmt.Sprintf("%.1f µs", float64(d)/1e3)
	case d < time.Millisecond:
		return fmt.Sprintf("%.0f µs", float64(d)/1e3)
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d)/1e6)
	case d < time.Second:
		return fmt.Sprintf("%.0f ms", float64(d)/1e6)
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
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
