// SPDX-License-Identifier: Apache-2.0

package core

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// drawSlots are slots as Quantize makes them, of some weights from very equal to
// very unequal, with dead backends between.
func drawSlots(t *rapid.T, most int) []uint32 {
	shares := rapid.SliceOfN(rapid.SampledFrom([]float64{0, 1, 1, 1, 2, 5, 10, 97.3, 1000}), 1, most).Draw(t, "weights")
	return Quantize(shares)
}

// tally is how many positions each of n backends has.
func tally(table []uint16, n int) []int {
	out := make([]int, n)
	for _, b := range table {
		out[b]++
	}
	return out
}

func moved(a, b []uint16) int {
	n := 0
	for p := range a {
		if a[p] != b[p] {
			n++
		}
	}
	return n
}

func TestPositionsAreLargestRemainder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		slots := drawSlots(t, 60)
		size := rapid.IntRange(1, 5000).Draw(t, "size")
		order := live(slots)
		least := slices.Min(append(slices.DeleteFunc(slices.Clone(slots), func(s uint32) bool { return s == 0 }), Slots))
		var sum int
		for i, got := range positions(slots, order, size) {
			sum += got
			exact := float64(slots[i]) / Slots * float64(size)
			if slots[i] == 0 && got != 0 || slots[i] > 0 && got == 0 && len(order) <= size {
				t.Fatalf("backend %d of %d slots has %d positions", i, slots[i], got)
			}
			if off := math.Abs(float64(got) - exact); off >= 1 && int(least)*size >= Slots {
				t.Fatalf("backend %d: %d positions, exactly %.2f", i, got, exact)
			}
		}
		if want := min(size, size*len(order)); sum != want {
			t.Fatalf("%d positions in all, want %d", sum, want)
		}
	})
}

func TestRingAsAPicture(t *testing.T) {
	tests := []struct {
		weights []float64
		size    int
		want    string
	}{
		{[]float64{5, 1, 1}, 7, "aabacaa"},
		{[]float64{1, 1, 5}, 7, "ccacbcc"},
		{[]float64{1, 1, 1, 1}, 8, "abcdabcd"},
		{[]float64{2, 0, 1}, 6, "acaaca"},
		{[]float64{3, 3, 1}, 7, "abcabab"},
		{[]float64{0, 1}, 3, "bbb"},
		{[]float64{0, 0}, 3, ""},
	}
	for _, tt := range tests {
		var got []byte
		for _, b := range Ring(Quantize(tt.weights), tt.size) {
			got = append(got, 'a'+byte(b))
		}
		if string(got) != tt.want {
			t.Errorf("weights %v: got %s, want %s", tt.weights, got, tt.want)
		}
	}
}

// With 5:1:1 the light ones are never neighbours, not at the seam either, and the
// cycle is exact.
func TestRingOfFiveOneOne(t *testing.T) {
	ring := Ring(Quantize([]float64{5, 1, 1}), RingSize(3))
	if got := tally(ring, 3); !slices.Equal(got, []int{300, 60, 60}) {
		t.Errorf("got %v of %d positions, want 5:1:1", got, len(ring))
	}
	for p, b := range ring {
		if next := ring[(p+1)%len(ring)]; b != 0 && next != 0 {
			t.Fatalf("positions %d and %d are both of light backends", p, p+1)
		}
	}
}

// While all are alike they take turns strictly.
func TestRingOfEqualsIsARotation(t *testing.T) {
	for n := 1; n <= 64; n++ {
		equal := slices.Repeat([]float64{1}, n)
		for p, b := range Ring(Quantize(equal), RingSize(n)) {
			if int(b) != p%n {
				t.Fatalf("%d backends: position %d is of backend %d", n, p, b)
			}
		}
	}
}

// At any time each backend has had what it should within two, and has waited no
// longer than twice what is even.
func TestRingIsSmooth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		slots := drawSlots(t, 40)
		size := RingSize(len(slots))
		ring := Ring(slots, size)
		if len(live(slots)) == 0 {
			if ring != nil {
				t.Fatalf("a ring of %d for nobody", len(ring))
			}
			return
		}
		quota := positions(slots, live(slots), size)
		if got := tally(ring, len(slots)); !slices.Equal(got, quota) {
			t.Fatalf("got %v, want %v", got, quota)
		}
		had, last := make([]int, len(slots)), make([]int, len(slots))
		for p, b := range slices.Concat(ring, ring) {
			had[b]++
			if gap := p - last[b]; had[b] > 1 && float64(gap) > 2*math.Ceil(float64(size)/float64(quota[b])) {
				t.Fatalf("backend %d waits for %d connections, evenly it would be %.1f", b, gap, float64(size)/float64(quota[b]))
			}
			last[b] = p
			for i := range had {
				if off := float64(had[i]) - float64(quota[i])*float64(p+1)/float64(size); math.Abs(off) > 2 {
					t.Fatalf("after %d connections backend %d is off by %.2f", p+1, i, off)
				}
			}
		}
	})
}

func TestSizes(t *testing.T) {
	for n := range 70000 {
		ring := RingSize(n)
		if ring < n || ring < 2 || ring > max(ringMost, n) || n > 0 && ring%n != 0 {
			t.Fatalf("ring of %d backends: %d", n, ring)
		}
	}
	for _, n := range []int{0, 1, 8, 9, 16, 17, 24, 25, 1000} {
		size := HashSize(n)
		for d := 2; d*d <= size; d++ {
			if size%d == 0 {
				t.Errorf("hash table of %d backends: %d is no prime", n, size)
			}
		}
	}
}

// names are the ids of backends as the engine would have them.
func names(prefix string, n int) []uint64 {
	ids := make([]uint64, n)
	for i := range ids {
		ids[i] = BackendID{prefix, fmt.Sprintf("web%d", i+1)}.Hash()
	}
	return ids
}

// unequal are weights between 1 and 20.
func unequal(n int, rng *rand.Rand) []float64 {
	w := make([]float64, n)
	for i := range w {
		w[i] = math.Exp(3 * rng.Float64())
	}
	return w
}

func BenchmarkRing(b *testing.B) {
	for _, n := range []int{3, 16, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			slots := Quantize(unequal(n, rand.New(rand.NewPCG(1, 2))))
			for b.Loop() {
				Ring(slots, RingSize(n))
			}
		})
	}
}

func BenchmarkHashTable(b *testing.B) {
	for _, n := range []int{3, 16, 64, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			ids, slots := names("web", n), Quantize(unequal(n, rand.New(rand.NewPCG(1, 2))))
			for b.Loop() {
				HashTable(ids, slots, HashSize(n))
			}
		})
	}
}
