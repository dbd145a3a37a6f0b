// SPDX-License-Identifier: Apache-2.0

package core

// The size of a ring: large enough for the weights to count, small enough that
// all of it can be written in a millisecond.
const (
	// ringLeast is divisible by 1 to 7, so that small weights such as 5:1:1 are exact.
	ringLeast = 420
	ringEach  = 16 // positions per backend, from 27 backends on
	ringMost  = 16384
)

// RingSize is the number of positions of the ring of a service with so many
// backends: a multiple of that number, so that equal weights take turns strictly
// while all of them live. It is at most 16384, or one position per backend.
func RingSize(backends int) int {
	n := max(1, backends)
	turns := (max(ringLeast, ringEach*n) + n - 1) / n
	return n * max(1, min(turns, ringMost/n))
}

// Ring lays out the backends, by index, as round robin gives them out: each as
// often as its slots say, to the nearest position, at least once if it has slots,
// and as evenly spread as the others allow: at any time a backend has had what its
// weight asks for within two connections. It is nil if no backend has slots.
//
// This is the smooth weighted round robin of nginx: in each turn every backend
// earns its weight, and the richest is picked and pays for the turn.
func Ring(slots []uint32, size int) []uint16 {
	order := live(slots)
	if len(order) == 0 {
		return nil
	}
	type purse struct {
		backend    uint16
		earns, has int
	}
	quota := positions(slots, order, size)
	purses := make([]purse, len(order))
	for k, i := range order {
		purses[k] = purse{backend: uint16(i), earns: quota[i]}
	}
	ring := make([]uint16, size)
	for p := range ring {
		richest := 0
		for k := range purses {
			purses[k].has += purses[k].earns
			if purses[k].has > purses[richest].has {
				richest = k
			}
		}
		purses[richest].has -= size
		ring[p] = purses[richest].backend
	}
	return ring
}
