// SPDX-License-Identifier: Apache-2.0

package builtin_test

import (
	"encoding/binary"
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/plugins/abi"
	"github.com/steelyard-lb/steelyard/plugins/builtin"
	"github.com/steelyard-lb/steelyard/sdk/go/policy"
)

// A native is a shipped policy run natively through the same bytes as the
// module, with its state kept here.
type native struct {
	p      policy.Policy
	entry  int
	state  map[uint64][]byte // of the backends; the service's own under id 0
	before map[uint64][]byte // state as it was before the latest call
	params map[string]float64
}

func natives() []*native {
	var ns []*native
	for i, p := range builtin.Policies() {
		ns = append(ns, &native{p: p, entry: i, state: map[uint64][]byte{}})
	}
	return ns
}

func find(t testing.TB, name string) *native {
	for _, n := range natives() {
		if n.p.Name == name {
			return n
		}
	}
	t.Fatalf("no policy %s", name)
	return nil
}

func (n *native) frame() abi.Frame {
	f := abi.Frame{Entry: uint32(n.entry), BackendSlots: n.p.BackendSlots, ServiceSlots: n.p.ServiceSlots}
	for _, q := range n.p.Params {
		v, ok := n.params[q.Name]
		if !ok {
			v = math.NaN()
		}
		f.Params = append(f.Params, v)
	}
	f.Service = n.state[0]
	f.Backend = func(id uint64) []byte { return n.state[id] }
	return f
}

// schedule runs the policy on s, keeps its state and returns its weights.
func (n *native) schedule(t rapid.TB, s *core.Snapshot) []float64 {
	t.Helper()
	f := n.frame()
	buf, err := abi.Encode(nil, s, f)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.p.Run(buf); err != nil {
		t.Fatalf("%s: %v", n.p.Name, err)
	}
	a, err := abi.Decode(buf[abi.AnswerOffset(buf):], s, f)
	if err != nil {
		t.Fatalf("%s: %v", n.p.Name, err)
	}
	n.before = maps.Clone(n.state)
	for i, b := range s.Backends {
		n.state[b.ID] = a.Backend[i]
	}
	n.state[0] = a.Service
	return a.Weights
}

// scatter fills the state with numbers that the policy itself could have
// written, or with any bits.
func (n *native) scatter(t *rapid.T, s *core.Snapshot) {
	wild := rapid.Bool().Draw(t, "wild state")
	slots := map[uint64]int{0: n.p.ServiceSlots}
	for _, b := range s.Backends {
		slots[b.ID] = n.p.BackendSlots
	}
	for _, id := range slices.Sorted(maps.Keys(slots)) {
		st := make([]byte, slots[id]*8)
		for k := range slots[id] {
			v := rapid.Float64Range(0, 3).Draw(t, "slot")
			if wild {
				v = math.Float64frombits(rapid.Uint64().Draw(t, "bits"))
			}
			binary.LittleEndian.PutUint64(st[k*8:], math.Float64bits(v))
		}
		n.state[id] = st
	}
}

func reading(t *rapid.T, what string, lo, hi float64) core.Reading {
	if rapid.IntRange(0, 9).Draw(t, what+" unknown") == 0 {
		return core.Reading{}
	}
	return core.Reading{
		Value: rapid.Float64Range(lo, hi).Draw(t, what), Known: true,
		Age:    time.Duration(rapid.IntRange(0, 1e9).Draw(t, what+" age")),
		Window: time.Duration(rapid.IntRange(1e9, 6e9).Draw(t, what+" window")),
	}
}

func snapshots(t *rapid.T) *core.Snapshot {
	s := &core.Snapshot{
		Service: "web", ID: rapid.Uint64().Draw(t, "id"), Seq: rapid.Uint64().Draw(t, "seq"),
		Now:   time.Unix(rapid.Int64Range(0, 1<<32).Draw(t, "now"), 0),
		Since: time.Duration(rapid.IntRange(0, 20e9).Draw(t, "since")),
	}
	for i := range rapid.IntRange(0, 12).Draw(t, "n") {
		s.Backends = append(s.Backends, core.BackendInput{
			ID: uint64(i)*7919 + 1, Name: string(rune('a' + i)),
			Weight:   uint32(rapid.SampledFrom([]int{0, 1, 1, 100, 100, 1000}).Draw(t, "weight")),
			Health:   rapid.SampledFrom([]core.HealthState{core.Up, core.Up, core.Up, core.Unknown, core.Down}).Draw(t, "health"),
			Since:    time.Duration(rapid.IntRange(0, 200e9).Draw(t, "in this health")),
			Share:    rapid.Float64Range(0, 1).Draw(t, "share"),
			CPUSeq:   uint32(rapid.IntRange(0, 3).Draw(t, "cpu seq")),
			CPU:      reading(t, "cpu", 0, 1),
			Cores:    reading(t, "cores", 0, 64),
			Response: reading(t, "response", 0, 3),
			Conns:    reading(t, "conns", 0, 1e5),
			New:      reading(t, "new", 0, 1e5),
			Done:     reading(t, "done", 0, 1e5),
		})
	}
	return s
}
