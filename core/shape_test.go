// SPDX-License-Identifier: Apache-2.0

package core

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// defaults as the configuration has them.
var rules = Shaping{Hold: time.Minute, SlowStartMin: 0.1, Floor: 0.05, Ceiling: 1, Step: 0.25, DeadBand: 0.005}

func up(weight uint32, opinion, prev float64) ShapeBackend {
	return ShapeBackend{Weight: weight, Health: Up, Opinion: opinion, Prev: prev, UpFor: -1}
}

func down(b ShapeBackend) ShapeBackend { b.Health = Down; return b }

func TestShape(t *testing.T) {
	slow := rules
	slow.SlowStart = 10 * time.Second
	panics := rules
	panics.Panic = 0.5
	bare := Shaping{}

	young := up(10, 1, 0)
	young.UpFor = 2 * time.Second
	stale := up(10, Hold, 0.8)
	stale.HeldFor = 30 * time.Second
	old := up(10, Hold, 0.8)
	old.HeldFor = time.Hour

	tests := []struct {
		name  string
		rules Shaping
		in    []ShapeBackend
		pace  Pace
		want  []float64
	}{
		{"nobody there", rules, nil, Steady, nil},
		{"ratios of the policy", bare, []ShapeBackend{up(1, 2, 0), up(1, 1, 0)}, Steady, []float64{2. / 3, 1. / 3}},
		{"all down is empty", rules, []ShapeBackend{down(up(1, 1, .5)), down(up(1, 1, .5))}, Steady, []float64{0, 0}},
		{"the dead one's share goes to the others at once", rules,
			[]ShapeBackend{down(up(1, 1, .5)), up(1, 1, .25), up(1, 1, .25)}, Steady, []float64{0, .5, .5}},
		{"weight 0 takes nothing", rules, []ShapeBackend{up(0, 1, .5), up(1, 1, .5)}, Steady, []float64{0, 1}},
		{"unknown is not served", rules, []ShapeBackend{{Weight: 1, Opinion: 1, UpFor: -1}, up(1, 1, 1)}, Steady, []float64{0, 1}},
		{"a step is at most a quarter", rules, []ShapeBackend{up(1, 9, .5), up(1, 1, .5)}, Steady, []float64{.625, .375}},
		{"a step down to nothing is limited too", rules, []ShapeBackend{up(1, 0, .9), up(1, 1, .1)}, Steady, []float64{.875, .125}},
		{"free of the step limit after a reload", rules, []ShapeBackend{up(1, 9, .5), up(1, 1, .5)}, Free, []float64{.9, .1}},
		{"the floor keeps a backend observable", rules, []ShapeBackend{up(1, 1, 0), up(1, 0, 0)}, Steady, []float64{.975, .025}},
		{"the floor is no more than configured", rules, []ShapeBackend{up(999, 999, 0), up(1, 1, 0)}, Steady, []float64{.999, .001}},
		{"a small change is not worth a commit", rules, []ShapeBackend{up(1, 502, .5), up(1, 498, .5)}, Steady, []float64{.5, .5}},
		{"but a move that has begun is finished", rules, []ShapeBackend{up(1, 502, .5), up(1, 498, .5)}, Moving, []float64{.502, .498}},
		{"a young backend starts slowly", slow, []ShapeBackend{up(10, 1, 1), young}, Steady, []float64{5. / 6, 1. / 6}},
		{"no opinion keeps the share", rules, []ShapeBackend{stale, up(10, 1, .2)}, Steady, []float64{.8, .2}},
		{"without a hold time it is held for good", bare, []ShapeBackend{old, up(10, 1, .2)}, Steady, []float64{.8, .2}},
		{"a newcomer gets room beside the held", rules, []ShapeBackend{up(10, Hold, 1), up(10, 1, 0)}, Steady, []float64{.5, .5}},
		{"no opinion decays", Shaping{Hold: time.Minute}, []ShapeBackend{old, up(10, 1, .2)}, Steady, []float64{.5, .5}},
		{"panic uses everybody", panics, []ShapeBackend{up(1, 1, .3), down(up(1, 1, .3)), down(up(2, 1, .4))}, Steady, []float64{.25, .25, .5}},
		{"no panic when nobody is left", panics, []ShapeBackend{down(up(1, 1, .3)), down(up(1, 1, .3))}, Steady, []float64{0, 0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Shape(tt.rules, 1, tt.in, tt.pace)
			for i := range tt.want {
				if math.Abs(got[i].Share-tt.want[i]) > 1e-6 {
					t.Errorf("backend %d: got share %.6f, want %.6f; steps %+v", i, got[i].Share, tt.want[i], got[i].Steps)
				}
			}
		})
	}
}

func drawBackends(t *rapid.T) []ShapeBackend {
	in := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) ShapeBackend {
		b := ShapeBackend{
			Weight:  rapid.Uint32Range(0, MaxWeight).Draw(t, "weight"),
			Health:  HealthState(rapid.IntRange(0, 2).Draw(t, "health")),
			Opinion: rapid.SampledFrom([]float64{Hold, 0, 1e-9, 1, 5, 1e9}).Draw(t, "opinion"),
			Prev:    rapid.SampledFrom([]float64{0, 0.001, 0.3, 1}).Draw(t, "prev"),
			HeldFor: rapid.SampledFrom([]time.Duration{0, time.Minute, 3 * time.Minute}).Draw(t, "held"),
			UpFor:   rapid.SampledFrom([]time.Duration{-1, 0, time.Second, time.Hour}).Draw(t, "upfor"),
		}
		return b
	}), 0, 20).Draw(t, "backends")
	var sum float64
	for _, b := range in {
		sum += b.Prev
	}
	for i := range in {
		if sum > 0 {
			in[i].Prev /= sum
		}
	}
	return in
}

