// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// netnsDir is where `ip netns` keeps its namespaces.
const netnsDir = "/run/netns"

// setns is the system call; a test lets it fail.
var setns = unix.Setns

// inside runs f in the way's network namespace, on a thread that comes back or
// ends. f makes sockets, or starts a process that is to live there; it must not
// wait for the network, for it holds the thread. Its own error is returned as it is.
func (w way) inside(f func() error) error {
	if w.Netns == "" {
		return f()
	}
	there, err := os.Open(w.path())
	if err != nil {
		return w.badNetns(err)
	}
	defer there.Close() //nolint:errcheck // read only
	v := visit{there: int(there.Fd()), f: f}
	v.send()
	switch {
	case v.crash != nil:
		panic(v.crash) // in the goroutine of the run, where it is caught
	case v.refused != nil:
		return w.badNetns(v.refused)
	}
	return v.err
}

// A visit is one call of f in another namespace, and what came of it.
type visit struct {
	there   int // file descriptor of the namespace
	f       func() error
	refused error // why f was not called
	err     error // of f
	crash   any   // what f panicked with
}

// send makes the visit in a goroutine of its own and waits for it.
func (v *visit) send() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		v.make()
	}()
	<-done
}

// make calls f with the thread in the namespace. If the thread cannot come home, or f
// panics, the goroutine ends while it is locked to the thread, and Go ends the thread
// with it: nothing else ever runs on it.
//
// The first thread of a process cannot end, and what it sees is what /proc/self shows
// of the process. So it does not go: it waits for another one.
func (v *visit) make() {
	defer func() {
		if p := recover(); p != nil {
			v.crash = p
		}
	}()
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		v.send()
		runtime.UnlockOSThread()
		return
	}
	home, err := os.Open("/proc/thread-self/ns/net")
	if err == nil {
		defer home.Close() //nolint:errcheck // read only
		err = setns(v.there, unix.CLONE_NEWNET)
	}
	if err != nil {
		v.refused = err
		runtime.UnlockOSThread() // it is where it was
		return
	}
	v.err = v.f()
	if setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
		runtime.UnlockOSThread()
	}
}

// path is the file of the namespace.
func (w way) path() string {
	if strings.Contains(w.Netns, "/") {
		return w.Netns
	}
	return filepath.Join(netnsDir, w.Netns)
}

// badNetns says why the namespace cannot be entered.
func (w way) badNetns(err error) error {
	what := fmt.Sprintf("network namespace %s", w.Netns)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return wayErrorf("%s: no file %s: make it with `ip netns add`, or compare with `ip netns`", what, w.path())
	case errors.Is(err, syscall.EINVAL):
		return wayErrorf("%s: %s is not a network namespace: a name that was left behind goes away with `ip netns delete`", what, w.path())
	case errors.Is(err, fs.ErrPermission):
		return wayErrorf("%s: not permitted: give the process CAP_SYS_ADMIN, and the right to read %s", what, w.path())
	}
	return wayErrorf("%s: %v", what, cause(err))
}
