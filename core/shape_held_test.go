// SPDX-License-Identifier: Apache-2.0

package core

import (
	"math"
	"testing"
	"time"
)

// However often it is decided, a share that nobody has an opinion of decays with the
// time constant that hold says, and a dead band does not stop it half way.
func TestDecayDoesNotDependOnTheNumberOfDecisions(t *testing.T) {
	rules := Shaping{Hold: time.Minute, DeadBand: 0.005}
	for _, every := range []time.Duration{time.Second, 7 * time.Second, 40 * time.Second} {
		in := []ShapeBackend{{Weight: 1, Health: Up, Opinion: Hold, Prev: 0.1, UpFor: -1}, {Weight: 1, Health: Up, Opinion: 1, Prev: 0.9, UpFor: -1}}
		for held := time.Duration(0); held < 10*time.Minute; held += every {
			in[0].HeldFor, in[0].Held = held, 0.1
			for i, s := range Shape(rules, 1, in, Steady) {
				in[i].Prev = s.Share
			}
			want := 0.1
			if held > rules.Hold {
				want = 0.5 - 0.4*math.Exp(-(held-rules.Hold).Seconds()/60)
			}
			if math.Abs(in[0].Prev-want) > rules.DeadBand+1e-6 {
				t.Fatalf("decided every %s: a share of %.4f after %s, want %.4f", every, in[0].Prev, held, want)
			}
		}
	}
}
