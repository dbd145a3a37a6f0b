// SPDX-License-Identifier: Apache-2.0

package builtin

import "math"

// ln is the natural logarithm of a positive, finite, normal number, to 1e-10.
// math.Log has assembly on some processors, whose last bit differs from WASM's.
//
// x = m·2^k with m in [√½, √2), and ln m = 2·atanh(t) with t = (m-1)/(m+1) as a
// series: |t| < 0.172, so the first term left out is below 2e-11.
func ln(x float64) float64 {
	const mantissa, one, bias = 1<<52 - 1, 0x3FF << 52, 0x3FF
	bits := math.Float64bits(x)
	k := int(bits>>52) - bias
	m := math.Float64frombits(bits&mantissa | one)
	if m > math.Sqrt2 {
		m, k = m*0.5, k+1
	}
	t := (m - 1) / (m + 1)
	t2 := float64(t * t)
	s := float64(t2*(1.0/11)) + 1.0/9
	s = float64(s*t2) + 1.0/7
	s = float64(s*t2) + 1.0/5
	s = float64(s*t2) + 1.0/3
	s = float64(s*t2) + 1
	return float64(2*t*s) + float64(float64(k)*math.Ln2)
}

// exp is e to the power of x, to 1e-9, for |x| up to 16. It halves x until the
// series is short, then squares as often.
func exp(x float64) float64 {
	x = clamp(x, 16)
	halvings := 0
	for x > 0.25 || x < -0.25 {
		x *= 0.5
		halvings++
	}
	s := 1 + float64(x*(1.0/8))
	s = 1 + float64(float64(x*s)*(1.0/7))
	s = 1 + float64(float64(x*s)*(1.0/6))
	s = 1 + float64(float64(x*s)*(1.0/5))
	s = 1 + float64(float64(x*s)*(1.0/4))
	s = 1 + float64(float64(x*s)*(1.0/3))
	s = 1 + float64(float64(x*s)*(1.0/2))
	s = 1 + float64(x*s)
	for range halvings {
		s = float64(s * s)
	}
	return s
}

// clamp keeps x within ±limit. It, atLeast and atMost are plain comparisons, because
// min and max of floats are calls in WASM.
func clamp(x, limit float64) float64 {
	if x > limit {
		return limit
	}
	if x < -limit {
		return -limit
	}
	return x
}

func atLeast(x, least float64) float64 {
	if x < least {
		return least
	}
	return x
}

func atMost(x, most float64) float64 {
	if x > most {
		return most
	}
	return x
}
