// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// allowed are the system calls of a Go program that computes and talks over the
// descriptors that it has. All others fail with EPERM: there is no new socket,
// no open file, no other program, no other process.
var allowed = []uint32{
	unix.SYS_READ, unix.SYS_WRITE, unix.SYS_CLOSE, unix.SYS_FCNTL, unix.SYS_FSTAT,
	unix.SYS_EPOLL_PWAIT, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_CREATE1, unix.SYS_EVENTFD2, unix.SYS_PIPE2,
	unix.SYS_FUTEX, unix.SYS_MUNMAP, unix.SYS_MPROTECT, unix.SYS_MADVISE, unix.SYS_MINCORE, unix.SYS_BRK,
	unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_CLOCK_GETTIME, unix.SYS_GETTIMEOFDAY,
	unix.SYS_SCHED_YIELD, unix.SYS_SCHED_GETAFFINITY, unix.SYS_GETRANDOM,
	unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK, unix.SYS_RESTART_SYSCALL,
	unix.SYS_TIMER_CREATE, unix.SYS_TIMER_SETTIME, unix.SYS_TIMER_DELETE, unix.SYS_SETITIMER,
	unix.SYS_SET_ROBUST_LIST, unix.SYS_RSEQ, unix.SYS_GETTID, unix.SYS_GETPID,
	unix.SYS_EXIT, unix.SYS_EXIT_GROUP,
}

// Offsets in struct seccomp_data, and architectures as the kernel names them.
const (
	dataCall = 0
	dataArch = 4
	dataArgs = 16
)

var architectures = map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}

// filterCalls makes the kernel refuse what is not allowed, on all threads.
func filterCalls() error {
	arch, ok := architectures[runtime.GOARCH]
	if !ok {
		return errors.ErrUnsupported
	}
	program := callFilter(arch, uint32(os.Getpid()))
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	thread, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	if thread != 0 && e == 0 {
		return fmt.Errorf("thread %d has another filter", thread)
	}
	if e != 0 {
		return e // ENOSYS, which is ErrUnsupported, where the kernel has no such filters
	}
	return nil
}

// callFilter is the filter as a program of classic BPF: see seccomp(2).
func callFilter(arch, pid uint32) []unix.SockFilter {
	const (
		load  = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		leave = unix.BPF_RET | unix.BPF_K
		deny  = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	)
	p := []unix.SockFilter{
		{Code: load, K: dataArch},
		{Code: equal, K: arch, Jt: 1},
		{Code: leave, K: unix.SECCOMP_RET_KILL_PROCESS}, // 32-bit calls have other numbers
		{Code: load, K: dataCall},
	}
	for _, call := range allowed {
		p = append(p, unix.SockFilter{Code: equal, K: call, Jf: 1}, unix.SockFilter{Code: leave, K: unix.SECCOMP_RET_ALLOW})
	}
	// Shared memory counts as no process's own: no limit would see it.
	p = append(p,
		unix.SockFilter{Code: equal, K: unix.SYS_MMAP, Jf: 4},
		unix.SockFilter{Code: load, K: dataArgs + 3*8}, // flags
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: unix.MAP_SHARED, Jt: 1},
		unix.SockFilter{Code: leave, K: unix.SECCOMP_RET_ALLOW},
		unix.SockFilter{Code: leave, K: deny})
	// In a build with cgo, threads are glibc's, which falls back from clone3, whose
	// flags no filter sees, to clone if it does not exist.
	p = append(p,
		unix.SockFilter{Code: equal, K: unix.SYS_CLONE3, Jf: 1},
		unix.SockFilter{Code: leave, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)})
	// The runtime signals its own threads and starts more of them: no other process
	// gets a signal, and none is born.
	return append(p,
		unix.SockFilter{Code: equal, K: unix.SYS_TGKILL, Jf: 4},
		unix.SockFilter{Code: load, K: dataArgs},
		unix.SockFilter{Code: equal, K: pid, Jt: 1},
		unix.SockFilter{Code: leave, K: deny},
		unix.SockFilter{Code: leave, K: unix.SECCOMP_RET_ALLOW},
		unix.SockFilter{Code: equal, K: unix.SYS_CLONE, Jt: 1},
		unix.SockFilter{Code: leave, K: deny},
		unix.SockFilter{Code: load, K: dataArgs},
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: unix.CLONE_THREAD, Jt: 1},
		unix.SockFilter{Code: leave, K: deny},
		unix.SockFilter{Code: leave, K: unix.SECCOMP_RET_ALLOW})
}
