// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"context"
	"fmt"

	"github.com/tetratelabs/wazero/api"
)

const wasiModule = "wasi_snapshot_preview1"

// wasiFunctions are all of WASI preview 1, params:results. A module may import
// any of them, since a language's runtime does so without being asked.
var wasiFunctions = map[string]string{
	"args_get": "ii:i", "args_sizes_get": "ii:i", "environ_get": "ii:i", "environ_sizes_get": "ii:i",
	"clock_res_get": "ii:i", "clock_time_get": "iIi:i",
	"fd_advise": "iIIi:i", "fd_allocate": "iII:i", "fd_close": "i:i", "fd_datasync": "i:i",
	"fd_fdstat_get": "ii:i", "fd_fdstat_set_flags": "ii:i", "fd_fdstat_set_rights": "iII:i",
	"fd_filestat_get": "ii:i", "fd_filestat_set_size": "iI:i", "fd_filestat_set_times": "iIIi:i",
	"fd_pread": "iiiIi:i", "fd_prestat_get": "ii:i", "fd_prestat_dir_name": "iii:i", "fd_pwrite": "iiiIi:i",
	"fd_read": "iiii:i", "fd_readdir": "iiiIi:i", "fd_renumber": "ii:i", "fd_seek": "iIii:i",
	"fd_sync": "i:i", "fd_tell": "ii:i", "fd_write": "iiii:i",
	"path_create_directory": "iii:i", "path_filestat_get": "iiiii:i", "path_filestat_set_times": "iiiiIIi:i",
	"path_link": "iiiiiii:i", "path_open": "iiiiiIIii:i", "path_readlink": "iiiiii:i",
	"path_remove_directory": "iii:i", "path_rename": "iiiiii:i", "path_symlink": "iiiii:i", "path_unlink_file": "iii:i",
	"poll_oneoff": "iiii:i", "proc_exit": "i:", "proc_raise": "i:i", "sched_yield": ":i", "random_get": "ii:i",
	"sock_accept": "iii:i", "sock_recv": "iiiiii:i", "sock_send": "iiiii:i", "sock_shutdown": "ii:i",
}

// WASI's error numbers.
const (
	wasiOK    = 0
	wasiBadf  = 8
	wasiFault = 21
)

// maxStderr is how much of a runtime's last words is kept, in bytes.
const maxStderr = 4 << 10

// wasi makes one function of the shim. What is not named here answers EBADF:
// there is no file, directory or socket to have a descriptor of.
func (h *host) wasi(name string) api.GoModuleFunc {
	switch name {
	case "args_get", "environ_get", "sched_yield":
		return func(_ context.Context, _ api.Module, st []uint64) { setResult(st, wasiOK) }
	case "args_sizes_get", "environ_sizes_get":
		return func(_ context.Context, m api.Module, st []uint64) {
			ok := m.Memory().WriteUint32Le(uint32(st[0]), 0) && m.Memory().WriteUint32Le(uint32(st[1]), 0)
			setOK(st, ok)
		}
	case "clock_time_get":
		return func(_ context.Context, m api.Module, st []uint64) {
			setOK(st, m.Memory().WriteUint64Le(uint32(st[2]), uint64(h.now)))
		}
	case "random_get":
		return h.randomGet
	case "fd_write":
		return h.fdWrite
	case "poll_oneoff":
		return pollOneoff
	case "proc_exit":
		return func(_ context.Context, _ api.Module, st []uint64) {
			panic(fmt.Errorf("the policy exited with code %d", uint32(st[0])))
		}
	}
	return func(_ context.Context, _ api.Module, st []uint64) { setResult(st, wasiBadf) }
}

func setResult(st []uint64, errno uint64) { st[0] = errno }

func setOK(st []uint64, ok bool) {
	st[0] = wasiOK
	if !ok {
		st[0] = wasiFault
	}
}

func (h *host) randomGet(_ context.Context, m api.Module, st []uint64) {
	b, ok := m.Memory().Read(uint32(st[0]), uint32(st[1]))
	var word uint64
	for i := range b {
		if i%8 == 0 {
			word = h.rand()
		}
		b[i] = byte(word >> (i % 8 * 8))
	}
	setOK(st, ok)
}

// fdWrite keeps what is written to stdout and stderr, which is how a Go panic
// is told.
func (h *host) fdWrite(_ context.Context, m api.Module, st []uint64) {
	fd, iovs, n, out := uint32(st[0]), uint32(st[1]), uint32(st[2]), uint32(st[3])
	if fd != 1 && fd != 2 {
		setResult(st, wasiBadf)
		return
	}
	mem, total := m.Memory(), uint32(0)
	for i := range min(n, 64) {
		ptr, ok1 := mem.ReadUint32Le(iovs + i*8)
		size, ok2 := mem.ReadUint32Le(iovs + i*8 + 4)
		b, ok3 := mem.Read(ptr, size)
		if !ok1 || !ok2 || !ok3 {
			setResult(st, wasiFault)
			return
		}
		total += size
		h.stderr.Write(b[:min(len(b), max(0, maxStderr-h.stderr.Len()))])
	}
	setOK(st, mem.WriteUint32Le(out, total))
}

// pollOneoff says that the first subscription is due: there is no clock to
// wait for, and a guest that sleeps in a loop is ended by its deadline.
func pollOneoff(_ context.Context, m api.Module, st []uint64) {
	in, out, n, got := uint32(st[0]), uint32(st[1]), uint32(st[2]), uint32(st[3])
	mem := m.Memory()
	user, ok := mem.ReadUint64Le(in)
	if n == 0 || !ok {
		setResult(st, wasiFault)
		return
	}
	ok = mem.WriteUint64Le(out, user) && mem.WriteUint64Le(out+8, 0) && mem.WriteUint64Le(out+16, 0) &&
		mem.WriteUint64Le(out+24, 0) && mem.WriteUint32Le(got, 1)
	setOK(st, ok)
}
