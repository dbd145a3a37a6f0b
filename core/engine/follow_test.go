// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/steelyard-lb/steelyard/core"
)

// A view is how a node sees the backends of a service, drawn at random.
type view struct {
	minUp    int
	panics   float64
	backends []seenBackend
}

type seenBackend struct {
	weight   uint32
	priority uint8
	health   core.HealthState
	drained  bool
	full     bool
	sorry    bool
}

func drawView(t *rapid.T, n int) view {
	v := view{minUp: rapid.IntRange(0, 3).Draw(t, "minup"), panics: rapid.SampledFrom([]float64{0, 0, 0.5, 1}).Draw(t, "panic")}
	one := func(of int, name string) bool { return rapid.IntRange(0, of).Draw(t, name) == 0 }
	for range n {
		v.backends = append(v.backends, seenBackend{
			weight:   rapid.SampledFrom([]uint32{0, 1, 1, 100, 7}).Draw(t, "weight"),
			priority: rapid.SampledFrom([]uint8{0, 0, 0, 1}).Draw(t, "priority"),
			health:   rapid.SampledFrom([]core.HealthState{core.Up, core.Up, core.Down, core.Unknown}).Draw(t, "health"),
			drained:  one(5, "drained"), full: one(5, "full"), sorry: one(9, "sorry"),
		})
	}
	return v
}

// drawVector is one of n backends, with slots that add up to 65536 or are all 0.
func drawVector(t *rapid.T, n int) core.Vector {
	parts := make([]float64, n)
	for i := range parts {
		parts[i] = rapid.SampledFrom([]float64{0, 0, 1, 3, 1e-9, 0.37}).Draw(t, "part")
	}
	v := vector(9, 1, core.Quantize(parts)...)
	for i := range v.Backends {
		v.Backends[i].Opinion = rapid.SampledFrom([]float64{core.Hold, 0, 1, 7, math.NaN(), math.Inf(1), -5}).Draw(t, "opinion")
		v.Backends[i].Health = core.HealthState(rapid.IntRange(0, 2).Draw(t, "health there"))
	}
	return v
}

// service is one that follows and sees v; whatever else it knows is drawn.
func (v view) service(t *rapid.T, l *lead) *service {
	s := &service{spec: web("web", "weighted", make([]uint32, len(v.backends))...), follows: true, lead: l}
	s.spec.MinUp, s.spec.Shaping.Panic, s.spec.Shaping.SlowStart, s.spec.Shaping.DeadBand = v.minUp, v.panics, time.Minute, 0.01
	for i, seen := range v.backends {
		spec := &s.spec.Backends[i]
		spec.Weight, spec.Priority, spec.Sorry = seen.weight, seen.priority, seen.sorry
		b := &backend{id: core.BackendID{Service: "web", Backend: spec.Name}, spec: spec, health: seen.health, full: seen.full}
		if seen.drained {
			b.override = &core.Override{Kind: core.OverrideDrain, Author: "alice"}
		}
		b.share, b.heldShare = rapid.Float64Range(0, 1).Draw(t, "share"), rapid.Float64Range(0, 1).Draw(t, "held")
		b.opinion = rapid.SampledFrom([]float64{core.Hold, 0, 2}).Draw(t, "own opinion")
		b.opinionFrom = time.Now().Add(-time.Duration(rapid.IntRange(0, 100).Draw(t, "age")) * time.Second)
		if rapid.Bool().Draw(t, "came up") {
			b.cameUp = time.Now()
		}
		s.backends = append(s.backends, b)
	}
	return s
}

// Two nodes that see the same have the same slots, whatever they had before. They are the
// leader's where nobody is out, nobody serves who must not, and clients are turned away
// only where nobody could serve them.
func TestFollowersAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seen, vec := drawView(t, 16), drawVector(t, 16)
		var l *lead
		if rapid.IntRange(0, 9).Draw(t, "no vector") > 0 {
			l = &lead{vec, time.Now()}
		}
		a, b := seen.service(t, l), seen.service(t, l)
		var d core.Decision
		shaped, slots := a.follow(&d, a.shapeInput(nil, time.Now()))
		_, again := b.follow(&core.Decision{}, b.shapeInput(nil, time.Now()))
		if !slices.Equal(slots, again) {
			t.Fatalf("two followers disagree: %v and %v", slots, again)
		}
		checkFollow(t, seen, l, shaped, slots)
	})
}

