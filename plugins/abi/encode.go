// SPDX-License-Identifier: Apache-2.0

package abi

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

var le = binary.LittleEndian

// A Frame says how one policy wants its snapshot: which entry of the module it
// is, and what it keeps. State slots are f64.
type Frame struct {
	Entry        uint32
	Params       []float64 // in the manifest's order; NaN is not given
	BackendSlots int
	ServiceSlots int
	// Hidden are the readings that are left unknown, as bits of valid.
	Hidden uint16
	// Service is the service's state, ServiceSlots*8 bytes, or nil for zeros.
	// Backend returns the state of a backend by its id, or nil for zeros.
	Service []byte
	Backend func(id uint64) []byte
}

// Encode writes s into dst, which it grows if needed, and returns it.
func Encode(dst []byte, s *core.Snapshot, f Frame) ([]byte, error) {
	n := len(s.Backends)
	if n > MaxBackends {
		return dst, fmt.Errorf("encode snapshot of %s: %d backends, at most %d fit", s.Service, n, MaxBackends)
	}
	params := HeaderSize + n*Stride
	svc := params + len(f.Params)*8
	be := svc + f.ServiceSlots*8
	out := be + n*f.BackendSlots*8
	total := out + (n*4+7)/8*8
	if cap(dst) < total {
		dst = make([]byte, total+total/4)
	}
	dst = dst[:total]
	clear(dst)

	copy(dst, Magic)
	le.PutUint16(dst[offMajor:], Major)
	le.PutUint16(dst[offMinor:], Minor)
	for _, h := range [...]struct{ off, v int }{
		{offHeaderSize, HeaderSize}, {offTotalSize, total}, {offN, n}, {offStride, Stride},
		{offRecOff, HeaderSize}, {offOutOff, out}, {offSvcStateOff, svc}, {offSvcStateLen, f.ServiceSlots * 8},
		{offBeStateOff, be}, {offBeStateStride, f.BackendSlots * 8},
		{offParamsOff, params}, {offNParams, len(f.Params)}, {offEntry, int(f.Entry)},
	} {
		le.PutUint32(dst[h.off:], uint32(h.v))
	}
	le.PutUint64(dst[offServiceID:], s.ID)
	le.PutUint64(dst[offSeq:], s.Seq)
	le.PutUint64(dst[offNow:], uint64(s.Now.UnixNano()))
	putFloat(dst[offDT:], s.Since.Seconds(), true)
	le.PutUint64(dst[offSeed:], seed(s.ID, s.Seq))

	for i := range s.Backends {
		b := &s.Backends[i]
		encodeBackend(dst[HeaderSize+i*Stride:][:Stride], b, f.Hidden)
		if f.BackendSlots > 0 && f.Backend != nil {
			copy(dst[be+i*f.BackendSlots*8:][:f.BackendSlots*8], f.Backend(b.ID))
		}
		le.PutUint32(dst[out+i*4:], NotWritten)
	}
	for i, p := range f.Params {
		putFloat(dst[params+i*8:], p, true)
	}
	copy(dst[svc:be], f.Service)
	return dst, nil
}

func encodeBackend(r []byte, b *core.BackendInput, hidden uint16) {
	le.PutUint64(r[recID:], b.ID)
	le.PutUint32(r[recWeight:], b.Weight)
	le.PutUint32(r[recShare:], uint32(math.Round(min(max(b.Share, 0), 1)*core.Slots)))
	r[recHealth] = byte(b.Health)
	var valid uint16
	for _, v := range [...]struct {
		r      *core.Reading
		bit    uint16
		off    int
		ageOff int // 0 if the age is not sent
	}{
		{&b.CPU, validCPU, recCPU, recCPUAge},
		{&b.Cores, validCores, recCores, 0},
		{&b.Response, validResponse, recResponse, recRespAge},
		{&b.Conns, validConns, 0, recConnsAge},
		{&b.New, validNew, recNew, 0},
		{&b.Done, validDone, recDone, 0},
	} {
		known := v.r.Known && hidden&v.bit == 0 && finite(v.r.Value)
		if known {
			valid |= v.bit
		}
		if v.off != 0 {
			putFloat(r[v.off:], v.r.Value, known)
		} else if known {
			le.PutUint32(r[recConns:], uint32(min(max(v.r.Value, 0), math.MaxUint32)))
		}
		if v.ageOff != 0 {
			putSeconds(r[v.ageOff:], v.r.Age, known)
		}
	}
	le.PutUint16(r[recValid:], valid)
	putSeconds(r[recSince:], b.Since, true)
	putSeconds(r[recCPUWindow:], b.CPU.Window, valid&validCPU != 0)
	le.PutUint32(r[recCPUSeq:], b.CPUSeq)
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

func putFloat(b []byte, v float64, known bool) {
	bits := uint64(nan64)
	if known && !math.IsNaN(v) {
		bits = math.Float64bits(v)
	}
	le.PutUint64(b, bits)
}

func putSeconds(b []byte, d time.Duration, known bool) {
	bits := uint32(nan32)
	if known {
		bits = math.Float32bits(float32(d.Seconds()))
	}
	le.PutUint32(b, bits)
}

// seed mixes service and decision (splitmix64), so that a policy's random
// numbers differ between them and repeat in a replay.
func seed(id, seq uint64) uint64 {
	z := id + seq*0x9E3779B97F4A7C15
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}
