// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// A wayError says why a probe cannot leave this machine as it is configured to, and
// what to do about it. It is never the backend's fault, so the code of a run that
// ends with one is INTERNAL.
//
// It unwraps to nothing on purpose: to errors.Is it is no EPERM, no time-out and no
// missing route, so whoever sorts errors by their errno ends at what he does with an
// unknown one; and cause finds it inside the *net.OpError around it.
type wayError string

func (e wayError) Error() string { return string(e) }

func wayErrorf(format string, args ...any) error {
	return wayError(fmt.Sprintf(format, args...))
}

// blame makes a wayError of an error of package net whose cause is the source or this
// process.
func (w way) blame(err error) error {
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		return wayErrorf("%v: raise LimitNOFILE of the service (ulimit -n), or lower probing.concurrency", cause(err))
	}
	var call *os.SyscallError
	if !w.Source.IsValid() || !errors.As(err, &call) || call.Syscall != "bind" {
		return err
	}
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		return wayErrorf("source %s is not an address of %s: compare with `%s`", w.Source, w.place(), w.ip("-br address"))
	}
	return wayErrorf("bind to source %s in %s: %v", w.Source, w.place(), call.Err)
}

// badOption says why a socket did not take a device or a mark.
func (w way) badOption(err error, format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	switch {
	case errors.Is(err, syscall.ENODEV):
		return wayErrorf("%s is not in %s: compare with `%s`", what, w.place(), w.ip("-br link"))
	case errors.Is(err, syscall.EPERM):
		return wayErrorf("%s: not permitted: give the process CAP_NET_ADMIN", what)
	}
	return wayErrorf("%s: %v", what, err)
}

// place says for people where a way's addresses and devices are.
func (w way) place() string {
	if w.Netns != "" {
		return "network namespace " + w.Netns
	}
	return "this machine"
}

// ip is the command that shows something of the way's place.
func (w way) ip(show string) string {
	if w.Netns != "" && w.path() != w.Netns {
		return "ip -n " + w.Netns + " " + show
	}
	return "ip " + show
}
