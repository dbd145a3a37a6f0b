// SPDX-License-Identifier: Apache-2.0

package core

import (
	"fmt"
	"math"
	"time"
)

// A ShapeBackend is what shaping needs to know of one backend.
type ShapeBackend struct {
	Weight  uint32 // configured
	Health  HealthState
	Opinion float64       // the policy's weight, or Hold
	HeldFor time.Duration // since the policy last had an opinion of it
	// Held is the share it had then, from which it decays; 0 means Prev.
	Held float64
	Prev float64 // share applied by the decision before; 0 if none
	// UpFor is the time since the backend came up while we watched; negative if
	// it has been up since before we did, which needs no slow start.
	UpFor time.Duration

	Priority    uint8  // its group; the lowest serves first
	Drained     bool   // an operator took it out
	DrainedNote string // who and why; may be empty
	Sorry       bool   // serves when nobody else can
	// Full says that it has all the connections it may have, and leaves the
	// weights. Open and MaxConnections only tell people so.
	Full           bool
	Open           uint64
	MaxConnections uint32
}

// Shaped is the outcome for one backend: its share of new connections and the
// steps that led there.
type Shaped struct {
	Share float64
	Steps []Step
}

// Reserve reports whether the backend is well and idle because those of lower
// priority are enough.
func (s Shaped) Reserve() bool { return s.Share == 0 && noteOf(s.Steps, "priority") != "" }

// A Pace says how gently shares may move in one decision.
type Pace uint8

const (
	// Steady applies the step limit and the dead band.
	Steady Pace = iota
	// Moving applies the step limit only: the decision before was cut short by
	// it, and a move that has begun is finished.
	Moving
	// Free applies neither: the operator asked for new weights.
	Free
)

// Shape turns a policy's opinions into shares that add up to 1, or are all 0
// when no backend is left. Step 5 of 7.
//
// First it is settled who serves at all: nobody that is drained; the groups of
// lowest priority that have minUp backends between them; of those nobody that is
// full; and a sorry server if none is left. Then the rules run in the order of the
// fields of shaping, each on the result of the one before. All leave a Step where
// they changed something.
func Shape(rules Shaping, minUp int, backends []ShapeBackend, pace Pace) []Shaped {
	s := shaper{rules: rules, minUp: max(1, minUp), in: backends, pace: pace, out: make([]Shaped, len(backends)), share: make([]float64, len(backends))}
	s.run()
	for i := range s.out {
		s.out[i].Share = s.share[i]
	}
	return s.out
}

// A shaper is one run of Shape.
type shaper struct {
	rules    Shaping
	minUp    int
	pace     Pace
	in       []ShapeBackend
	out      []Shaped
	share    []float64 // sums to 1 over the eligible, 0 elsewhere
	eligible []int
	total    float64 // configured weight of the eligible
}

func (s *shaper) run() {
	if !s.whoServes() {
		return
	}
	s.opinions()
	s.slowStart()
	s.bounds()
	s.stepLimit()
	s.deadBand()
	s.standIns()
}

// note records a step that ended at the present share.
func (s *shaper) note(i int, name string, before float64, text string) {
	s.out[i].Steps = append(s.out[i].Steps, Step{Name: name, Before: before, After: s.share[i], Note: text})
}

// configured is a backend's share by configured weight among the eligible.
func (s *shaper) configured(i int) float64 {
	return float64(s.in[i].Weight) / s.total
}

// slowStart gives a backend that has just come up a growing part of its share.
func (s *shaper) slowStart() {
	if s.rules.SlowStart <= 0 || len(s.eligible) < 2 {
		return
	}
	before := append([]float64(nil), s.share...)
	var slow []int
	for _, i := range s.eligible {
		up := s.in[i].UpFor
		if up < 0 || up >= s.rules.SlowStart {
			continue
		}
		s.share[i] *= max(s.rules.SlowStartMin, float64(up)/float64(s.rules.SlowStart))
		slow = append(slow, i)
	}
	if len(slow) == 0 || !normalise(s.share) {
		copy(s.share, before)
		return
	}
	for _, i := range slow {
		s.note(i, "slow_start", before[i], fmt.Sprintf("up for %s of %s", s.in[i].UpFor.Round(100*time.Millisecond), s.rules.SlowStart))
	}
}

