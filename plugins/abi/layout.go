// SPDX-License-Identifier: Apache-2.0

package abi

// Version of the ABI.
const (
	Magic = "SYD1"
	Major = 1
	Minor = 0
)

// Names of a module's exports.
const (
	ExportMemory   = "memory"
	ExportABI      = "sy_abi_v1"
	ExportAlloc    = "sy_alloc"
	ExportSchedule = "sy_schedule"
	ExportManifest = "sy_manifest"
)

// Sizes and limits.
const (
	HeaderSize = 128
	Stride     = 96
	// MaxBackends bounds n, so that no size overflows.
	MaxBackends = 16384
	// MaxStateSlots bounds the numbers kept per backend, and per service.
	MaxStateSlots = 64
	// MaxWeight is the largest weight of an answer.
	MaxWeight = 1_000_000_000
)

// Words of the answer that are not weights.
const (
	NotWritten = 0xFFFFFFFF
	HoldWeight = 0xFFFFFFFE
)

// Offsets in the header.
const (
	offMajor         = 4
	offMinor         = 6
	offHeaderSize    = 8
	offTotalSize     = 12
	offServiceID     = 16
	offSeq           = 24
	offNow           = 32
	offDT            = 40
	offN             = 48
	offStride        = 52
	offRecOff        = 56
	offOutOff        = 60
	offSvcStateOff   = 64
	offSvcStateLen   = 68
	offBeStateOff    = 72
	offBeStateStride = 76
	offParamsOff     = 80
	offNParams       = 84
	offEntry         = 88
	offSeed          = 104
)

// Offsets in a backend record.
const (
	recID        = 0
	recWeight    = 8
	recShare     = 12
	recHealth    = 16
	recValid     = 18
	recConns     = 20
	recCPU       = 24
	recResponse  = 32
	recNew       = 40
	recDone      = 48
	recCores     = 56
	recCPUAge    = 64
	recRespAge   = 68
	recConnsAge  = 72
	recSince     = 76
	recCPUWindow = 80
	recCPUSeq    = 84
)

// Bits of recValid.
const (
	validCPU = 1 << iota
	validCores
	validResponse
	validConns
	validNew
	validDone
)

// Canonical NaNs: the same bits on every processor.
const (
	nan64 = 0x7FF8000000000000
	nan32 = 0x7FC00000
)
