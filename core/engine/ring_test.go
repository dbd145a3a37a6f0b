// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/steelyard-lb/steelyard/core"
)

// TestRingKeepsTheLatest holds the ring against a plain list of all decisions.
func TestRingKeepsTheLatest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(1, 20).Draw(t, "size")
		r := newRing(size)
		var all []core.Decision
		for i := range rapid.IntRange(0, 60).Draw(t, "decisions") {
			d := core.Decision{
				Seq: uint64(i), Service: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "service"),
				Backends: make([]core.BackendDecision, rapid.SampledFrom([]int{0, 1, 16, maxRingBackends / 3, maxRingBackends, 2 * maxRingBackends}).Draw(t, "backends")),
			}
			r.add(d)
			all = append(all, d)
		}
		kept, backends := 0, 0
		for _, d := range slices.Backward(all) {
			if backends += len(d.Backends); kept == size || kept > 0 && backends > maxRingBackends {
				break
			}
			kept++
		}
		for _, service := range []string{"", "a", "b"} {
			for _, n := range []int{1, 5, 100} {
				var want []uint64
				for _, d := range slices.Backward(all[len(all)-kept:]) {
					if len(want) < n && (service == "" || d.Service == service) {
						want = append(want, d.Seq)
					}
				}
				var got []uint64
				for _, d := range r.last(service, n) {
					got = append(got, d.Seq)
				}
				if !slices.Equal(got, want) {
					t.Errorf("the last %d of %q: got %d, want %d", n, service, got, want)
				}
			}
		}
	})
}
