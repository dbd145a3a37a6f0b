// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDrift changes the table behind the Applier's back. It must be noticed, told
// with who did it, and mended by a Sync that touches nothing else; a change of
// another table must not be taken for one of ours.
func TestDrift(t *testing.T) {
	tests := []struct {
		name, args string
		want       string // in what is told; empty: no drift
	}{
		{"nobody writes", "", ""},
		{"another table", "add table inet other", ""},
		{"ruleset flushed", "flush ruleset", "the table is gone"},
		{"chain flushed", "flush chain inet steelyard svc-s0001", "service s0001: chain svc-s0001"},
		{"rule added", "add rule inet steelyard svc-s0001 accept", "service s0001: chain svc-s0001"},
		{"weights flushed", "flush map inet steelyard w-s0001", "service s0001: weights in map w-s0001"},
		{"service unlisted", "flush map inet steelyard services4", "service s0001: elements of services4"},
		{"hook emptied", "flush chain inet steelyard prerouting", "what all services share"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			newNetns(t)
			a := open(t, Config{Unowned: true})
			p := manyServices(4, 4)
			mustSync(t, a, p)
			if tt.args != "" {
				nftOutput(t, strings.Fields(tt.args)...)
			}
			d, drifted, err := a.Drift(t.Context())
			if err != nil || drifted != (tt.want != "") {
				t.Fatalf("drift %+v, %t, %v", d, drifted, err)
			}
			if drifted && (!strings.Contains(strings.Join(d.What, "; "), tt.want) || d.Process != "nft" || d.PID == 0) {
				t.Errorf("told %+v: want %q, by nft", d, tt.want)
			}
			mustSync(t, a, p)
			if diff := cmp.Diff(Render(p), listTable(t)); diff != "" {
				t.Errorf("-want +kernel:\n%s", diff)
			}
			if d, drifted, err := a.Drift(t.Context()); drifted || err != nil {
				t.Errorf("after the repair: drift %+v, %v", d, err)
			}
		})
	}
}
