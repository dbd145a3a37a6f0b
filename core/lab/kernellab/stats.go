// SPDX-License-Identifier: Apache-2.0

package kernellab

import "slices"

// Median is the middle of the values, or the mean of the two middle ones; 0 if
// there are none.
func Median(values []float64) float64 {
	n := len(values)
	if n == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(values))
	return (s[(n-1)/2] + s[n/2]) / 2
}

// Spread is how far apart the smallest and the largest value are, as a ratio to
// the median; 0 if there are none.
func Spread(values []float64) float64 {
	m := Median(values)
	if m == 0 {
		return 0
	}
	return (slices.Max(values) - slices.Min(values)) / m
}
