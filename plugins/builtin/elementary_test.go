// SPDX-License-Identifier: Apache-2.0

package builtin

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestElementary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := rapid.Float64Range(1e-300, 1e300).Draw(t, "x")
		if got, want := ln(x), math.Log(x); math.Abs(got-want) > 1e-10+1e-13*math.Abs(want) {
			t.Errorf("ln %g = %g, want %g", x, got, want)
		}
		y := rapid.Float64Range(-16, 16).Draw(t, "y")
		if got, want := exp(y), math.Exp(y); math.Abs(got/want-1) > 1e-8 {
			t.Errorf("exp %g = %g, want %g", y, got, want)
		}
	})
}
