// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"strconv"
	"unsafe"
)

// The functions that the host calls, and the ones it offers (plugins/abi).

//go:wasmimport steelyard log
func hostLog(level uint32, ptr unsafe.Pointer, size uint32)

const levelError = 3

// input is the buffer of sy_alloc; of uint64 so that it is aligned to 8.
var input []uint64

// manifest is kept so that the host can read it after sy_manifest returned.
var manifest []byte

//go:wasmexport sy_abi_v1
func syABI() int32 { return minor }

//go:wasmexport sy_alloc
func syAlloc(size uint32) unsafe.Pointer {
	if need := int(size/8) + 1; cap(input) < need {
		input = make([]uint64, need+need/2)
	}
	return unsafe.Pointer(unsafe.SliceData(input))
}

//go:wasmexport sy_schedule
func sySchedule(ptr unsafe.Pointer, size uint32) int32 {
	err := runEntry(ptr, size)
	if err == nil {
		return 0
	}
	msg := []byte(err.Error())
	hostLog(levelError, unsafe.Pointer(unsafe.SliceData(msg)), uint32(len(msg)))
	return -1
}

//go:wasmexport sy_manifest
func syManifest() int64 {
	manifest = Manifest(registered)
	return int64(uintptr(unsafe.Pointer(unsafe.SliceData(manifest))))<<32 | int64(len(manifest))
}

// runEntry calls the policy that the snapshot names.
func runEntry(base unsafe.Pointer, size uint32) error {
	if size < headerSize {
		return errors.New("snapshot too short")
	}
	e := (*header)(base).entry
	if uint64(e) >= uint64(len(registered)) {
		return errors.New("entry " + strconv.Itoa(int(e)) + ": the module has " +
			strconv.Itoa(len(registered)) + " policies")
	}
	return registered[e].run(base, size)
}
