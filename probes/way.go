// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core"
)

// A way is how a probe leaves this machine. Every socket of every probe is made
// through it.
type way core.Way

// dial connects once; there is no second address and no retry, so a failure is
// the backend's own. network is "tcp" or "udp".
func (w way) dial(ctx context.Context, network string, addr netip.AddrPort) (net.Conn, error) {
	d := net.Dialer{KeepAlive: -1, Control: w.control()} // no connection of ours lives long enough
	if w.Source.IsValid() {
		local := netip.AddrPortFrom(w.Source, 0)
		d.LocalAddr = net.TCPAddrFromAddrPort(local)
		if network == "udp" {
			d.LocalAddr = net.UDPAddrFromAddrPort(local)
		}
	}
	var conn net.Conn
	err := w.inside(func() (err error) {
		conn, err = d.DialContext(ctx, network, addr.String())
		return err
	})
	return conn, err
}

// listen makes an unconnected UDP socket of the address family of to.
func (w way) listen(ctx context.Context, to netip.Addr) (*net.UDPConn, error) {
	network, local := "udp4", "0.0.0.0:0"
	if to.Is6() {
		network, local = "udp6", "[::]:0"
	}
	if w.Source.IsValid() {
		local = netip.AddrPortFrom(w.Source, 0).String()
	}
	var conn net.PacketConn
	err := w.inside(func() (err error) {
		conn, err = (&net.ListenConfig{Control: w.control()}).ListenPacket(ctx, network, local)
		return err
	})
	if err != nil {
		return nil, err
	}
	return conn.(*net.UDPConn), nil
}

// control sets what has to be set before a socket is used; nil if nothing has.
func (w way) control() func(network, address string, c syscall.RawConn) error {
	if w.Device == "" && w.Mark == 0 {
		return nil
	}
	return func(_, _ string, c syscall.RawConn) error {
		var set error
		err := c.Control(func(fd uintptr) { set = w.setOptions(int(fd)) })
		return errors.Join(err, set)
	}
}

// setOptions sets device and mark of a socket.
func (w way) setOptions(fd int) error {
	if w.Mark != 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(w.Mark)); err != nil {
			return fmt.Errorf("set mark %#x: %w", w.Mark, err)
		}
	}
	if w.Device != "" {
		if err := unix.BindToDevice(fd, w.Device); err != nil {
			return fmt.Errorf("bind to device %s: %w", w.Device, err)
		}
	}
	return nil
}

// inside runs f in the way's network namespace. A socket stays in the namespace
// that it was made in.
func (w way) inside(f func() error) error {
	if w.Netns == "" {
		return f()
	}
	path := w.Netns
	if !strings.Contains(path, "/") {
		path = filepath.Join("/run/netns", path)
	}
	there, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("network namespace %s: %w", w.Netns, cause(err))
	}
	defer there.Close() //nolint:errcheck // read only
	runtime.LockOSThread()
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer here.Close() //nolint:errcheck // read only
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("network namespace %s: %w", w.Netns, err)
	}
	err = f()
	// A thread that does not come back stays locked, and ends with its goroutine.
	if back := unix.Setns(int(here.Fd()), unix.CLONE_NEWNET); back != nil {
		return errors.Join(err, fmt.Errorf("leave network namespace %s: %w", w.Netns, back))
	}
	runtime.UnlockOSThread()
	return err
}
