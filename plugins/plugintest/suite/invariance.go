// SPDX-License-Identifier: Apache-2.0

package suite

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/steelyard-lb/steelyard/core"
)

// sameShare is how far two shares may be apart that ought to be the same.
const sameShare = 1e-5

// ordered: the order of the backends changes no share. Each order is a service
// of its own, because state must be new.
func ordered(ctx context.Context, t *trial) Result {
	want := map[string]float64{}
	for round := range 4 {
		s := t.snapshot("ordered", 7)
		s.ID += uint64(round)
		rng := rand.New(rand.NewPCG(uint64(round), 2))
		rng.Shuffle(len(s.Backends), func(i, k int) { s.Backends[i], s.Backends[k] = s.Backends[k], s.Backends[i] })
		shares, err := t.Ask(ctx, &s)
		if err != nil {
			return failed(err)
		}
		for i, share := range shares {
			name := s.Backends[i].Name
			if w, ok := want[name]; ok && apart(w, share) > sameShare {
				return t.breaks(AllowOrder, fmt.Sprintf("the share of %s is %s in one order of the backends and %s in another", name, shareText(w), shareText(share)),
					"go by id, weight or readings, not by the index")
			}
			want[name] = share
		}
	}
	return pass("")
}

// scaled: only the ratios of the configured weights matter.
func scaled(ctx context.Context, t *trial) Result {
	var want []float64
	for i, factor := range []uint32{1, 3} {
		s := t.snapshot("scaled", 7)
		s.ID += uint64(i)
		for k := range s.Backends {
			s.Backends[k].Weight *= factor
		}
		shares, err := t.Ask(ctx, &s)
		if err != nil {
			return failed(err)
		}
		for k := range want {
			if apart(want[k], shares[k]) > sameShare {
				return t.breaks(AllowScale, fmt.Sprintf("the share of %s is %s, and %s once all configured weights are three times as large",
					s.Backends[k].Name, shareText(want[k]), shareText(shares[k])),
					"use weights as factors of one another, not as amounts")
			}
		}
		want = shares
	}
	return pass("")
}

// breaks is the result for a property that a policy may break on purpose.
func (t *trial) breaks(property, cause, remedy string) Result {
	if slices.Contains(t.options.Allow, property) {
		return note(cause, "")
	}
	return fail(cause, fmt.Sprintf("%s; if it is meant, say so: allow: [%s] in the scenarios, or --allow %s", remedy, property, property))
}

// comeAndGo changes the backends of one service from call to call.
func comeAndGo(ctx context.Context, t *trial) Result {
	s := t.snapshot("come and go", 20)
	rng := rand.New(rand.NewPCG(3, 3))
	for range 50 {
		step := wander(rng, &s)
		if _, err := t.Schedule(ctx, &step); err != nil {
			return failed(err)
		}
	}
	return pass("50 decisions")
}

// wander is the next decision of s with random readings and health, and without
// some of its backends.
func wander(rng *rand.Rand, s *core.Snapshot) core.Snapshot {
	tick(s)
	step := *s
	step.Backends = nil
	for _, b := range s.Backends {
		if rng.IntN(3) == 0 {
			continue
		}
		b.CPU.Value, b.Conns.Value, b.Response.Value = rng.Float64(), float64(rng.IntN(500)), rng.Float64()
		b.New.Value, b.Done.Value = 100*rng.Float64(), 100*rng.Float64()
		b.Health = core.HealthState(rng.IntN(3))
		b.Custom = slices.Clone(b.Custom)
		for i := range b.Custom {
			b.Custom[i].Value = 20 * rng.Float64()
		}
		step.Backends = append(step.Backends, b)
	}
	return step
}