func drawRules(t *rapid.T) Shaping {
	return Shaping{
		Hold:         rapid.SampledFrom([]time.Duration{0, time.Minute}).Draw(t, "hold"),
		SlowStart:    rapid.SampledFrom([]time.Duration{0, 30 * time.Second}).Draw(t, "slowstart"),
		SlowStartMin: rapid.SampledFrom([]float64{0, 0.1, 1}).Draw(t, "slowmin"),
		Floor:        rapid.Float64Range(0, 1).Draw(t, "floor"),
		Ceiling:      rapid.Float64Range(0, 1).Draw(t, "ceiling"),
		Step:         rapid.SampledFrom([]float64{0, 0.01, 0.25, 1}).Draw(t, "step"),
		DeadBand:     rapid.SampledFrom([]float64{0, 0.005, 0.2}).Draw(t, "band"),
		Panic:        rapid.SampledFrom([]float64{0, 0.5, 1}).Draw(t, "panic"),
	}
}

// Whatever the policy says: shares are finite, sum to 1 or to 0, and outside a
// panic nobody who is not up and wanted gets any.
func TestShapeIsAlwaysAVector(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, in := drawRules(t), drawBackends(t)
		var eligible int
		for _, b := range in {
			if b.Health == Up && b.Weight > 0 {
				eligible++
			}
		}
		var sum float64
		for i, s := range Shape(r, 1, in, Pace(rapid.IntRange(0, 2).Draw(t, "pace"))) {
			if s.Share < 0 || math.IsNaN(s.Share) || math.IsInf(s.Share, 0) {
				t.Fatalf("backend %d: share %v", i, s.Share)
			}
			if s.Share > 0 && in[i].Weight == 0 || s.Share > 0 && in[i].Health != Up && r.Panic == 0 {
				t.Fatalf("backend %d has share %v: %+v", i, s.Share, in[i])
			}
			sum += s.Share
		}
		want := 1.0
		if eligible == 0 {
			want = 0
		}
		if math.Abs(sum-want) > 1e-6 {
			t.Fatalf("shares sum to %v, want %v", sum, want)
		}
	})
}

// The step limit bounds each share, whatever the policy asks for.
func TestShapeStepIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Shaping{Step: rapid.Float64Range(0.01, 1).Draw(t, "step")}
		n := rapid.IntRange(1, 12).Draw(t, "n")
		in := make([]ShapeBackend, n)
		prev := make([]float64, n)
		for i := range in {
			prev[i] = rapid.Float64Range(0.01, 1).Draw(t, "prev")
			in[i] = up(1, rapid.Float64Range(0, 100).Draw(t, "opinion"), 0)
		}
		normalise(prev)
		for i := range in {
			in[i].Prev = prev[i]
		}
		for i, s := range Shape(r, 1, in, Steady) {
			if lo, hi := prev[i]*(1-r.Step), prev[i]*(1+r.Step); s.Share < lo-1e-9 || s.Share > hi+1e-9 {
				t.Fatalf("backend %d went from %v to %v, outside %v to %v", i, prev[i], s.Share, lo, hi)
			}
		}
	})
}

func TestQuantize(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shares := rapid.SliceOfN(rapid.OneOf(rapid.Just(0.0), rapid.Just(1e-12), rapid.Float64Range(0, 1)), 0, 300).Draw(t, "shares")
		var sum float64
		for _, s := range shares {
			sum += s
		}
		var total uint32
		for i, s := range Quantize(shares) {
			if (shares[i] > 0) != (s > 0) && sum > 0 {
				t.Fatalf("share %v got %d slots", shares[i], s)
			}
			if exact := shares[i] / sum * Slots; sum > 0 && math.Abs(float64(s)-exact) > 1+float64(len(shares)) {
				t.Fatalf("share %v of %v got %d slots, exactly %v", shares[i], sum, s, exact)
			}
			total += s
		}
		if want := uint32(Slots); sum > 0 && total != want || sum == 0 && total != 0 {
			t.Fatalf("%d slots in all for a sum of %v", total, sum)
		}
	})
}

func TestQuantizeIsLargestRemainder(t *testing.T) {
	got := Quantize([]float64{2. / 3, 1. / 3})
	if got[0] != 43691 || got[1] != 21845 {
		t.Errorf("two thirds and one third: got %v, want [43691 21845]", got)
	}
}

// A backend that comes up and has no reading yet grows over its slow start; the
// share that slow start cut is not what it keeps.
func TestSlowStartWithoutAnOpinionGrows(t *testing.T) {
	rules := Shaping{Hold: time.Minute, SlowStart: 2 * time.Second, SlowStartMin: 0.1, Step: 0.25}
	in := []ShapeBackend{
		{Weight: 100, Health: Up, Opinion: Hold, Prev: 0.5, UpFor: -1},
		{Weight: 100, Health: Up, Opinion: Hold, UpFor: 100 * time.Millisecond},
		{Weight: 100, Health: Up, Opinion: Hold, Prev: 0.5, UpFor: -1},
	}
	last := 0.0
	for range 4 {
		for i, s := range Shape(rules, 1, in, Steady) {
			in[i].Prev = s.Share
		}
		if in[1].Prev <= last {
			t.Fatalf("share %.4f after %.4f, up for %s of %s", in[1].Prev, last, in[1].UpFor, rules.SlowStart)
		}
		last = in[1].Prev
		in[1].UpFor += 500 * time.Millisecond
	}
}
