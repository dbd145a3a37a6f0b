// SPDX-License-Identifier: Apache-2.0

package core

import "testing"

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

func TestCombine(t *testing.T) {
	tests := []struct {
		in   []HealthState
		want HealthState
	}{
		{nil, Up},
		{[]HealthState{Up, Up}, Up},
		{[]HealthState{Up, Unknown}, Unknown},
		{[]HealthState{Unknown, Down, Up}, Down},
	}
	for _, tt := range tests {
		if got := Combine(tt.in); got != tt.want {
			t.Errorf("Combine(%v): got %s, want %s", tt.in, got, tt.want)
		}
	}
}