// checkFollow knows the rules without the code under test.
func checkFollow(t *rapid.T, seen view, l *lead, shaped []core.Shaped, slots []uint32) {
	up := func(i int) bool {
		h := seen.backends[i].health
		return h == core.Up || h == core.Unknown && l != nil && l.vector.Backends[i].Health == core.Up
	}
	somebody, able, well, asTheyAre := false, false, false, true
	var sum uint32
	for i, b := range seen.backends {
		serves := b.weight > 0 && !b.drained
		if b.sorry {
			somebody = somebody || serves && (b.health != core.Down)
		} else if serves && up(i) {
			somebody, well, able = true, true, able || !b.full
		}
		sum += slots[i]
		if slots[i] > 0 && !serves {
			t.Fatalf("backend %d has %d slots: %+v", i, slots[i], b)
		}
		if slots[i] > 0 && !b.sorry && !up(i) && seen.panics == 0 {
			t.Fatalf("backend %d is %s and has %d slots", i, b.health, slots[i])
		}
		if l != nil && l.vector.Backends[i].Slots > 0 {
			asTheyAre = asTheyAre && serves && up(i) && !b.full && !b.sorry
		}
		if math.Abs(shaped[i].Share-float64(slots[i])/core.Slots) > 1e-12 {
			t.Fatalf("share %v with %d slots", shaped[i].Share, slots[i])
		}
		if len(shaped[i].Steps) == 0 || shaped[i].Steps[0].Name != "leader" || shaped[i].Steps[0].Note == "" {
			t.Fatalf("backend %d gives no reason: %+v", i, shaped[i].Steps)
		}
	}
	for i, b := range seen.backends {
		if slots[i] > 0 && (b.sorry && well || b.full && able && seen.panics == 0) {
			t.Fatalf("backend %d has %d slots for want of others, and there are some: %+v", i, slots[i], seen)
		}
	}
	if want := map[bool]uint32{true: core.Slots}[somebody]; sum != want {
		t.Fatalf("%d slots in all, want %d: %+v", sum, want, seen)
	}
	if l == nil || !asTheyAre || seen.panics > 0 {
		return
	}
	for i, b := range l.vector.Backends {
		if total := l.vector.Backends; slots[i] != b.Slots && slices.ContainsFunc(total, func(b core.VectorBackend) bool { return b.Slots > 0 }) {
			t.Fatalf("slots %v are not the leader's: %+v", slots, total)
		}
	}
}

// The rest keeps its proportions when some are out, and slots come out exactly when none
// is.
func TestTheRestKeepsItsProportions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.Float64Range(0.001, 1), 16, 16).Draw(t, "parts")
		l := &lead{vector(9, 1, core.Quantize(parts)...), time.Now()}
		seen := view{backends: slices.Repeat([]seenBackend{{weight: 1, health: core.Up}}, 16)}
		left := uint32(0)
		for i := range seen.backends {
			if i > 0 && rapid.Bool().Draw(t, "dead") {
				seen.backends[i].health = core.Down
			} else {
				left += l.vector.Backends[i].Slots
			}
		}
		s := seen.service(t, l)
		_, slots := s.follow(&core.Decision{}, s.shapeInput(nil, time.Now()))
		for i, b := range seen.backends {
			exact := float64(l.vector.Backends[i].Slots) / float64(left) * core.Slots
			if b.health == core.Down {
				exact = 0
			}
			if math.Abs(float64(slots[i])-exact) > 1 {
				t.Fatalf("backend %d has %d slots, want %.1f", i, slots[i], exact)
			}
		}
	})
}

// A leader that panics gives slots to the dead, and so does a follower that panics.
func TestPanicOfBoth(t *testing.T) {
	seen := view{panics: 0.5, backends: slices.Repeat([]seenBackend{{weight: 1, health: core.Down}}, 4)}
	seen.backends[0].health = core.Up
	for _, tt := range []struct {
		name        string
		given, want []uint32
	}{
		{"both", []uint32{6, 20000, 20000, 25530}, []uint32{6, 20000, 20000, 25530}},
		{"only here", []uint32{6, 65530, 0, 0}, []uint32{16384, 16384, 16384, 16384}},
	} {
		rapid.Check(t, func(t *rapid.T) {
			s := seen.service(t, &lead{vector(9, 1, tt.given...), time.Now()})
			if _, slots := s.follow(&core.Decision{}, s.shapeInput(nil, time.Now())); !slices.Equal(slots, tt.want) {
				t.Fatalf("%s panics: %v, want %v", tt.name, slots, tt.want)
			}
		})
	}
	calm := view{panics: 0, backends: seen.backends}
	rapid.Check(t, func(t *rapid.T) {
		s := calm.service(t, &lead{vector(9, 1, 16384, 16384, 16384, 16384), time.Now()})
		if _, slots := s.follow(&core.Decision{}, s.shapeInput(nil, time.Now())); slots[0] != core.Slots {
			t.Fatalf("only the leader panics: %v", slots)
		}
	})
}

func BenchmarkFollow(b *testing.B) {
	seen := view{backends: slices.Repeat([]seenBackend{{weight: 1, health: core.Up}}, 16)}
	var s *service
	rapid.Check(b, func(t *rapid.T) {
		s = seen.service(t, &lead{vector(9, 1, slices.Repeat([]uint32{4096}, 16)...), time.Now()})
	})
	now := time.Now()
	in := s.shapeInput(nil, now)
	b.ReportAllocs()
	for b.Loop() {
		in = s.shapeInput(in[:0], now)
		s.follow(&core.Decision{}, in)
	}
}
