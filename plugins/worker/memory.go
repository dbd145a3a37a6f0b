// SPDX-License-Identifier: Apache-2.0

//go:build !race

package worker

const (
	// DefaultMemory is what a worker may have that nobody set another limit for. The
	// most that was measured is 33 MiB, while a Go module is compiled.
	DefaultMemory = 96 << 20
	// dataSpare is what Go's runtime maps writable beyond what it uses: arenas of
	// 64 MiB and its own tables.
	dataSpare = 128 << 20
)
