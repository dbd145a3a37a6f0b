// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"encoding/json"
	"testing"

	"github.com/steelyard-lb/steelyard/sdk/go/policy"
)

// TestManifestIsJSON: the manifest is written by hand, so a parser checks it,
// with texts that need escaping.
func TestManifestIsJSON(t *testing.T) {
	p := policy.Policy{Name: "a", About: "a \"quoted\" back\\slash,\na new line and µ", BackendSlots: 2, ServiceSlots: 1, Reads: []string{policy.ReadCPU, policy.ReadCores},
		Params: []policy.Param{{Name: "x", Default: 0.1, Min: -1e-9, Max: 1e300}, {Name: "y"}}}
	b := policy.Manifest([]*policy.Policy{&p, {Name: "b", Reads: []string{}}, {Name: "c"}})
	var got struct {
		Policies []struct {
			Name, About string
			Reads       []string
			Params      []struct{ Min, Max float64 }
		}
	}
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	if r := got.Policies; len(r) != 3 || len(r[0].Reads) != 2 || r[1].Reads == nil || len(r[1].Reads) != 0 || r[2].Reads != nil {
		t.Errorf("reads: got %+v, want two, none and all", r)
	}
	if len(got.Policies) != 3 || got.Policies[0].About != "a \"quoted\" back\\slash, a new line and µ" ||
		got.Policies[0].Params[0].Min != -1e-9 || got.Policies[0].Params[0].Max != 1e300 {
		t.Errorf("got %+v", got)
	}
}

// TestRunRefusesDamage: a snapshot that is cut off or of another version is an
// error, not a read outside it.
func TestRunRefusesDamage(t *testing.T) {
	p := policy.Policy{Name: "a", Schedule: func(*policy.Snapshot) error { return nil }}
	for _, n := range []int{0, 8, 127, 128, 4096} {
		if err := p.Run(make([]byte, n)); err == nil {
			t.Errorf("%d zero bytes were taken for a snapshot", n)
		}
	}
}
