// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// threadNetns is the network namespace of the thread that looks.
const threadNetns = "/proc/thread-self/ns/net"

// A namespace asks the connection tracking of one network namespace, from any
// thread. Each request has a socket of its own, since the only way to end a
// listing early is to close it.
type namespace struct{ file *os.File }

// hereNamespace is that of the calling thread.
func hereNamespace() (*namespace, error) {
	f, err := os.Open(threadNetns)
	if err != nil {
		return nil, fmt.Errorf("open the network namespace: %w", err)
	}
	return &namespace{f}, nil
}

// socket opens a socket.
func (n *namespace) socket() (fd int, err error) {
	err = n.do(func() (err error) {
		fd, err = open()
		return err
	})
	if err != nil {
		return -1, err
	}
	return fd, nil
}

// do calls f in the namespace. It goes there and back, for which it needs
// CAP_SYS_ADMIN, only if the calling thread is elsewhere.
func (n *namespace) do(f func() error) error {
	runtime.LockOSThread()
	here, err := os.Open(threadNetns)
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open the network namespace: %w", err)
	}
	defer here.Close()
	if sameFile(here, n.file) {
		defer runtime.UnlockOSThread()
		return f()
	}
	if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter the network namespace: %w", err)
	}
	err = f()
	// A thread that cannot go home stays locked, and dies with its goroutine.
	if unix.Setns(int(here.Fd()), unix.CLONE_NEWNET) == nil {
		runtime.UnlockOSThread()
	}
	return err
}

func sameFile(a, b *os.File) bool {
	ai, err1 := a.Stat()
	bi, err2 := b.Stat()
	return err1 == nil && err2 == nil && os.SameFile(ai, bi)
}

// list calls visit with each connection that the filter lets through, until it
// returns false.
func (n *namespace) list(ctx context.Context, f filter, visit func(*message) bool) error {
	fd, err := n.socket()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := send(fd, f.dump()); err != nil {
		return fmt.Errorf("ask for the conntrack table: %w", err)
	}
	buf := make([]byte, dumpSize)
	for {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("read the conntrack table: %w", err)
		}
		size, err := receiveDump(fd, buf)
		if err != nil {
			return err
		}
		for part := buf[:size]; len(part) > 0; {
			m, rest, ok := next(part)
			if end, err := m.end(ok); end || err != nil {
				return err
			}
			if m.kind == listed && !visit(&m) {
				return nil
			}
			part = rest
		}
	}
}

// end reports whether a message of a dump is its last, and why it failed. ok is
// what next said.
func (m *message) end(ok bool) (end bool, err error) {
	switch {
	case !ok:
		return true, errors.New("read the conntrack table: broken message")
	case m.kind == failed:
		return true, fmt.Errorf("read the conntrack table: %w", m.errno)
	}
	return m.kind == done, nil
}

func send(fd int, req []byte) error {
	return unix.Sendto(fd, req, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
}