// bounds keeps each share between floor and ceiling. The floor never lifts a
// backend above its configured share: who configures 1:1000 means it.
func (s *shaper) bounds() {
	n := float64(len(s.eligible))
	lo, hi := make([]float64, len(s.eligible)), make([]float64, len(s.eligible))
	for k, i := range s.eligible {
		lo[k] = min(s.rules.Floor/n, s.configured(i))
		if up := s.in[i].UpFor; up >= 0 && up < s.rules.SlowStart {
			lo[k] = 0
		}
		hi[k] = 1
		if s.rules.Ceiling > 0 {
			hi[k] = max(s.rules.Ceiling, 1/n)
		}
	}
	s.fitStep("bounds", lo, hi, func(_ int, raised bool) string {
		if raised {
			return "lifted to the floor"
		}
		return "cut to the ceiling"
	})
}

// stepLimit keeps each share near what it was. What a backend that has gone
// leaves, and what a new one takes, is shared out first: that part of the change is
// no opinion and is not limited.
func (s *shaper) stepLimit() {
	if s.rules.Step <= 0 || s.pace == Free {
		return
	}
	var prev, fresh float64
	for _, i := range s.eligible {
		if s.in[i].Prev > 0 {
			prev += s.in[i].Prev
		} else {
			fresh += s.share[i]
		}
	}
	if prev == 0 {
		return
	}
	lo, hi := make([]float64, len(s.eligible)), make([]float64, len(s.eligible))
	for k, i := range s.eligible {
		if s.in[i].Prev == 0 {
			lo[k], hi[k] = s.share[i], s.share[i]
			continue
		}
		base := s.in[i].Prev / prev * (1 - fresh)
		lo[k], hi[k] = base*(1-s.rules.Step), base*(1+s.rules.Step)
	}
	s.fitStep("step", lo, hi, func(k int, raised bool) string {
		return fmt.Sprintf("at most %.0f %% in one decision", 100*s.rules.Step)
	})
}

// fitStep fits the eligible shares into lo and hi and notes who was moved.
func (s *shaper) fitStep(name string, lo, hi []float64, text func(k int, raised bool) string) {
	want := make([]float64, len(s.eligible))
	for k, i := range s.eligible {
		want[k] = s.share[i]
	}
	got := fit(want, lo, hi)
	for k, i := range s.eligible {
		before := s.share[i]
		s.share[i] = got[k]
		if math.Abs(got[k]-before) > 1e-6 {
			s.note(i, name, before, s.fitText(want[k], lo[k], hi[k], func(raised bool) string { return text(k, raised) }))
		}
	}
}

func (s *shaper) fitText(want, lo, hi float64, text func(raised bool) string) string {
	switch {
	case want < lo:
		return text(true)
	case want > hi:
		return text(false)
	}
	return "makes room for the others"
}

// deadBand keeps the shares in force when no change is worth a commit.
func (s *shaper) deadBand() {
	if s.rules.DeadBand <= 0 || s.pace != Steady {
		return
	}
	for i, b := range s.in {
		if (b.Prev > 0) != (s.share[i] > 0) || math.Abs(b.Prev-s.share[i]) > s.rules.DeadBand {
			return
		}
	}
	for _, i := range s.eligible {
		before := s.share[i]
		s.share[i] = s.in[i].Prev
		if before != s.share[i] {
			s.note(i, "dead_band", before, fmt.Sprintf("no share would move by more than %.1f %%", 100*s.rules.DeadBand))
		}
	}
}
