// SPDX-License-Identifier: Apache-2.0

package suite_test

import (
	"math"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/plugins/plugintest/suite"
)

// What a candidate holds keeps the share it had, and what is down gets nothing,
// on both sides; state warms up from one decision to the next.
func TestReplayCountsHoldAndDown(t *testing.T) {
	snapshot := func(cpu float64) core.Snapshot {
		s := suite.Snapshot("web", 3)
		s.Backends[0].CPU.Value = cpu
		s.Backends[1].CPU, s.Backends[1].Share = core.Reading{}, 0.5
		s.Backends[2].Health = core.Down
		return s
	}
	at := time.Unix(1_700_000_000, 0)
	r := suite.NewReplayer(openFollow(t))
	for i, weights := range [][]float64{{1, 1, 1}, {3, 1, 0}, {core.Hold, 1, 1}} {
		rec := core.Recorded{At: at.Add(time.Duration(i) * time.Second), Version: "old@1", Snapshot: snapshot(0.2), Weights: weights}
		if err := r.Add(t.Context(), rec, nil); err != nil {
			t.Fatal(err)
		}
	}
	got := r.Result()
	s := got.Services[0]
	// The candidate: half for the first, half held. Recorded: half and half; 3 to 1;
	// and the share of the first held, 1/3, the rest to the second.
	if want := (0 + 0.25 + 1.0/6) / 3; math.Abs(s.MovedMean-want) > 1e-9 || math.Abs(got.MovedMax-0.25) > 1e-9 || !s.MovedMaxAt.Equal(at.Add(time.Second)) {
		t.Errorf("moved %g in the mean and %g at most at %v, want %g, 0.25 and the second", s.MovedMean, got.MovedMax, s.MovedMaxAt, want)
	}
	for i, want := range []struct {
		share float64
		held  int
	}{{0.5, 0}, {0.5, 3}, {0, 0}} {
		if b := s.Backends[i]; math.Abs(b.Share-want.share) > 1e-9 || b.Held != want.held {
			t.Errorf("%s: share %g, held %d; want %+v", b.Backend, b.Share, b.Held, want)
		}
	}
}

// A candidate's parameters: its own over those recorded, and of those only what it
// knows.
func TestReplayParams(t *testing.T) {
	session := openFollow(t)
	for _, tt := range []struct {
		recorded, own map[string]float64
		want          float64
	}{
		{map[string]float64{"alpha": 3}, nil, 0.5},
		{map[string]float64{"gain": 1}, nil, 1},
		{map[string]float64{"gain": 7}, nil, 0.5}, // out of its range: the default
		{map[string]float64{"gain": 1}, map[string]float64{"gain": 0}, 0},
	} {
		r := suite.NewReplayer(session)
		s := suite.Snapshot("web", 2)
		s.Params = tt.recorded
		for _, cpu := range []float64{0.5, 0} {
			s.Backends[0].CPU.Value, s.Backends[1].CPU.Value = cpu, 0.5
			if err := r.Add(t.Context(), core.Recorded{Snapshot: s, Weights: []float64{1, 1}}, tt.own); err != nil {
				t.Fatal(err)
			}
		}
		first := 0.5 + tt.want*0.5 // from half idle towards idle
		want := first/(first+0.5) - 0.5
		if got := r.Result().MovedMax; math.Abs(got-want) > 1e-6 {
			t.Errorf("%+v: moved %g, want %g", tt, got, want)
		}
	}
}
