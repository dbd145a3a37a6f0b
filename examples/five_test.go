// SPDX-License-Identifier: Apache-2.0

package examples_test

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/plugins/plugintest"
)

// fiveWays are the policies that exist in every language.
var fiveWays = map[string]string{"capacity": "20-least-cpu-five-ways", "pi": "21-pi-controller"}

// TestFiveLanguages builds both policies in all languages, puts each through the
// conformance suite, and wants one answer of them.
func TestFiveLanguages(t *testing.T) {
	for policy, example := range fiveWays {
		t.Run(policy, func(t *testing.T) {
			var all []*keeper
			dir := t.TempDir()
			for _, language := range languages {
				t.Run(language, func(sub *testing.T) {
					file := built(sub, example, language, dir)
					all = append(all, load(t, language, file))
					plugintest.Run(sub, plugintest.NewHost(sub, core.PolicySpec{Name: policy, Path: file}), policy)
				})
			}
			sameManifests(t, all)
			agree(t, all)
		})
	}
}

// agree asks the guests about thousands of random snapshots, in sequences in which
// state grows. They must write the same bytes: every number of the state, and every
// weight as the integer that the host gets. They do the same IEEE 754 operations in
// the same order, and none of them fuses a product with a sum.
func agree(t *testing.T, all []*keeper) {
	t.Helper()
	sequences, length, weights := 200, 25, 0
	if testing.Short() {
		sequences = 20
	}
	for k := range sequences {
		rng := rand.New(rand.NewPCG(uint64(k), 20))
		restart(all, rng)
		s := randomService(rng)
		for range length {
			change(rng, s)
			want, _ := all[0].answer(t, s)
			weights += len(s.Backends)
			for _, other := range all[1:] {
				if got, _ := other.answer(t, s); !bytes.Equal(got, want) {
					t.Fatalf("sequence %d, snapshot %d, %d backends:\n%s %x\n%s %x",
						k, s.Seq, len(s.Backends), all[0].name, want, other.name, got)
				}
			}
		}
	}
	t.Logf("%d snapshots, %d weights: %d languages agree", sequences*length, weights, len(all))
}

func sameManifests(t *testing.T, all []*keeper) {
	t.Helper()
	for _, k := range all[1:] {
		if diff := cmp.Diff(all[0].info, k.info, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("manifests of %s and %s:\n%s", all[0].name, k.name, diff)
		}
	}
}

// restart forgets all state and gives the guests parameters of a new service.
func restart(all []*keeper, rng *rand.Rand) {
	params := map[string]float64{}
	for _, q := range all[0].info.Params {
		if rng.IntN(2) == 0 {
			params[q.Name] = q.Min + rng.Float64()*(q.Max-q.Min)
		}
	}
	for _, k := range all {
		k.state, k.service, k.params = map[uint64][]byte{}, nil, params
	}
}

func randomService(rng *rand.Rand) *core.Snapshot {
	s := &core.Snapshot{Service: "web", ID: rng.Uint64(), Now: time.Unix(1_700_000_000, 0)}
	for i := range rng.IntN(20) {
		s.Backends = append(s.Backends, core.BackendInput{ID: uint64(i + 1), Weight: uint32(rng.IntN(1001)), Health: core.Up, Share: rng.Float64()})
	}
	return s
}

// change lets a few seconds pass, in which anything may happen to each backend.
func change(rng *rand.Rand, s *core.Snapshot) {
	s.Seq++
	s.Since = time.Duration(rng.Int64N(int64(15 * time.Second)))
	s.Now = s.Now.Add(s.Since)
	for i := range s.Backends {
		b := &s.Backends[i]
		switch rng.IntN(12) {
		case 0:
			b.Health = core.HealthState(rng.IntN(3))
		case 1:
			b.Weight = uint32(rng.IntN(4)) * 100
		}
		reading := func(top float64) core.Reading {
			return core.Reading{Value: rng.Float64() * top, Age: time.Second, Known: rng.IntN(8) > 0,
				Window: time.Duration(rng.Int64N(int64(20 * time.Second)))}
		}
		if rng.IntN(3) > 0 {
			b.CPU, b.Done = reading(1), reading(200)
			b.CPUSeq++
		}
	}
}
