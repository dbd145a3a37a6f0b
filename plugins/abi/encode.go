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
	Metrics      []string // custom metrics in the manifest's order
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
	custom := params + len(f.Params)*8
	svc := custom + customSize(f.Metrics, n)
	be := svc + f.ServiceSlots*8
	out := be + n*f.BackendSlots*8
	total := out + (n*4+7)/8*8
	if cap(dst) < total {
		dst = make([]byte, total+total/4)
	}
	dst = dst[:total]
	clear(dst)

	copy(dst, Magic)
	le.PutUint16(dst[OffMajor:], Major)
	le.PutUint16(dst[OffMinor:], Minor)
	for _, h := range [...]struct{ off, v int }{
		{OffHeaderSize, HeaderSize}, {OffTotalSize, total}, {OffN, n}, {OffStride, Stride},
		{OffRecordsOff, HeaderSize}, {OffOutOff, out}, {OffServiceStateOff, svc}, {OffServiceStateLen, f.ServiceSlots * 8},
		{OffBackendStateOff, be}, {OffBackendStateStride, f.BackendSlots * 8},
		{OffParamsOff, params}, {OffNParams, len(f.Params)}, {OffEntry, int(f.Entry)},
	} {
		le.PutUint32(dst[h.off:], uint32(h.v))
	}
	le.PutUint64(dst[OffServiceID:], s.ID)
	le.PutUint64(dst[OffSeq:], s.Seq)
	le.PutUint64(dst[OffUnixNano:], uint64(s.Now.UnixNano()))
	putFloat(dst[OffSeconds:], s.Since.Seconds(), true)
	_, east := s.Now.Zone()
	le.PutUint32(dst[OffUTCOffset:], uint32(int32(east)))
	le.PutUint64(dst[OffSeed:], seed(s.ID, s.Seq))

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
	if len(f.Metrics) > 0 {
		le.PutUint32(dst[OffNCustom:], uint32(len(f.Metrics)))
		le.PutUint32(dst[OffCustomDirOff:], uint32(custom))
		encodeCustom(dst, custom, s, f.Metrics)
	}
	copy(dst[svc:be], f.Service)
	return dst, nil
}

func encodeBackend(r []byte, b *core.BackendInput, hidden uint16) {
	le.PutUint64(r[RecID:], b.ID)
	le.PutUint32(r[RecWeight:], b.Weight)
	le.PutUint32(r[RecShare:], uint32(math.Round(min(max(b.Share, 0), 1)*core.Slots)))
	r[RecHealth] = byte(b.Health)
	var valid uint16
	for _, v := range [...]struct {
		r      *core.Reading
		bit    uint16
		off    int
		ageOff int // 0 if the age is not sent
	}{
		{&b.CPU, ValidCPU, RecCPU, RecCPUAge},
		{&b.Cores, ValidCores, RecCores, 0},
		{&b.Response, ValidResponse, RecResponse, RecResponseAge},
		{&b.Conns, ValidConnections, 0, RecConnectionsAge},
		{&b.New, ValidOpened, RecOpened, 0},
		{&b.Done, ValidClosed, RecClosed, 0},
	} {
		known := v.r.Known && hidden&v.bit == 0 && finite(v.r.Value)
		if known {
			valid |= v.bit
		}
		if v.off != 0 {
			putFloat(r[v.off:], v.r.Value, known)
		} else if known {
			le.PutUint32(r[RecConnections:], uint32(min(max(v.r.Value, 0), math.MaxUint32)))
		}
		if v.ageOff != 0 {
			putSeconds(r[v.ageOff:], v.r.Age, known)
		}
	}
	le.PutUint16(r[RecValid:], valid)
	putSeconds(r[RecHealthSeconds:], b.Since, true)
	putSeconds(r[RecCPUWindow:], b.CPU.Window, valid&ValidCPU != 0)
	le.PutUint32(r[RecCPUSeq:], b.CPUSeq)
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
