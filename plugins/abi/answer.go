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
func AnswerOffset(snapshot []byte) uint32 { return le.Uint32(snapshot[OffServiceStateOff:]) }

// Seed is the snapshot's seed.
func Seed(snapshot []byte) uint64 { return le.Uint64(snapshot[OffSeed:]) }

// Now is the time of the decision, nanoseconds since 1970.
func Now(snapshot []byte) int64 { return int64(le.Uint64(snapshot[OffUnixNano:])) }

// CheckSnapshot reports whether b can be handed to a guest: enough of a header,
// and the size and the start of the answer within b.
func CheckSnapshot(b []byte) error {
	if len(b) < HeaderSize || string(b[:4]) != Magic || le.Uint32(b[OffTotalSize:]) != uint32(len(b)) ||
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
	weights, err := DecodeWeights(part, s, f)
	if err != nil {
		return Answer{}, err
	}
	svc, slot := f.ServiceSlots*8, f.BackendSlots*8
	a := Answer{Service: part[:svc], Backend: make([][]byte, len(s.Backends)), Weights: weights}
	for i := range a.Backend {
		a.Backend[i] = part[svc+i*slot:][:slot]
	}
	return a, nil
}

// DecodeWeights is Decode for a caller who knows where the state is: it has
// checked that part has its size.
func DecodeWeights(part []byte, s *core.Snapshot, f Frame) ([]float64, error) {
	n := len(s.Backends)
	out := f.ServiceSlots*8 + n*f.BackendSlots*8
	if len(part) != out+(n*4+7)/8*8 {
		return nil, fmt.Errorf("decode answer: %d bytes, want %d", len(part), out+(n*4+7)/8*8)
	}
	weights := make([]float64, n)
	any, wanted := n == 0, false
	for i := range s.Backends {
		b := &s.Backends[i]
		w := le.Uint32(part[out+i*4:])
		switch {
		case w == NotWritten:
			return nil, fmt.Errorf("short answer: no weight for backend %s (%d of %d)", b.Name, i+1, n)
		case w == HoldWeight:
			weights[i], any = core.Hold, true
		case w > MaxWeight:
			return nil, fmt.Errorf("weight %d of backend %s is over %d", w, b.Name, MaxWeight)
		default:
			weights[i] = float64(w)
			any = any || w > 0
		}
		wanted = wanted || b.Health == core.Up && b.Weight > 0
	}
	if !any && wanted {
		return nil, errors.New("every weight is 0 while a backend is up")
	}
	return weights, nil
}
