// SPDX-License-Identifier: Apache-2.0

package abi

// Names of a module's exports.
const (
	ExportMemory   = "memory"
	ExportABI      = "sy_abi_v1"
	ExportAlloc    = "sy_alloc"
	ExportSchedule = "sy_schedule"
	ExportManifest = "sy_manifest"
)

// Limits.
const (
	// MaxBackends bounds n, so that no size overflows.
	MaxBackends = 16384
	// MaxStateSlots bounds the numbers kept per backend, and per service.
	MaxStateSlots = 64
	// MaxMetrics bounds the custom metrics that one policy reads.
	MaxMetrics = 16
)

// Canonical NaNs: the same bits on every processor.
const (
	nan64 = 0x7FF8000000000000
	nan32 = 0x7FC00000
)
