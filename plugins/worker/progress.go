// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// progress is a page shared by parent and worker, in which the worker writes
// the number of the call it is at. It is how the parent knows whom to blame
// without an answer; the worker could lie in it, and would harm only itself.
type progress struct{ page []byte }

const progressSize = 4096

func newProgress() (progress, *os.File, error) {
	fd, err := unix.MemfdCreate("steelyard-progress", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return progress{}, nil, fmt.Errorf("create shared page: %w", err)
	}
	f := os.NewFile(uintptr(fd), "progress")
	if err := f.Truncate(progressSize); err != nil {
		_ = f.Close() // the first error is the one to tell
		return progress{}, nil, fmt.Errorf("size shared page: %w", err)
	}
	// A worker that somebody has taken over could shrink the page, and this process
	// would die of a SIGBUS; or write to it without end, into memory that counts as
	// nobody's.
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		_ = f.Close() // as above
		return progress{}, nil, fmt.Errorf("seal shared page: %w", err)
	}
	p, err := mapProgress(f)
	if err != nil {
		_ = f.Close() // as above
	}
	return p, f, err
}

func mapProgress(f *os.File) (progress, error) {
	page, err := unix.Mmap(int(f.Fd()), 0, progressSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return progress{}, fmt.Errorf("map shared page: %w", err)
	}
	return progress{page}, nil
}

func (p progress) word() *uint32 { return (*uint32)(unsafe.Pointer(&p.page[0])) }

// set notes that call i runs; idle is between calls.
func (p progress) set(i int) { atomic.StoreUint32(p.word(), uint32(i+1)) }

func (p progress) idle() { atomic.StoreUint32(p.word(), 0) }

// get is the call that runs, -1 if none.
func (p progress) get() int { return int(atomic.LoadUint32(p.word())) - 1 }

func (p progress) unmap() { _ = unix.Munmap(p.page) } // fails only on a wrong address
