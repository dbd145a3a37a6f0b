// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core"
)

// A way is how a probe leaves this machine. Every socket of every probe is made
// through it: by dial or listen, or with control as the Control of a net.Dialer or
// net.ListenConfig. A way that cannot be taken gives a wayError.
type way core.Way

// dial connects once; there is no second address and no retry, so a failure is
// the backend's own. network is "tcp" or "udp".
func (w way) dial(ctx context.Context, network string, addr netip.AddrPort) (net.Conn, error) {
	return w.dialWith(ctx, network, addr, w.control())
}

// knock is dial for a connection that is closed as soon as the backend has answered,
// with nothing sent over it. The kernel keeps back the third packet of the handshake,
// and close sends a reset instead of it: the server's kernel forgets the attempt, so
// that the program behind it never hears of it, and nobody waits in TIME_WAIT.
func (w way) knock(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
	first := w.control()
	return w.dialWith(ctx, "tcp", addr, func(network, address string, c syscall.RawConn) error {
		if first != nil {
			if err := first(network, address, c); err != nil { // it may put another socket in the place
				return err
			}
		}
		// Where a kernel refuses one of these, the connection is an ordinary one.
		return c.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_TCP, unix.TCP_QUICKACK, 0)
			_ = unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		})
	})
}

// A socketControl is the Control of a net.Dialer or net.ListenConfig.
type socketControl = func(network, address string, c syscall.RawConn) error

func (w way) dialWith(ctx context.Context, network string, addr netip.AddrPort, control socketControl) (net.Conn, error) {
	d := net.Dialer{KeepAlive: -1, Control: control} // no connection of ours lives long enough
	if w.Source.IsValid() {
		if err := w.reaches(addr.Addr()); err != nil {
			return nil, err
		}
		local := netip.AddrPortFrom(w.Source, 0)
		d.LocalAddr = net.TCPAddrFromAddrPort(local)
		if network == "udp" {
			d.LocalAddr = net.UDPAddrFromAddrPort(local)
		}
	}
	conn, err := d.DialContext(ctx, network, addr.String())
	if err != nil {
		return nil, w.blame(err)
	}
	return conn, nil
}

// listen makes an unconnected UDP socket of the address family of to.
func (w way) listen(ctx context.Context, to netip.Addr) (*net.UDPConn, error) {
	network, local := "udp4", "0.0.0.0:0"
	if to.Is6() {
		network, local = "udp6", "[::]:0"
	}
	if w.Source.IsValid() {
		if err := w.reaches(to); err != nil {
			return nil, err
		}
		local = netip.AddrPortFrom(w.Source, 0).String()
	}
	conn, err := (&net.ListenConfig{Control: w.control()}).ListenPacket(ctx, network, local)
	if err != nil {
		return nil, w.blame(err)
	}
	return conn.(*net.UDPConn), nil
}

// reaches says when the source is of another address family than the backend.
func (w way) reaches(to netip.Addr) error {
	if w.Source.Is4() == to.Is4() {
		return nil
	}
	return wayErrorf("source %s and backend %s are not of one address family: leave source out, or give the families probes of their own", w.Source, to)
}

// control sets what has to be set before a socket is bound; nil if nothing has.
func (w way) control() socketControl {
	if w == (way{}) {
		return nil
	}
	return func(_, _ string, c syscall.RawConn) error {
		var set error
		err := c.Control(func(fd uintptr) {
			if set = w.move(int(fd)); set == nil {
				set = w.setOptions(int(fd))
			}
		})
		return errors.Join(err, set)
	}
}

// setOptions sets what the way asks of a socket that is in its namespace.
func (w way) setOptions(fd int) error {
	if w.Mark != 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(w.Mark)); err != nil {
			return w.badOption(err, "mark %#x", w.Mark)
		}
	}
	if w.Device != "" {
		if err := unix.BindToDevice(fd, w.Device); err != nil {
			return w.badOption(err, "device %s", w.Device)
		}
	}
	if kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err == nil && kind == unix.SOCK_STREAM && w.Source.IsValid() {
		// Else a source has 28,000 ports for all backends together, not for each. A
		// kernel without it (before 4.2) lives with that.
		_ = unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	}
	return nil
}

// move puts a socket of the way's namespace in the place of a fresh one of ours.
//
// A socket belongs to the namespace of the thread that made it, for good: its
// device, its source and its routes are looked up there whoever binds and connects
// it. So only the making takes place inside, and no thread is held while a
// connection waits for its answer. The socket is fresh in that nothing was done with it
// but the defaults of package net, and that the poller does not know it.
func (w way) move(fd int) error {
	if w.Netns == "" {
		return nil
	}
	var made [3]int
	for i, option := range [...]int{unix.SO_DOMAIN, unix.SO_TYPE, unix.SO_PROTOCOL} {
		v, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, option)
		if err != nil {
			return os.NewSyscallError("getsockopt", err)
		}
		made[i] = v
	}
	there := -1
	err := w.inside(func() (err error) {
		there, err = unix.Socket(made[0], made[1]|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, made[2])
		return os.NewSyscallError("socket", err)
	})
	if err != nil {
		return err
	}
	defer unix.Close(there) //nolint:errcheck // its twin is what counts
	if made[0] == unix.AF_INET6 {
		if only, err := unix.GetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_V6ONLY); err == nil {
			_ = unix.SetsockoptInt(there, unix.SOL_IPV6, unix.IPV6_V6ONLY, only) // as package net wants it
		}
	}
	return os.NewSyscallError("dup3", unix.Dup3(there, fd, unix.O_CLOEXEC))
}
