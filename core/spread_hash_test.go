// SPDX-License-Identifier: Apache-2.0

package core

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// change is the total variation between two vectors of slots, as positions.
func change(a, b []uint32, size int) float64 {
	var sum float64
	for i := range a {
		sum += math.Abs(float64(a[i]) - float64(b[i]))
	}
	return sum / 2 / Slots * float64(size)
}

// slack is how far a backend may be from its quota.
func slack(quota, backends int) float64 {
	return max(1, float64(quota)*min(0.1, max(0.02, float64(backends)/1600)))
}

// Each has its quota within one position, or 2 % with up to 32 backends; without
// slots it has none.
func TestHashTableHonoursTheShares(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		slots := drawSlots(t, 80)
		ids := names(rapid.StringMatching("[a-z]{1,6}").Draw(t, "service"), len(slots))
		size := HashSize(len(slots))
		table := HashTable(ids, slots, size)
		order := live(slots)
		if len(order) == 0 {
			if table != nil {
				t.Fatalf("a table of %d for nobody", len(table))
			}
			return
		}
		slices.SortFunc(order, func(a, b int) int { return cmp.Compare(ids[a], ids[b]) }) // who is given the odd one
		quota := positions(slots, order, size)
		for i, got := range tally(table, len(slots)) {
			if off := math.Abs(float64(got - quota[i])); off > slack(quota[i], len(order)) || got == 0 && slots[i] > 0 || got > 0 && slots[i] == 0 {
				t.Fatalf("backend %d of %d slots: %d positions, want %d", i, slots[i], got, quota[i])
			}
		}
	})
}

// Two nodes that list the backends in another order, or leave out the dead, agree
// on every client.
func TestHashTableIsTheSameOnEveryNode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		slots := drawSlots(t, 30)
		ids := names("web", len(slots))
		size := HashSize(len(slots))
		a := HashTable(ids, slots, size)
		perm := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1)).Perm(len(ids))
		var ids2 []uint64
		var slots2 []uint32
		for _, i := range perm {
			if slots[i] > 0 {
				ids2, slots2 = append(ids2, ids[i]), append(slots2, slots[i])
			}
		}
		for p, b := range HashTable(ids2, slots2, size) {
			if ids[a[p]] != ids2[b] {
				t.Fatalf("position %d is of backend %d here and of %d there", p, a[p], b)
			}
		}
	})
}

// The arithmetic is of integers, and so this is the table of every architecture
// and every release: a change of it moves clients at an upgrade, and lets nodes
// disagree that run different releases.
func TestHashTableIsFrozen(t *testing.T) {
	table := HashTable(names("web", 5), Quantize([]float64{1, 2, 3, 4, 0}), HashSize(5))
	var sum uint64
	for _, b := range table {
		sum = mix(sum + uint64(b) + 1)
	}
	const want = 0x993b7077f3d4f620
	if sum != want {
		t.Errorf("got a table with sum %#x, want %#x; it begins with %v", sum, uint64(want), table[:20])
	}
}

// When one of n backends goes and the others share what it had, at most 1.1/n of
// the positions move; with unequal weights 1.1 times the larger of its share and 1/n.
func TestHashTableMovesLittleWhenABackendGoes(t *testing.T) {
	for _, n := range []int{2, 3, 4, 5, 7, 8, 9, 12, 16, 17, 24, 25, 32, 48, 64} {
		rng := rand.New(rand.NewPCG(uint64(n), 1))
		size, worst := HashSize(n), 0.0
		for round := range 6 {
			ids, weights := names(fmt.Sprint("service", round), n), slices.Repeat([]float64{1}, n)
			if round%2 == 1 {
				weights = unequal(n, rng)
			}
			gone := rng.IntN(n)
			slots := Quantize(weights)
			weights[gone] = 0
			after := Quantize(weights)
			most := 1.1 * max(change(slots, after, size), float64(size)/float64(n))
			got := moved(HashTable(ids, slots, size), HashTable(ids, after, size))
			worst = max(worst, 1.1*float64(got)/most)
			if float64(got) > most {
				t.Errorf("%d backends, %v of them gone: %d of %d positions moved, want at most %.0f", n, gone, got, size, most)
			}
		}
		t.Logf("%2d backends, %5d positions: at most %.3f of the share moved", n, size, worst)
	}
}

// One backend's weight changes: what moves is the change and the noise of putting
// right, a quarter of the square root of the size. Many change at once: without
// memory nobody can do better than 2d/(1+d) in general.
func TestHashTableMovesNoMoreThanTheChange(t *testing.T) {
	for _, n := range []int{2, 4, 8, 16, 32, 64} {
		rng := rand.New(rand.NewPCG(uint64(n), 2))
		size := HashSize(n)
		noise := 0.35 * math.Sqrt(float64(size))
		for round := range 4 {
			ids, weights := names(fmt.Sprint("service", round), n), unequal(n, rng)
			slots := Quantize(weights)
			before := HashTable(ids, slots, size)
			one := slices.Clone(weights)
			one[rng.IntN(n)] *= []float64{0.5, 0.9, 1.1, 2}[round]
			after := Quantize(one)
			d := change(slots, after, size)
			if got := moved(before, HashTable(ids, after, size)); float64(got) > 1.1*d+noise {
				t.Errorf("%d backends, one weight: %d of %d positions moved, the change is %.1f", n, got, size, d)
			}
			for i := range weights {
				weights[i] *= 0.8 + 0.4*rng.Float64()
			}
			after = Quantize(weights)
			d = change(slots, after, size)
			d = 2 * d / (1 + d/float64(size))
			if got := moved(before, HashTable(ids, after, size)); float64(got) > 1.1*d+noise {
				t.Errorf("%d backends, all weights: %d of %d positions moved, the bound is %.1f", n, got, size, d)
			}
		}
	}
}

// Ids that are all the same, or more backends than positions, end in a table and
// not in a loop.
func TestHashTableOfOddInput(t *testing.T) {
	same := make([]uint64, 5)
	if got := tally(HashTable(same, Quantize([]float64{1, 1, 1, 1, 1}), 101), 5); slices.Min(got) == 0 {
		t.Errorf("equal ids: got %v", got)
	}
	if got := tally(HashTable(names("web", 2), []uint32{2, 1}, 101), 2); got[0] < 66 || got[0] > 68 {
		t.Errorf("slots that are few: got %v", got)
	}
	many := 300
	if got := len(HashTable(names("web", many), Quantize(slices.Repeat([]float64{1}, many)), 101)); got != 101 {
		t.Errorf("more backends than positions: a table of %d", got)
	}
	if got := len(Ring(Quantize(slices.Repeat([]float64{1}, many)), 101)); got != 101 {
		t.Errorf("more backends than positions: a ring of %d", got)
	}
}
