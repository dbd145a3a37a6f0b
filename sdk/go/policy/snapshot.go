// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"math"
	"strconv"
	"unsafe"
)

// A Snapshot is one service at one decision, and takes the answer.
type Snapshot struct {
	p       *Policy
	h       *header
	base    unsafe.Pointer
	records unsafe.Pointer // what Backend and BackendState need, at hand
	states  unsafe.Pointer
	stride  uint32
	slots   uint32    // stride of states
	weights []float64 // the answer; NaN until given, negative for Hold
	err     error     // the first misuse
}

const held = -1

// Len is the number of backends.
func (s *Snapshot) Len() int { return int(s.h.n) }

// Backend is the i-th backend.
func (s *Snapshot) Backend(i int) *Backend {
	_ = s.weights[i] // the bounds check
	return (*Backend)(unsafe.Add(s.records, uint32(i)*s.stride))
}

// Seconds is the time since the decision before; 0 at the first.
func (s *Snapshot) Seconds() float64 { return s.h.seconds }

// UnixNano is the time of the decision.
func (s *Snapshot) UnixNano() int64 { return s.h.unixNano }

// UTCOffset is how far the node's clock is east of UTC at UnixNano, in seconds:
// UnixNano()/1e9 + UTCOffset() are the seconds of the local time.
func (s *Snapshot) UTCOffset() int { return int(s.h.utcOffset) }

// Seq counts the decisions.
func (s *Snapshot) Seq() uint64 { return s.h.seq }

// Seed is a number for the policy's own random generator: another one at every
// decision, the same when a decision is replayed.
func (s *Snapshot) Seed() uint64 { return s.h.seed }

// Param is a parameter of the service, or its default. A name that the policy
// did not declare makes the call fail.
func (s *Snapshot) Param(name string) float64 {
	for i := range s.p.Params {
		if s.p.Params[i].Name != name {
			continue
		}
		if i < int(s.h.nParams) {
			v := *(*float64)(unsafe.Add(s.base, s.h.paramsOff+uint32(i)*8))
			if !math.IsNaN(v) {
				return v
			}
		}
		return s.p.Params[i].Default
	}
	s.fail(errors.New("parameter " + name + " is not declared by policy " + s.p.Name))
	return math.NaN()
}

// BackendState are the policy's own numbers about the i-th backend, as many as
// Policy.BackendSlots. They follow the backend, not the index.
func (s *Snapshot) BackendState(i int) []float64 {
	_ = s.weights[i]
	if s.p.BackendSlots == 0 {
		return nil
	}
	return unsafe.Slice((*float64)(unsafe.Add(s.states, uint32(i)*s.slots)), s.p.BackendSlots)
}

// ServiceState are the policy's own numbers about the service, as many as
// Policy.ServiceSlots.
func (s *Snapshot) ServiceState() []float64 {
	if s.p.ServiceSlots == 0 {
		return nil
	}
	return unsafe.Slice((*float64)(unsafe.Add(s.base, s.h.serviceStateOff)), s.p.ServiceSlots)
}

// SetWeight gives the i-th backend a weight in any scale: only ratios matter.
// A weight that is negative, infinite or not a number makes the call fail.
func (s *Snapshot) SetWeight(i int, w float64) {
	if !(w >= 0) || math.IsInf(w, 1) {
		s.fail(errors.New("weight of backend " + strconv.Itoa(i) + " is " +
			strconv.FormatFloat(w, 'g', -1, 64) + ": want a number from 0 upward"))
		return
	}
	s.weights[i] = w
}

// Hold says that the policy has no opinion of the i-th backend: the host keeps
// the share it has, and lets it go back to the configured weight in time.
func (s *Snapshot) Hold(i int) { s.weights[i] = held }

func (s *Snapshot) fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

// open checks what the indices rest on, so that a damaged snapshot is an error
// and not a read outside it.
func (s *Snapshot) open(p *Policy, base unsafe.Pointer, size uint32) error {
	h := (*header)(base)
	switch {
	case size < headerSize || uintptr(base)%8 != 0:
		return errors.New("snapshot too short or not aligned to 8 bytes")
	case string(h.magic[:]) != magic || h.major != major:
		return errors.New("snapshot is not of ABI v1")
	case h.totalSize != size || h.stride < backendSize:
		return errors.New("snapshot has a wrong size")
	}
	n := uint64(h.n)
	for _, b := range [...]struct{ off, len uint64 }{
		{uint64(h.recordsOff), n * uint64(h.stride)},
		{uint64(h.outOff), n * 4},
		{uint64(h.paramsOff), uint64(h.nParams) * 8},
		{uint64(h.serviceStateOff), uint64(h.serviceStateLen)},
		{uint64(h.backendStateOff), n * uint64(h.backendStateStride)},
	} {
		if b.off%8 != 0 || b.off+b.len > uint64(size) {
			return errors.New("snapshot has a block outside it")
		}
	}
	if uint64(h.serviceStateLen) < uint64(p.ServiceSlots)*8 || n > 0 && uint64(h.backendStateStride) < uint64(p.BackendSlots)*8 {
		return errors.New("snapshot has too few state slots")
	}
	if err := checkMetrics(h, base, size); err != nil {
		return err
	}
	s.p, s.h, s.base, s.err = p, h, base, nil
	s.records, s.stride, s.states, s.slots = base, h.stride, base, h.backendStateStride
	if n > 0 { // a pointer to the end of the snapshot would be one outside it
		s.records, s.states = unsafe.Add(base, h.recordsOff), unsafe.Add(base, h.backendStateOff)
	}
	s.weights = s.weights[:0]
	for range h.n {
		s.weights = append(s.weights, math.NaN())
	}
	return nil
}

// close writes the answer, scaled so that the largest weight is maxWeight. A
// weight above zero stays above zero.
func (s *Snapshot) close() {
	if len(s.weights) == 0 {
		return
	}
	top := 0.0
	for _, w := range s.weights {
		if w > top {
			top = w
		}
	}
	out := unsafe.Slice((*uint32)(unsafe.Add(s.base, s.h.outOff)), s.h.n)
	for i, w := range s.weights {
		switch {
		case math.IsNaN(w):
			out[i] = notWritten
		case w == held:
			out[i] = hold
		case w == 0:
			out[i] = 0
		default:
			if out[i] = uint32(w / top * maxWeight); out[i] == 0 {
				out[i] = 1
			}
		}
	}
}
