// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/steelyard-lb/steelyard/core"
)

// TestDelta goes from one vector of 20 backends, which is too many to write all
// of them anew, to another, and says how many intervals that touches. Slots are
// in steps of 3276; a vector not filled up to 20 goes on with ones, and the last
// backend has the rest.
func TestDelta(t *testing.T) {
	tests := []struct {
		name     string
		from, to []uint32
		want     int // intervals removed and added
	}{
		{"a boundary moves", []uint32{1, 1}, []uint32{0, 2}, 3},
		{"an interval is split", []uint32{2, 0}, []uint32{1, 1}, 3},
		{"two become one", []uint32{1, 1}, []uint32{2, 0}, 3},
		{"one takes another's place", []uint32{1, 0}, []uint32{0, 1}, 2},
		{"nothing", []uint32{1, 1}, []uint32{1, 1}, 0},
		{"most of them", []uint32{2, 0}, []uint32{0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2}, 38},
	}
	newNetns(t)
	a := open(t, Config{})
	p := manyServices(1, 20)
	vector := func(v []uint32) []core.ServicePlan {
		s := clonePlan(&p.Services[0])
		left := uint32(core.Slots)
		for i := range s.Backends {
			n := uint32(1)
			if i < len(v) {
				n = v[i]
			}
			if s.Backends[i].Slots = n * 3276; i == len(s.Backends)-1 {
				s.Backends[i].Slots = left
			}
			left -= s.Backends[i].Slots
		}
		return []core.ServicePlan{*s}
	}
	for _, tt := range tests {
		mustSync(t, a, core.Plan{Services: vector(tt.from)})
		c, err := a.Reweight(context.Background(), vector(tt.to))
		if err != nil || c.Changed != tt.want {
			t.Errorf("%s: %d intervals, %v: want %d", tt.name, c.Changed, err, tt.want)
		}
		if diff := cmp.Diff(core.Plan{Services: vector(tt.to)}, inKernel(t, a), comparePlans); diff != "" {
			t.Errorf("%s (-want +kernel):\n%s", tt.name, diff)
		}
	}
}
