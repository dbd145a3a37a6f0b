// SPDX-License-Identifier: Apache-2.0

package neigh

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	// groups are the multicast groups whose events matter.
	groups = 1<<(unix.RTNLGRP_LINK-1) | 1<<(unix.RTNLGRP_NEIGH-1) |
		1<<(unix.RTNLGRP_IPV4_ROUTE-1) | 1<<(unix.RTNLGRP_IPV6_ROUTE-1) |
		1<<(unix.RTNLGRP_IPV4_RULE-1) | 1<<(unix.RTNLGRP_IPV6_RULE-1)

	eventBuffer = 8 << 20 // about 10,000 events
	// The answers to a batch of requests all wait in the receive buffer at once,
	// and take about 1 KiB there each.
	requestBatch  = 128
	requestBuffer = 1 << 20
	readSize      = 64 << 10
	dumpTries     = 10
)

// errLost says that the kernel had to drop events.
var errLost = errors.New("events were lost: the socket's buffer was full")

// A connection is one routing netlink socket; not safe for concurrent use.
type connection struct {
	conn *netlink.Conn
	raw  syscall.RawConn
	in   []byte
	out  []byte
	seq  uint32
}

// dial opens a socket in the network namespace of the calling thread.
func dial(groups uint32, buffer int) (*connection, error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{Groups: groups})
	if err != nil {
		return nil, fmt.Errorf("open routing socket: %w", err)
	}
	c := &connection{conn: conn, in: make([]byte, readSize), seq: 1}
	if c.raw, err = conn.SyscallConn(); err == nil {
		err = conn.SetReadBuffer(buffer)
	}
	if err == nil {
		// Keeps the kernel from sending each refused message back.
		err = conn.SetOption(netlink.CapAcknowledge, true)
	}
	if err != nil {
		return nil, fmt.Errorf("configure routing socket: %w", errors.Join(err, conn.Close()))
	}
	return c, nil
}

// receive reads one datagram, which is valid until the next call. Without wait
// it returns EAGAIN if there is none.
func (c *connection) receive(wait bool) ([]byte, error) {
	var n int
	var err error
	rerr := c.raw.Read(func(fd uintptr) bool {
		for {
			n, _, err = unix.Recvfrom(int(fd), c.in, unix.MSG_DONTWAIT)
			if !errors.Is(err, unix.EINTR) {
				return !wait || !errors.Is(err, unix.EAGAIN)
			}
		}
	})
	if err := errors.Join(rerr, err); err != nil {
		return nil, err
	}
	return c.in[:n], nil
}

// request sends what out holds, and calls each for every message that answers
// it. The kernel answers within the send, and prepares each further part of a
// dump within the read before it: there is nothing to wait for.
func (c *connection) request(first uint32, each func(m *message)) error {
	var err error
	werr := c.raw.Write(func(fd uintptr) bool {
		err = unix.Sendto(int(fd), c.out, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		return !errors.Is(err, unix.EAGAIN)
	})
	if err := errors.Join(werr, err); err != nil {
		return err
	}
	for {
		in, err := c.receive(false)
		if errors.Is(err, unix.EAGAIN) {
			return nil
		}
		if err != nil {
			return err
		}
		for rest := in; len(rest) > 0; {
			m, more, ok := next(rest)
			if !ok {
				return errors.New("broken message")
			}
			if m.seq-first < c.seq-first {
				each(&m)
			}
			rest = more
		}
	}
}
