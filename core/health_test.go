// SPDX-License-Identifier: Apache-2.0

package core

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Each case is two lines of equal length: samples in (. good, x bad) and the
// state after each (U up, d down). Read them as a picture.
func TestHealth(t *testing.T) {
	tests := []struct {
		name       string
		start      HealthState
		rise, fall int
		in, want   string
	}{
		{"the first good sample makes it up", Unknown, 2, 3,
			"..",
			"UU"},
		{"the first bad sample makes it down", Unknown, 2, 3,
			"x.",
			"dd"},
		{"one loss is forgiven", Up, 1, 2,
			"x.x.",
			"UUUU"},
		{"three losses sink it", Up, 1, 3,
			"xxx.",
			"UUdU"},
		{"it must rise twice", Down, 2, 1,
			".x...",
			"dddUU"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := Health{Rise: tt.rise, Fall: tt.fall, State: tt.start}
			var got []byte
			for _, c := range tt.in {
				before := h.State
				if changed := h.Add(c == '.'); changed != (before != h.State) {
					t.Errorf("Add reported %t, state went %s to %s", changed, before, h.State)
				}
				got = append(got, "?Ud"[h.State])
			}
			if string(got) != tt.want {
				t.Errorf("samples %s: got %s, want %s", tt.in, got, tt.want)
			}
		})
	}
}

// Each probe is a letter: U up, d down, ? unknown; the critical ones are named in
// words a, b, c by their place.
func TestCombine(t *testing.T) {
	tests := []struct {
		need     int
		critical string
		in       string
		want     HealthState
	}{
		{0, "", "", Up},
		{1, "", "", Up},
		{0, "", "UU", Up},
		{0, "", "U?", Unknown},
		{0, "", "?dU", Down},
		{1, "", "dU", Up},
		{1, "", "?U", Up},
		{1, "", "?d", Unknown},
		{1, "", "dd", Down},
		{2, "", "UdU", Up},
		{2, "", "Ud?", Unknown},
		{2, "", "ddU", Down},
		{9, "", "UUd", Down}, // more than there are: all
		{1, "a", "dU", Down},
		{1, "a", "?U", Unknown},
		{1, "a", "Ud", Up},
		{1, "ab", "U?U", Unknown},
		{1, "c", "Ud", Up}, // not a probe of the backend
	}
	for _, tt := range tests {
		r, probes := HealthRule{Need: tt.need}, letters(tt.in)
		for _, c := range tt.critical {
			r.Critical = append(r.Critical, string(c))
		}
		if got := r.Combine(probes); got != tt.want {
			t.Errorf("need %d, critical %q, probes %q: got %s, want %s", tt.need, tt.critical, tt.in, got, tt.want)
		}
	}
}

func letters(in string) (probes []ProbeHealth) {
	for i, c := range in {
		state := map[rune]HealthState{'U': Up, 'd': Down, '?': Unknown}[c]
		probes = append(probes, ProbeHealth{Name: string(rune('a' + i)), State: state})
	}
	return probes
}

// What Combine says while some are unknown it never takes back when they turn out
// one way or the other, and a probe that comes up never makes things worse.
func TestCombineIsMonotone(t *testing.T) {
	rank := map[HealthState]int{Down: 0, Unknown: 1, Up: 2}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 5).Draw(t, "n")
		r := HealthRule{Need: rapid.IntRange(0, 6).Draw(t, "need")}
		var probes []ProbeHealth
		for i := range n {
			p := ProbeHealth{fmt.Sprint(i), HealthState(rapid.IntRange(0, 2).Draw(t, "state"))}
			if rapid.Bool().Draw(t, "critical") {
				r.Critical = append(r.Critical, p.Name)
			}
			probes = append(probes, p)
		}
		before := r.Combine(probes)
		i := rapid.IntRange(0, n-1).Draw(t, "which")
		better, worse := slices.Clone(probes), slices.Clone(probes)
		better[i].State, worse[i].State = Up, Down
		if rank[r.Combine(better)] < rank[before] || rank[r.Combine(worse)] > rank[before] {
			t.Fatalf("%+v of %v is %s; with %d up %s, with it down %s", r, probes, before, i, r.Combine(better), r.Combine(worse))
		}
		if probes[i].State == Unknown && before != Unknown && (r.Combine(better) != before || r.Combine(worse) != before) {
			t.Fatalf("%+v of %v is %s before %d has spoken, and then not", r, probes, before, i)
		}
	})
}

// Under suspicion nothing goes down, and what is bad still tips it at once afterwards.
func TestBear(t *testing.T) {
	h := Health{Rise: 2, Fall: 3, State: Up}
	for range 10 {
		if h.Bear(false) || h.State != Up {
			t.Fatalf("went %s", h.State)
		}
	}
	if !h.Add(false) || h.State != Down {
		t.Errorf("the first bad sample afterwards leaves it %s", h.State)
	}
	if h.Bear(false); h.Bear(true) || !h.Bear(true) || h.State != Up {
		t.Errorf("two good samples leave it %s", h.State)
	}
	u := Health{Rise: 1, Fall: 1}
	if u.Bear(false) || u.State != Unknown || !u.Bear(true) {
		t.Errorf("one that is unknown went %s", u.State)
	}
}
