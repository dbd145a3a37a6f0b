// SPDX-License-Identifier: Apache-2.0

package suite

import (
	"context"
	"encoding/binary"

	"github.com/steelyard-lb/steelyard/plugins/abi"
)

// newerHost: a later minor version of the ABI has a longer header and longer
// records. A policy that reads sizes from the snapshot answers the same.
func newerHost(ctx context.Context, t *trial) Result {
	t.Forget()
	now, err := walk(ctx, t.Session, t.snapshot("newer", 8), nil)
	if err != nil {
		return failed(err)
	}
	t.Forget()
	t.mangle = func(b []byte) []byte { return Widen(b, 32, 16) }
	defer func() { t.mangle = nil }()
	next, err := walk(ctx, t.Session, t.snapshot("newer", 8), nil)
	if err != nil {
		r := failed(err)
		r.Remedy = "take header_size, stride and every offset from the snapshot, as the SDKs do: a later steelyard sends more"
		return r
	}
	if how, ok := differ(now, next); ok {
		return fail("with a longer header and longer records it answers something else: "+how,
			"take header_size, stride and every offset from the snapshot, as the SDKs do: a later steelyard sends more")
	}
	return pass("header + 32 bytes, records + 16")
}

// The parts of the snapshot's layout that Widen moves, as docs/abi.md has them.
const (
	offMinor      = 6
	offHeaderSize = 8
	offTotalSize  = 12
	offN          = 48
	offStride     = 52
	offRecords    = 56
	offCustomN    = 92
	offCustomDir  = 96
	customEntry   = 24
)

// offsBehind are the header's offsets of blocks behind the records.
var offsBehind = []int{60, 64, 72, 80}

// Widen is a snapshot as a host of the next minor version would send it: header
// and records have that many bytes more, multiples of 8, which say nothing.
func Widen(b []byte, header, record int) []byte {
	le := binary.LittleEndian
	u32 := func(off int) int { return int(le.Uint32(b[off:])) }
	n, stride, records := u32(offN), u32(offStride), u32(offRecords)
	behind := records + n*stride
	shift := header + n*record

	out := make([]byte, 0, len(b)+shift)
	out = append(out, b[:records]...)
	out = append(out, make([]byte, header)...)
	for i := range n {
		out = append(out, b[records+i*stride:][:stride]...)
		out = append(out, make([]byte, record)...)
	}
	out = append(out, b[behind:]...)

	add := func(off, by int) { le.PutUint32(out[off:], le.Uint32(out[off:])+uint32(by)) }
	le.PutUint16(out[offMinor:], abi.Minor+1)
	add(offHeaderSize, header)
	add(offTotalSize, shift)
	add(offStride, record)
	add(offRecords, header)
	for _, off := range offsBehind {
		add(off, shift)
	}
	if dir := u32(offCustomDir); dir != 0 {
		add(offCustomDir, shift)
		for i := range u32(offCustomN) {
			for _, off := range []int{4, 12, 16} { // name, values, ages
				add(dir+shift+i*customEntry+off, shift)
			}
		}
	}
	return out
}
