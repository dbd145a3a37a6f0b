// SPDX-License-Identifier: Apache-2.0

package ops

import (
	"math"
	"slices"
)

// A histogram counts observations up to each bound. Its owner locks it.
type histogram struct {
	bounds []float64 // upward
	counts []uint64  // one more than bounds: the last is above all of them
	sum    float64
}

func (h *histogram) observe(v float64) {
	if math.IsNaN(v) || v < 0 {
		return
	}
	if h.counts == nil {
		h.counts = make([]uint64, len(h.bounds)+1)
	}
	i, _ := slices.BinarySearch(h.bounds, v)
	h.counts[i]++
	h.sum += v
}

// clone is a copy that nobody writes to.
func (h *histogram) clone() histogram {
	out := *h
	out.counts = slices.Clone(h.counts)
	return out
}
