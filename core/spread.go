// SPDX-License-Identifier: Apache-2.0

package core

import (
	"cmp"
	"slices"
)

// positions turns slots into positions of a table of the given size, by largest
// remainder; each backend with slots gets at least one, if there is room for all.
// They add up to size, or to 0 if no backend has slots. Ties go to the backend
// that stands first in order, which lists the backends with slots.
func positions(slots []uint32, order []int, size int) []int {
	out := make([]int, len(slots))
	var sum uint64
	for _, i := range order {
		sum += uint64(slots[i])
	}
	if sum == 0 {
		return out
	}
	least := 1
	if len(order) > size {
		least = 0
	}
	type part struct {
		i    int
		rest int64 // of the exact quota, times sum; below 0 if it got more
	}
	parts := make([]part, len(order))
	given := 0
	for k, i := range order {
		exact := uint64(slots[i]) * uint64(size)
		out[i] = max(least, int(exact/sum))
		given += out[i]
		parts[k] = part{i, int64(exact) - int64(out[i])*int64(sum)}
	}
	slices.SortStableFunc(parts, func(a, b part) int { return cmp.Compare(b.rest, a.rest) })
	for k := 0; given < size; k = (k + 1) % len(parts) {
		out[parts[k].i]++
		given++
	}
	for k := len(parts) - 1; given > size; k = (k - 1 + len(parts)) % len(parts) {
		if out[parts[k].i] > least {
			out[parts[k].i]--
			given--
		}
	}
	return out
}

// live lists the backends that have slots.
func live(slots []uint32) []int {
	var out []int
	for i, s := range slots {
		if s > 0 {
			out = append(out, i)
		}
	}
	return out
}
