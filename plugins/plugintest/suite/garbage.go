// SPDX-License-Identifier: Apache-2.0

package suite

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/plugins/abi"
)

// garbage gives a policy state that it did not write, as after an update that
// gave a slot another meaning. An answer is best. A refusal is a note: a call
// that failed keeps the state, so the service is stuck with it until the state's
// version goes up. A crash is a failure: what can crash on a number can crash.
func garbage(ctx context.Context, t *trial) Result {
	if t.Info.BackendSlots+t.Info.ServiceSlots == 0 {
		return pass("it keeps none")
	}
	var refused *Fault
	var with string
	for _, g := range garbages() {
		s := t.snapshot("garbage", 5)
		t.states[s.ID] = spoiled(&s, t.Info, g.word)
		for range 3 {
			tick(&s)
			_, err := t.Schedule(ctx, &s)
			if err == nil {
				continue
			}
			var f *Fault
			if errors.As(err, &f) && (f.Kind == Refused || f.Kind == Invalid) {
				refused, with = f, g.name
				break
			}
			r := failed(err)
			r.Cause = fmt.Sprintf("with %s in its state: %s", g.name, r.Cause)
			r.Remedy = "never use a number of the state as an index or a count without looking at it"
			return r
		}
	}
	if refused != nil {
		return note(fmt.Sprintf("with %s in its state it has no answer: %s", with, refused.Cause),
			"start over when a slot is not finite; count state_version up when a slot gets another meaning")
	}
	return pass(fmt.Sprintf("%d kinds", len(garbages())))
}

// A spoiler is a kind of garbage: word makes the bits of the next slot.
type spoiler struct {
	name string
	word func() uint64
}

func garbages() []spoiler {
	rng := rand.New(rand.NewPCG(7, 7))
	float := func(v float64) func() uint64 { return func() uint64 { return math.Float64bits(v) } }
	return []spoiler{
		{"NaN", float(math.NaN())}, {"+Inf", float(math.Inf(1))}, {"-Inf", float(math.Inf(-1))},
		{"1e308", float(1e308)}, {"-1e308", float(-1e308)}, {"5e-324", float(5e-324)}, {"-1", float(-1)}, {"4294967296", float(1 << 32)},
		{"random bits", rng.Uint64},
	}
}

func spoiled(s *core.Snapshot, info abi.PolicyInfo, word func() uint64) *state {
	slots := func(n int) []byte {
		var b []byte
		for range n {
			b = binary.LittleEndian.AppendUint64(b, word())
		}
		return b
	}
	st := &state{service: slots(info.ServiceSlots), backends: map[uint64][]byte{}}
	for i := range s.Backends {
		st.backends[s.Backends[i].ID] = slots(info.BackendSlots)
	}
	return st
}
