// SPDX-License-Identifier: Apache-2.0

package suite

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/steelyard-lb/steelyard/core"
)

// walk asks for the decisions of one service, 12 of them, the same in every walk,
// and calls between before each.
func walk(ctx context.Context, t *Session, s core.Snapshot, between func(i int) error) ([][]float64, error) {
	rng := rand.New(rand.NewPCG(5, 5))
	s.Backends = slices.Clone(s.Backends)
	var out [][]float64
	for i := range 12 {
		step := wander(rng, &s)
		if between != nil {
			if err := between(i); err != nil {
				return nil, err
			}
		}
		a, err := t.Schedule(ctx, &step)
		if err != nil {
			return nil, fmt.Errorf("decision %d: %w", i+1, err)
		}
		out = append(out, a.Weights)
	}
	return out, nil
}

// differ tells where two walks part.
func differ(a, b [][]float64) (string, bool) {
	for i := range a {
		if !slices.Equal(a[i], b[i]) {
			return fmt.Sprintf("decision %d: weights %v and %v", i+1, some(a[i]), some(b[i])), true
		}
	}
	return "", false
}

func some(w []float64) []float64 { return w[:min(len(w), 4)] }

// twice: a worker that has served for a while and a fresh one give the same
// answers, bit for bit.
func twice(ctx context.Context, t *trial) Result {
	var walks [2][][]float64
	for i := range walks {
		if i == 1 {
			t.Restart()
		}
		t.Forget()
		got, err := walk(ctx, t.Session, t.snapshot("twice", 8), nil)
		if err != nil {
			return failed(err)
		}
		walks[i] = got
	}
	if how, ok := differ(walks[0], walks[1]); ok {
		return fail(how, "take chance from the host's random or the snapshot's seed, and nothing from addresses or map order: what cannot be repeated cannot be explained or replayed")
	}
	return pass("12 decisions")
}

// interleaved: what a policy says about a service does not depend on the calls
// for others in between, which run in the same instance.
func interleaved(ctx context.Context, t *trial) Result {
	t.Forget()
	alone, err := walk(ctx, t.Session, t.snapshot("interleaved", 8), nil)
	if err != nil {
		return failed(err)
	}
	t.Forget()
	others := []core.Snapshot{t.snapshot("other 1", 3), t.snapshot("other 2", 20)}
	mixed, err := walk(ctx, t.Session, t.snapshot("interleaved", 8), func(i int) error {
		o := &others[i%2]
		tick(o)
		_, err := t.Schedule(ctx, o)
		return err
	})
	if err != nil {
		return failed(err)
	}
	if how, ok := differ(alone, mixed); ok {
		return fail("calls for other services change it: "+how, "one instance serves all services: keep numbers in the state of backend and service, not in variables of the program")
	}
	return pass("12 decisions among those of two other services")
}

// restarted: what a policy says does not depend on variables of its program,
// which are lost with a worker.
func restarted(ctx context.Context, t *trial) Result {
	t.Forget()
	whole, err := walk(ctx, t.Session, t.snapshot("restarted", 8), nil)
	if err != nil {
		return failed(err)
	}
	t.Forget()
	broken, err := walk(ctx, t.Session, t.snapshot("restarted", 8), func(i int) error {
		if i == 6 {
			t.Restart()
		}
		return nil
	})
	if err != nil {
		return failed(err)
	}
	if how, ok := differ(whole, broken); ok {
		return fail("a new worker changes it: "+how, "variables of the program are lost with a worker: declare backend or service slots, which the host keeps")
	}
	return pass("a new worker among 12 decisions")
}
