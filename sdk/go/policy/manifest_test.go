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
		Metrics: []string{"queue_depth"}, StateVersion: 7,
		Params: []policy.Param{{Name: "x", Default: 0.1, Min: -1e-9, Max: 1e300, Unit: "jobs"}, {Name: "y", Type: policy.TypeBoolean}}}
	b := policy.Manifest([]*policy.Policy{&p, {Name: "b", Reads: []string{}}, {Name: "c"}})
	var got struct {
		Policies []struct {
			Name, About    string
			Reads, Metrics []string
			StateVersion   int `json:"state_version"`
			Params         []struct {
				Min, Max   *float64
				Unit, Type string
			}
		}
	}
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	if r := got.Policies; len(r) != 3 || len(r[0].Reads) != 2 || r[1].Reads == nil || len(r[1].Reads) != 0 || r[2].Reads != nil {
		t.Errorf("reads: got %+v, want two, none and all", r)
	}
	if first := got.Policies[0]; first.About != "a \"quoted\" back\\slash, a new line and µ" || first.StateVersion != 7 ||
		len(first.Metrics) != 1 || *first.Params[0].Min != -1e-9 || *first.Params[0].Max != 1e300 || first.Params[0].Unit != "jobs" ||
		first.Params[1].Min != nil || first.Params[1].Type != policy.TypeBoolean {
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
