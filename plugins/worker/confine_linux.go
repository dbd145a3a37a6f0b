// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"unsafe"

	"github.com/landlock-lsm/go-landlock/landlock"
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"
)

// nobody is the user and group that a worker of root becomes.
const nobody = 65534

// confine takes from this process all that it does not need, on every thread,
// and says what it did. A step that the kernel does not know is left out; a
// step that should work and does not is an error, because a worker that is
// less confined than it says is worse than none. Behind memory, which the
// parent watches, RLIMIT_DATA is the last wall: there the runtime ends the
// process, however late the parent looks.
func confine(memory int64) (string, error) {
	var did []string
	for _, l := range []struct {
		name  string
		which int
		max   uint64
	}{{"core", unix.RLIMIT_CORE, 0}, {"nofile", unix.RLIMIT_NOFILE, 64}, {"data", unix.RLIMIT_DATA, uint64(memory) + dataSpare}} {
		if err := syscall.Setrlimit(l.which, &syscall.Rlimit{Cur: l.max, Max: l.max}); err != nil {
			return "", fmt.Errorf("limit %s: %w", l.name, err)
		}
	}
	did = append(did, "rlimits")
	switch {
	case os.Geteuid() != 0:
	case !mapped("/proc/self/uid_map", nobody) || !mapped("/proc/self/gid_map", nobody):
		// Root of a user namespace that knows no other user: an unprivileged
		// user outside, who is all there is to become.
		did = append(did, "user of its namespace")
	default:
		if err := becomeNobody(); err != nil {
			return "", err
		}
		did = append(did, "nobody")
	}
	if err := dropCapabilities(); err != nil {
		return "", err
	}
	did = append(did, "no capabilities")
	if _, _, e := psx.Syscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); e != 0 {
		return "", fmt.Errorf("set no_new_privs: %w", e)
	}
	did = append(did, "no_new_privs")
	// Best effort: every version of the kernel knows some of it, old ones none.
	if err := landlock.V8.BestEffort().Restrict(); err != nil {
		return "", fmt.Errorf("landlock: %w", err)
	}
	if _, err := os.Open("/"); err != nil {
		did = append(did, "landlock")
	}
	// Last, since the steps above need calls that it refuses.
	switch err := filterCalls(); {
	case err == nil:
		did = append(did, "seccomp")
	case !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, unix.EINVAL):
		return "", fmt.Errorf("filter system calls: %w", err)
	}
	return strings.Join(did, ", "), nil
}

// mapped reports whether an id exists in this user namespace. See
// user_namespaces(7): each line is first id inside, first outside, count.
func mapped(file string, id uint64) bool {
	text, err := os.ReadFile(file)
	if err != nil {
		return true // a kernel without user namespaces
	}
	for line := range strings.Lines(string(text)) {
		var inside, outside, count uint64
		if _, err := fmt.Sscan(line, &inside, &outside, &count); err == nil && id >= inside && id < inside+count {
			return true
		}
	}
	return false
}

func becomeNobody() error {
	if err := syscall.Setgroups([]int{}); err != nil {
		return fmt.Errorf("drop groups: %w", err)
	}
	if err := syscall.Setresgid(nobody, nobody, nobody); err != nil {
		return fmt.Errorf("set group %d: %w", nobody, err)
	}
	if err := syscall.Setresuid(nobody, nobody, nobody); err != nil {
		return fmt.Errorf("set user %d: %w", nobody, err)
	}
	return nil
}

// dropCapabilities matters for a daemon that is not root but has ambient
// capabilities, as systemd gives them: its children inherit those.
func dropCapabilities() error {
	if _, _, e := psx.Syscall6(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0, 0); e != 0 {
		return fmt.Errorf("clear ambient capabilities: %w", e)
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if _, _, e := psx.Syscall3(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&hdr)), uintptr(unsafe.Pointer(&data[0])), 0); e != 0 {
		return fmt.Errorf("drop capabilities: %w", e)
	}
	return nil
}
