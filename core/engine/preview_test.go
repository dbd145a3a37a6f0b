// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/steelyard-lb/steelyard/core"
)

// What is in force crosses a socket on its way to a preview.
func crossed(t *testing.T, f core.InForce) (out core.InForce) {
	t.Helper()
	data, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatalf("%v:\n%s", err, data)
	}
	if diff := cmp.Diff(f.Plan, out.Plan, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}, netip.Prefix{})); diff != "" {
		t.Fatalf("the plan changes in JSON (-before +after):\n%s", diff)
	}
	return out
}

// TestPreview compares what a new configuration would make of weights that 30
// samples or a command have brought about; slots are of b1, b2, …
func TestPreview(t *testing.T) {
	base := func(weights ...uint32) core.Service { return web("web", "weighted", weights...) }
	renamed := base(1, 3)
	renamed.Name = "shop"
	renamed.Backends[0].Name = "new1"
	grown, moved := base(1, 3, 4), base(1, 3)
	moved.Backends[0].Addr = base(1, 1, 1).Backends[2].Addr
	reserve := base(1, 3, 4)
	reserve.Backends[2].Priority = 1
	policy := base(1, 3)
	policy.Policy, policy.Every = "rr", time.Minute
	for _, tt := range []struct {
		name string
		to   core.Service
		want []uint32
	}{
		{"the same", base(1, 3), []uint32{16384, 49152}},
		{"another policy", policy, []uint32{16384, 49152}},
		{"other names", renamed, []uint32{16384, 49152}},
		{"another weight", base(3, 3), []uint32{32768, 32768}},
		{"one more", grown, []uint32{8192, 24576, 32768}},
		{"one more, in reserve", reserve, []uint32{16384, 49152, 0}},
		{"one less", base(1), []uint32{65536}},
		{"another address", moved, []uint32{16384, 49152}},
		{"a new service", func() core.Service {
			s := base(1, 1)
			s.Name, s.Frontends = "api", core.Simple(s.Backends[0].Addr, core.TCP).Frontends
			return s
		}(), []uint32{32768, 32768}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := &kernel{}
			engineTest(t, k, policies{"weighted": weighted}, setupOf(base(1, 3)), func(t *testing.T, e *Engine, l *log) {
				e.up("b1", "b2")
				want(t, k, "web", 16384, 49152)
				e.pin(t, core.PinRequest{Client: client("192.0.2.7/32"), Backend: "b1"})
				f, err := e.InForce(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				got := Preview(setupOf(tt.to), crossed(t, f)).Services[0]
				if diff := cmp.Diff(tt.want, slotsOf(got)); diff != "" {
					t.Errorf("slots (-want +got):\n%s", diff)
				}
				if pins := len(got.Pins); tt.name == "the same" && (pins != 1 || got.Pins[0].Backend != "b1") || tt.name == "other names" && got.Pins[0].Backend != "new1" {
					t.Errorf("pins %+v", got.Pins)
				}
			})
		})
	}
}

// A drained backend and a dead one get nothing because another weight changes.
func TestPreviewOfCommands(t *testing.T) {
	k := &kernel{}
	engineTest(t, k, policies{"weighted": weighted}, setupOf(web("web", "weighted", 1, 1, 1, 1)), func(t *testing.T, e *Engine, l *log) {
		e.up("b1", "b2", "b3")
		e.say("web", "b4", false)
		e.say("web", "b4", false)
		e.command(t, "web", "b1", drain)
		time.Sleep(3 * time.Second)
		f, err := e.InForce(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got := Preview(setupOf(web("web", "weighted", 1, 3, 1, 1)), crossed(t, f)).Services[0]
		if diff := cmp.Diff([]uint32{0, 49152, 16384, 0}, slotsOf(got)); diff != "" {
			t.Errorf("slots (-want +got):\n%s", diff)
		}
	})
}
