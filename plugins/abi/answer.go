// SPDX-License-Identifier: Apache-2.0

package abi

import (
	"errors"
	"fmt"

	"github.com/steelyard-lb/steelyard/core"
)

// AnswerOffset is where the part of a snapshot starts that a policy may write:
// its state and the weights, up to the end. The snapshot must have passed
// CheckSnapshot, or come from Encode.
func AnswerOffset(snapshot []byte) uint32 { return le.Uint32(snapshot[offSvcStateOff:]) }

// Seed is the snapshot's seed.
func Seed(snapshot []byte) uint64 { return le.Uint64(snapshot[offSeed:]) }

// Now is the time of the decision, nanoseconds since 1970.
func Now(snapshot []byte) int64 { return int64(le.Uint64(snapshot[offNow:])) }

// CheckSnapshot reports whether b can be handed to a guest: enough of a header,
// and the size and the start of the answer within b.
func CheckSnapshot(b []byte) error {
	if len(b) < HeaderSize || string(b[:4]) != Magic || le.Uint32(b[offTotalSize:]) != uint32(len(b)) ||
		uint64(AnswerOffset(b)) > uint64(len(b)) {
		return errors.New("not a snapshot")
	}
	return nil
}

// An Answer is what a policy wrote, behind a snapshot's AnswerOffset. The bytes
// are not copied.
type Answer struct {
	Service []byte   // the service's state
	Backend [][]byte // each backend's state
	Weights []float64
}

// Decode checks a policy's answer: part is the snapshot from its AnswerOffset
// on, as the policy left it. s and f are what the snapshot was encoded from.
func Decode(part []byte, s *core.Snapshot, f Frame) (Answer, error) {
	n := len(s.Backends)
	svc, slot := f.ServiceSlots*8, f.BackendSlots*8
	out := svc + n*slot
	if len(part) != out+(n*4+7)/8*8 {
		return Answer{}, fmt.Errorf("decode answer: %d bytes, want %d", len(part), out+(n*4+7)/8*8)
	}
	a := Answer{Service: part[:svc], Backend: make([][]byte, n), Weights: make([]float64, n)}
	for i := range n {
		a.Backend[i] = part[svc+i*slot:][:slot]
	}
	any, wanted := n == 0, false
	for i, b := range s.Backends {
		w := le.Uint32(part[out+i*4:])
		switch {
		case w == NotWritten:
			return Answer{}, fmt.Errorf("short answer: no weight for backend %s (%d of %d)", b.Name, i+1, n)
		case w == HoldWeight:
			a.Weights[i], any = core.Hold, true
		case w > MaxWeight:
			return Answer{}, fmt.Errorf("weight %d of backend %s is over %d", w, b.Name, MaxWeight)
		default:
			a.Weights[i] = float64(w)
			any = any || w > 0
		}
		wanted = wanted || b.Health == core.Up && b.Weight > 0
	}
	if !any && wanted {
		return Answer{}, errors.New("every weight is 0 while a backend is up")
	}
	return a, nil
}
