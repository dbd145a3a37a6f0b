// SPDX-License-Identifier: Apache-2.0

package core

import (
	"math"
	"time"
)

// opinions starts from the policy's ratios; a backend without an opinion keeps
// its share, and after Hold decays to the configured one.
func (s *shaper) opinions() {
	kept := s.kept()
	var opined, held float64
	for _, i := range s.eligible {
		if b := s.in[i]; b.Opinion == Hold {
			s.share[i] = s.decayed(i, kept[i])
			held += s.share[i]
		} else {
			opined += b.Opinion
		}
	}
	rest := max(0, 1-held)
	for _, i := range s.eligible {
		if b := s.in[i]; b.Opinion != Hold && opined > 0 {
			s.share[i] = rest * b.Opinion / opined
		}
	}
	if !normalise(s.share) {
		copy(s.share, kept)
	}
	for _, i := range s.eligible {
		name, text := "policy", ""
		if s.in[i].Opinion == Hold {
			name, text = "freshness", s.heldText(i)
		}
		s.note(i, name, s.configured(i), text)
	}
}

// kept is the share of each eligible backend if nobody has an opinion: those
// that had one keep their ratios, newcomers get their configured share.
func (s *shaper) kept() []float64 {
	kept := make([]float64, len(s.in))
	var newcomers, prev float64
	for _, i := range s.eligible {
		if s.newcomer(i) {
			kept[i] = s.configured(i)
			newcomers += kept[i]
		} else {
			prev += s.in[i].Prev
		}
	}
	for _, i := range s.eligible {
		if !s.newcomer(i) {
			kept[i] = s.in[i].Prev / prev * (1 - newcomers)
		}
	}
	normalise(kept)
	return kept
}

// newcomer reports whether a backend has no share worth keeping: none at all, or
// one that slow start has cut, and would cut again at every decision.
func (s *shaper) newcomer(i int) bool {
	b := s.in[i]
	return b.Prev == 0 || s.rules.SlowStart > 0 && b.UpFor >= 0 && b.UpFor < s.rules.SlowStart
}

// decayed is the share of a backend that the policy has no opinion of.
func (s *shaper) decayed(i int, kept float64) float64 {
	b := s.in[i]
	if b.Prev == 0 || b.HeldFor <= s.rules.Hold || s.rules.Hold == 0 {
		return kept
	}
	conf := s.configured(i)
	if b.Held > 0 && !s.newcomer(i) {
		kept = b.Held // what it has decayed to since is no share to decay from
	}
	return conf + (kept-conf)*math.Exp(-(b.HeldFor-s.rules.Hold).Seconds()/s.rules.Hold.Seconds())
}

// HeldFrom is the share that a backend decays from after a decision that gave it
// share: the one that it had while its policy's last opinion counted. held is what it
// was before that decision.
func HeldFrom(held, share float64, heldFor time.Duration, rules Shaping) float64 {
	if heldFor > rules.Hold && held > 0 && share > 0 {
		return held
	}
	return share
}

func (s *shaper) heldText(i int) string {
	b := s.in[i]
	switch {
	case b.Prev == 0:
		return "the policy has no opinion yet: configured weight"
	case b.HeldFor <= s.rules.Hold || s.rules.Hold == 0:
		return "the policy has no opinion: share held"
	}
	return "the policy has had no opinion for " + b.HeldFor.Round(time.Second).String() + ": decaying to the configured weight"
}
