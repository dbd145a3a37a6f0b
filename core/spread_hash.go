// SPDX-License-Identifier: Apache-2.0

package core

import (
	"cmp"
	"math/bits"
	"slices"
)

// HashSize is the number of positions, a prime, of the hash table of a service
// with so many configured backends. Where it changes, at 9, 17 and 25 backends,
// every client is dealt anew.
func HashSize(backends int) int {
	switch {
	case backends <= 8:
		return 4093
	case backends <= 16:
		return 16381
	case backends <= 24:
		return 32749
	}
	return 65537
}

// HashTable lays out the backends, by index, in a table that a hash of the client
// is looked up in. It depends on the ids and their slots alone, not on their order
// nor on any table before, so that all nodes agree. It is nil if no backend has
// slots; one without slots is as if it were not there.
//
// Every backend claims positions at random, as its id says, at a pace in
// proportion to its slots, and the first claim of a position wins. So a backend
// that goes leaves its positions to whoever claimed them next, and no other moves.
// What chance gave too much or too little is put right by the paces, to within one
// position or 2 % of the quota, and a sixteenth of the number of backends in
// percent where those are over 32, 10 % at most. RATIONALE.md, "Why does the hash
// table let backends claim at a pace?", has the figures.
func HashTable(ids []uint64, slots []uint32, size int) []uint16 {
	order := live(slots)
	if len(order) == 0 {
		return nil
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(ids[a], ids[b]) })
	h := hasher{order: order, quota: positions(slots, order, size), owner: make([]uint16, size), count: make([]int, len(slots))}
	h.start(slots)
	h.claim(ids)
	for range hashRounds {
		h.award()
		if !h.adjust() {
			return h.owner
		}
	}
	h.award()
	h.settle()
	return h.owner
}

const (
	// hashRounds is how often the paces are put right; three or four times do,
	// where no backend has but a few positions.
	hashRounds = 24
	// hashReach is how much later than a position's first claim another may be
	// and yet be kept for the rounds.
	hashReach = 3
	// hashUnit is half the time between two claims of a backend with one slot.
	hashUnit = 1 << 44
	hashLaps = 64 // e^-64 of the positions have no claim by then
)

// A hasher is one run of HashTable. Its arithmetic is of integers, so that every
// architecture computes the same.
type hasher struct {
	order  []int // the backends with slots, by id
	quota  []int
	pace   []uint64 // time between two claims of a backend, halved
	base   []uint64 // pace before it was put right
	lap    uint64   // time in which all together make as many claims as there are positions
	claims []hashClaim
	first  []uint64 // time of the first claim of a position
	owner  []uint16
	count  []int // positions owned
}

// A hashClaim is one that may win its position.
type hashClaim struct {
	position uint32
	turn     uint32 // its number among the claims of the backend
	backend  uint16
}

func (h *hasher) start(slots []uint32) {
	h.base, h.first = make([]uint64, len(slots)), make([]uint64, len(h.owner))
	var sum uint64
	for _, i := range h.order {
		h.base[i] = hashUnit / uint64(slots[i])
		sum += uint64(slots[i])
	}
	h.lap = 2 * hashUnit / sum * uint64(len(h.owner))
	h.pace = slices.Clone(h.base)
	h.unclaim()
	h.claims = make([]hashClaim, 0, 5*len(h.owner))
}

// unclaim forgets who was first.
func (h *hasher) unclaim() {
	for p := range h.first {
		h.first[p] = ^uint64(0)
	}
}

// claim collects claims until every position has one. It goes by laps, so that
// late claims of what was taken long ago are seen to be late and are not kept.
func (h *hasher) claim(ids []uint64) {
	size := uint64(len(h.owner))
	open := len(h.owner)
	turns := make([]uint64, len(ids))
	for lap := uint64(1); lap <= hashLaps && open > 0; lap++ {
		end := lap * h.lap
		for _, i := range h.order {
			seed, turn := mix(ids[i]), turns[i]
			for ; (2*turn+1)*h.base[i] < end; turn++ {
				p, _ := bits.Mul64(mix(seed+turn*0x9e3779b97f4a7c15), size)
				at := (2*turn + 1) * h.base[i]
				if first := h.first[p]; first == ^uint64(0) {
					open--
				} else if at > hashReach*first {
					continue
				}
				h.first[p] = min(h.first[p], at)
				h.claims = append(h.claims, hashClaim{uint32(p), uint32(turn), uint16(i)})
			}
			turns[i] = turn
		}
	}
}

// mix is the output function of splitmix64: every bit of x stirs every bit.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// award gives each position to the first claim by the present paces, and one that
// nobody claimed, which happens with ids made to that end only, to the first backend.
func (h *hasher) award() {
	h.unclaim()
	for p := range h.owner {
		h.owner[p] = uint16(h.order[0])
	}
	for _, c := range h.claims {
		if at := uint64(2*c.turn+1) * h.pace[c.backend]; at < h.first[c.position] {
			h.first[c.position], h.owner[c.position] = at, c.backend
		}
	}
	clear(h.count)
	for _, i := range h.owner {
		h.count[i]++
	}
}

// bounds are the numbers of positions that a backend may have.
func (h *hasher) bounds(i int) (lo, hi int) {
	slack := max(1, h.quota[i]*min(160, max(32, len(h.order)))/1600)
	return max(1, h.quota[i]-slack), h.quota[i] + slack
}

// adjust changes the pace of those that have too much or too little, just enough
// to bring them to their bound, and reports whether there were any: to aim at the
// quota itself would move more positions at every change.
func (h *hasher) adjust() bool {
	off := false
	for _, i := range h.order {
		lo, hi := h.bounds(i)
		want := min(hi, max(lo, h.count[i]))
		if want == h.count[i] {
			continue
		}
		off = true
		pace := h.pace[i] * uint64(2*h.count[i]+1) / uint64(2*want+1)
		h.pace[i] = min(hashReach*h.base[i], max(h.base[i]/hashReach, pace))
	}
	return off
}

// settle brings within bounds whom the paces could not: it takes positions from
// those above their quota, or hands them to those below.
func (h *hasher) settle() {
	for _, i := range h.order {
		lo, hi := h.bounds(i)
		if h.count[i] >= lo && h.count[i] <= hi {
			continue
		}
		for p := range h.owner {
			j := int(h.owner[p])
			switch {
			case h.count[i] < lo && h.count[j] > h.quota[j]:
				h.hand(p, i)
			case h.count[i] > hi && j == i:
				h.hand(p, h.needy())
			}
		}
	}
}

func (h *hasher) hand(p, to int) {
	h.count[h.owner[p]]--
	h.count[to]++
	h.owner[p] = uint16(to)
}

// needy is the first backend that is below its quota: there is one while another
// is above.
func (h *hasher) needy() int {
	for _, i := range h.order {
		if h.count[i] < h.quota[i] {
			return i
		}
	}
	return h.order[0]
}
