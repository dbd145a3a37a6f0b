// SPDX-License-Identifier: Apache-2.0

package core

import (
	"cmp"
	"slices"
)

// Quantize turns shares into slots that add up to Slots exactly, by largest
// remainder; each share above 0 gets at least one slot. All-zero shares give
// all-zero slots. Step 6 of 7.
func Quantize(shares []float64) []uint32 {
	slots := make([]uint32, len(shares))
	var sum float64
	for _, s := range shares {
		sum += s
	}
	if sum <= 0 {
		return slots
	}
	type part struct {
		i    int
		rest float64
	}
	var parts []part
	var given int
	for i, s := range shares {
		if s <= 0 {
			continue
		}
		exact := s / sum * Slots
		slots[i] = max(1, uint32(exact))
		given += int(slots[i])
		parts = append(parts, part{i, exact - float64(slots[i])})
	}
	// Ties go to the earlier backend, so that equal input gives equal output.
	slices.SortStableFunc(parts, func(a, b part) int { return cmp.Compare(b.rest, a.rest) })
	for k := 0; given < Slots; k = (k + 1) % len(parts) {
		slots[parts[k].i]++
		given++
	}
	for k := len(parts) - 1; given > Slots; k = (k - 1 + len(parts)) % len(parts) {
		if slots[parts[k].i] > 1 {
			slots[parts[k].i]--
			given--
		}
	}
	return slots
}
