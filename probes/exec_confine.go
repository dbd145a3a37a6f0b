// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Limits of one process of a command. That on memory is on what it writes to
// (RLIMIT_DATA), not on addresses (RLIMIT_AS): runtimes such as Java's reserve many
// gigabytes that they never touch.
const (
	maxFiles = 256
	maxData  = 1 << 30
)

// commandMask is the umask of commands.
const commandMask = 0o077

// confineThread takes from the calling thread what a command must not have, for
// good; what is started from it inherits that. Only this thread changes: the rest
// of the daemon keeps what it has. The caller has locked the thread and never
// unlocks it. It returns what was done.
func confineThread(user identity) (string, error) {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return "", fmt.Errorf("set no_new_privs: %w", err)
	}
	did := []string{"no_new_privs"}
	if err := clearInheritable(); err != nil {
		return "", fmt.Errorf("clear inheritable capabilities: %w", err)
	}
	did = append(did, "no capabilities")
	switch err := dropBoundingSet(user.uid == 0); {
	case err == nil:
		did = append(did, "and none to get")
	case user.uid == 0:
		return "", fmt.Errorf("take its capabilities from root: %w: name another user", err)
	}
	// Of its own, so that umask is: threads share it otherwise. Where a filter of
	// system calls forbids that, the daemon's umask stays.
	if err := unix.Unshare(unix.CLONE_FS); err == nil {
		unix.Umask(commandMask)
		did = append(did, fmt.Sprintf("umask %03o", commandMask))
	}
	return strings.Join(did, ", "), nil
}

// clearInheritable leaves the thread its own capabilities, which it needs to become
// the user, and nothing to hand on. What is not inheritable is not ambient either, as
// systemd makes it for a daemon that is not root.
func clearInheritable() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	data[0].Inheritable, data[1].Inheritable = 0, 0
	return unix.Capset(&header, &data[0])
}

// dropBoundingSet keeps what root runs from having capabilities. It needs CAP_SETPCAP.
// For others CAP_NET_RAW is left, which no_new_privs keeps them from getting all the
// same: a file that is to have a capability and cannot have it is not run at all, and
// /bin/ping is one, which can do without.
func dropBoundingSet(root bool) error {
	for c := uintptr(0); c < 64; c++ {
		if c == unix.CAP_NET_RAW && !root {
			continue
		}
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if errors.Is(err, unix.EINVAL) {
			return nil // that was the last
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// limitProcess bounds what a process that has just begun may use, and says so. Go
// can set no limit between fork and exec, so a traced process, which its exec has
// stopped, gets them now and then goes its way. One that is not traced has begun
// already. Called by the thread that started it.
func limitProcess(pid int, user identity, timeout time.Duration, traced bool) string {
	said := "limits"
	if traced {
		_, _ = unix.Wait4(pid, nil, 0, nil)           // for it to stop; one that was killed is not there any more
		defer func() { _ = unix.PtraceDetach(pid) }() // the same
	} else {
		said += ", a little late"
	}
	cpu := uint64(math.Ceil(timeout.Seconds())) + 1
	limits := []execLimit{
		{unix.RLIMIT_CORE, unix.Rlimit{}},
		{unix.RLIMIT_NOFILE, unix.Rlimit{Cur: maxFiles, Max: maxFiles}},
		{unix.RLIMIT_DATA, unix.Rlimit{Cur: maxData, Max: maxData}},
		{unix.RLIMIT_CPU, unix.Rlimit{Cur: cpu, Max: cpu + 1}},
	}
	err := setLimits(pid, limits)
	if errors.Is(err, unix.EPERM) && user.stay == "" {
		err = asUser(user, func() error { return setLimits(pid, limits) })
	}
	if err != nil {
		return fmt.Sprintf("no limits (%v)", err)
	}
	return fmt.Sprintf("%s: %d files, %d MiB of memory, %d s of CPU time, no core file", said, maxFiles, maxData>>20, cpu)
}

// An execLimit is one of setrlimit(2).
type execLimit struct {
	which int
	value unix.Rlimit
}

func setLimits(pid int, limits []execLimit) error {
	for _, l := range limits {
		if err := unix.Prlimit(pid, l.which, &l.value, nil); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}

// asUser calls f with the real user and group of somebody else, on this thread alone.
// Without CAP_SYS_RESOURCE, which containers seldom have, that is who may limit a
// process of theirs. It is for some microseconds: as long as it lasts, a process of
// that user may send this thread a signal.
func asUser(user identity, f func() error) error {
	const same = ^uintptr(0)
	set := func(uid, gid uint32) error {
		if _, _, e := unix.RawSyscall(unix.SYS_SETRESGID, uintptr(gid), same, same); e != 0 {
			return e
		}
		if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), same, same); e != 0 {
			return e
		}
		return nil
	}
	if err := set(user.uid, user.gid); err != nil {
		return err
	}
	return errors.Join(f(), set(uint32(os.Geteuid()), uint32(os.Getegid())))
}
