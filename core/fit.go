// SPDX-License-Identifier: Apache-2.0

package core

import "math"

// normalise scales the shares to a sum of 1 and reports whether it could.
func normalise(share []float64) bool {
	var sum float64
	for _, v := range share {
		sum += v
	}
	if sum <= 0 || math.IsInf(sum, 0) || math.IsNaN(sum) {
		return false
	}
	for i := range share {
		share[i] /= sum
	}
	return true
}

// fit returns min(hi, max(lo, f·want)) with the one factor f for which the
// result sums to 1. It exists because sum(lo) <= 1 <= sum(hi), and the sum grows
// with f; bisection finds it to the last bits of a float64. A share that is
// wanted at 0 counts as a trace, so that it too can take what the others may not.
func fit(want, lo, hi []float64) []float64 {
	const trace = 1e-9
	out := make([]float64, len(want))
	at := func(f float64) float64 {
		var sum float64
		for i := range want {
			out[i] = min(hi[i], max(lo[i], f*max(want[i], trace)))
			sum += out[i]
		}
		return sum
	}
	if math.Abs(at(1)-1) < 1e-12 {
		return out
	}
	a, b := 0.0, 2.0
	for range 64 {
		if at(b) >= 1 {
			break
		}
		b *= 2
	}
	for range 100 {
		m := (a + b) / 2
		if at(m) < 1 {
			a = m
		} else {
			b = m
		}
	}
	at(b)
	return out
}
