// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"fmt"

	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/unix"
)

// allocate maps the most that a memory may grow to. The kernel gives a page when
// it is first written, and growing copies nothing: wazero's own way copies all,
// and needs three times as much for a moment. The kernel maps no empty piece, so that
// a memory that may never have a page gets one that nobody sees.
func allocate(_, most uint64) experimental.LinearMemory {
	b, err := unix.Mmap(-1, 0, int(max(most, 1)), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		panic(fmt.Errorf("map %d bytes for the module: %w", most, err)) // wazero has no way to tell
	}
	return &mapped{b}
}

// mapped is one linear memory.
type mapped struct{ all []byte }

// Reallocate implements experimental.LinearMemory.
func (m *mapped) Reallocate(size uint64) []byte {
	if size > uint64(len(m.all)) {
		return nil
	}
	return m.all[:size]
}

// Free implements experimental.LinearMemory.
func (m *mapped) Free() {
	_ = unix.Munmap(m.all) // fails only on a wrong address
	m.all = nil
}
