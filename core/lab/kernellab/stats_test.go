// SPDX-License-Identifier: Apache-2.0

package kernellab

import (
	"math"
	"testing"
)

func TestMedianAndSpread(t *testing.T) {
	tests := []struct {
		name           string
		values         []float64
		median, spread float64
	}{
		{"none", nil, 0, 0},
		{"one", []float64{7}, 7, 0},
		{"odd, unsorted", []float64{110, 90, 100}, 100, 0.2},
		{"even", []float64{1, 4, 2, 3}, 2.5, 1.2},
		{"an outlier moves only the spread", []float64{10, 10, 10, 10, 20}, 10, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Median(tt.values); got != tt.median {
				t.Errorf("median %v, want %v", got, tt.median)
			}
			if got := Spread(tt.values); math.Abs(got-tt.spread) > 1e-9 {
				t.Errorf("spread %v, want %v", got, tt.spread)
			}
		})
	}
}
