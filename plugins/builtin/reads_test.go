// SPDX-License-Identifier: Apache-2.0

package builtin_test

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"github.com/steelyard-lb/steelyard/plugins/abi"
	"github.com/steelyard-lb/steelyard/plugins/builtin"
	"github.com/steelyard-lb/steelyard/sdk/go/policy"
)

// TestReadsAreHonest: what a policy does not declare to read changes nothing of
// its answer and its state.
func TestReadsAreHonest(t *testing.T) {
	var all []*policy.Policy
	for _, p := range builtin.Policies() {
		all = append(all, &p)
	}
	m, err := abi.ParseManifest(policy.Manifest(all))
	if err != nil {
		t.Fatal(err)
	}
	follow := map[string]bool{"least-conn": true, "least-cpu": true}
	for i, n := range natives() {
		t.Run(n.p.Name, func(t *testing.T) {
			info := m.Policies[i]
			if got := info.ReadsAny(abi.ReadsConnections, abi.ReadsClosed); got != follow[n.p.Name] {
				t.Errorf("it has connections followed: %t", got)
			}
			rapid.Check(t, func(rt *rapid.T) {
				s := snapshots(rt)
				n.scatter(rt, s)
				f := n.frame()
				answer := func() []byte {
					buf, err := abi.Encode(nil, s, f)
					if err != nil {
						rt.Fatal(err)
					}
					if err := n.p.Run(buf); err != nil {
						return []byte(err.Error())
					}
					return buf[abi.AnswerOffset(buf):]
				}
				want := answer()
				if f.Hidden = info.Hidden(); !bytes.Equal(want, answer()) {
					rt.Fatal("another answer without the readings that it does not declare")
				}
			})
		})
	}
}
