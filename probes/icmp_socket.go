// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// icmpReceiveBuffer holds the replies of some 10,000 requests that went out
	// together.
	icmpReceiveBuffer = 8 << 20
	// icmpSendBuffer has room for the requests to neighbours that do not answer: the
	// kernel holds them for 3 s each, and those to others must not wait for that.
	icmpSendBuffer = 64 << 20
	icmpBatch      = 32  // messages per system call
	icmpMessage    = 256 // bytes of a message that are read: more than headers and cookie need
	icmpControl    = 128
)

// An icmpSocket sends echo requests and receives what is about them: on a raw
// socket, or where that is not permitted on one of the kernel's ping sockets.
type icmpSocket struct {
	file *os.File
	conn syscall.RawConn
	fd   int
	v6   bool
	raw  bool
	id   uint16
}

// errPingDenied says that the kernel gives neither kind of socket.
var errPingDenied = errors.New("not permitted: give the process CAP_NET_RAW, or put its group into sysctl net.ipv4.ping_group_range")

// openICMP opens a socket of one family that leaves this machine the given way.
func openICMP(w way, v6 bool) (*icmpSocket, error) {
	s := &icmpSocket{v6: v6, fd: -1}
	err := w.inside(func() error { return s.open(w) })
	if err != nil {
		if s.fd >= 0 {
			_ = unix.Close(s.fd)
		}
		return nil, err
	}
	s.file = os.NewFile(uintptr(s.fd), "icmp")
	if s.conn, err = s.file.SyscallConn(); err != nil {
		return nil, errors.Join(err, s.file.Close())
	}
	return s, nil
}

func (s *icmpSocket) open(w way) error {
	family, protocol := unix.AF_INET, unix.IPPROTO_ICMP
	if s.v6 {
		family, protocol = unix.AF_INET6, unix.IPPROTO_ICMPV6
	}
	var err error
	const flags = unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK
	s.raw = true
	s.fd, err = unix.Socket(family, unix.SOCK_RAW|flags, protocol)
	if errors.Is(err, os.ErrPermission) {
		s.raw = false
		s.fd, err = unix.Socket(family, unix.SOCK_DGRAM|flags, protocol)
	}
	switch {
	case errors.Is(err, os.ErrPermission):
		return errPingDenied
	case err != nil:
		return fmt.Errorf("open socket: %w", err)
	}
	if err := w.setOptions(s.fd); err != nil {
		return err
	}
	s.enlarge()
	if err := s.bind(w); err != nil {
		return err
	}
	if s.raw {
		s.id = uint16(rand.Uint32())
		return s.filter()
	}
	return s.hearErrors()
}

// enlarge makes the buffers as large as we may. It also asks for the time at which
// the kernel received each message, so that we may be late to read it. Without
// either, pings work less well.
func (s *icmpSocket) enlarge() {
	for _, o := range []struct{ force, plain, size int }{
		{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, icmpReceiveBuffer},
		{unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, icmpSendBuffer},
	} {
		if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, o.force, o.size) != nil {
			_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, o.plain, o.size)
		}
	}
	_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
}

// bind binds the socket to a source address, if there is one. A ping socket has an
// identifier from then on.
func (s *icmpSocket) bind(w way) error {
	source := w.Source
	var local unix.Sockaddr = &unix.SockaddrInet4{}
	switch {
	case s.v6 && source.IsValid():
		zone, err := zoneOf(source)
		if err != nil {
			return err
		}
		local = &unix.SockaddrInet6{Addr: source.As16(), ZoneId: zone}
	case s.v6:
		local = &unix.SockaddrInet6{}
	case source.IsValid():
		local = &unix.SockaddrInet4{Addr: source.Unmap().As4()}
	}
	if source.IsValid() || !s.raw {
		if err := unix.Bind(s.fd, local); err != nil {
			return w.blame(os.NewSyscallError("bind", err))
		}
	}
	if s.raw {
		return nil
	}
	name, err := unix.Getsockname(s.fd)
	switch a := name.(type) {
	case *unix.SockaddrInet4:
		s.id = uint16(a.Port)
	case *unix.SockaddrInet6:
		s.id = uint16(a.Port)
	}
	return err
}

// hearErrors has a ping socket tell of ICMP errors. A raw one receives them.
func (s *icmpSocket) hearErrors() error {
	level, option := unix.IPPROTO_IP, unix.IP_RECVERR
	if s.v6 {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_RECVERR
	}
	return unix.SetsockoptInt(s.fd, level, option, 1)
}

// send sends a message once. It does not wait: EAGAIN and ENOBUFS mean that there is
// no room now. An error of another request that a ping socket hands out here is not
// ours, so it is asked again.
func (s *icmpSocket) send(b []byte, to unix.Sockaddr) error {
	const others = 8
	for try := 0; ; try++ {
		err := unix.Sendto(s.fd, b, 0, to)
		if err == nil || errors.Is(err, unix.EINTR) {
			if err == nil {
				return nil
			}
			continue
		}
		if s.raw || try == others {
			return err
		}
	}
}

// A received is one message: what it says, whom it came from, and when.
type received struct {
	echo echo
	from netip.Addr
	age  time.Duration // since the kernel received it
}

// receive calls take with each message until the socket is closed.
func (s *icmpSocket) receive(take func([]received)) {
	b := icmpBatches.Get().(*icmpBatchBuffers)
	defer icmpBatches.Put(b)
	var list []received
	for {
		var errno syscall.Errno
		var n int
		err := s.conn.Read(func(fd uintptr) bool {
			list = list[:0]
			if !s.raw {
				list = s.errors(int(fd), b, list)
			}
			n, errno = b.receive(int(fd))
			return errno != unix.EAGAIN || len(list) > 0
		})
		if err != nil {
			return
		}
		now := time.Now()
		if errno == 0 {
			for i := range n {
				if m, ok := s.read(b, i, now); ok {
					list = append(list, m)
				}
			}
		}
		take(list)
	}
}

// read reads the i-th message of a batch.
func (s *icmpSocket) read(b *icmpBatchBuffers, i int, now time.Time) (m received, ok bool) {
	data := b.data[i][:min(int(b.headers[i].n), icmpMessage)]
	if s.raw && !s.v6 {
		size, ok := ip4HeaderLen(data)
		if !ok {
			return received{}, false
		}
		data = data[size:]
	}
	if m.echo, ok = readEcho(data, s.v6); !ok || m.echo.id != s.id {
		return received{}, false
	}
	m.from = b.sender(i)
	m.age = stampAge(b.control[i][:b.headers[i].Controllen], now)
	return m, true
}

// stampAge is how long ago the kernel received a message, by the clock on the wall:
// nothing that cannot be true is believed.
func stampAge(control []byte, now time.Time) time.Duration {
	for len(control) >= unix.SizeofCmsghdr {
		h, data, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			return 0
		}
		if h.Level == unix.SOL_SOCKET && h.Type == unix.SCM_TIMESTAMPNS && len(data) >= int(unsafe.Sizeof(unix.Timespec{})) {
			at := (*unix.Timespec)(unsafe.Pointer(&data[0]))
			age := now.Sub(time.Unix(at.Unix()))
			if age < 0 || age > time.Second {
				return 0
			}
			return age
		}
		control = rest
	}
	return 0
}

// errors reads what a ping socket keeps of ICMP errors, each with the request that
// it is about.
func (s *icmpSocket) errors(fd int, b *icmpBatchBuffers, list []received) []received {
	for range icmpBatch {
		n, size, _, to, err := unix.Recvmsg(fd, b.data[0][:], b.control[0][:], unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		if err != nil {
			return list
		}
		if m, ok := s.readError(b.data[0][:n], b.control[0][:size], to); ok {
			list = append(list, m)
		}
	}
	return list
}

// readError reads a struct sock_extended_err (linux/errqueue.h): errno, origin, type
// and code, and the address of who reports it.
func (s *icmpSocket) readError(request, control []byte, to unix.Sockaddr) (m received, ok bool) {
	const origin, kind, code, size = 4, 5, 6, 16
	if len(request) < echoHeader {
		return received{}, false
	}
	for len(control) >= unix.SizeofCmsghdr {
		h, data, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			return received{}, false
		}
		isError := h.Level == unix.IPPROTO_IP && h.Type == unix.IP_RECVERR || h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_RECVERR
		if isError && len(data) >= size && (data[origin] == unix.SO_EE_ORIGIN_ICMP || data[origin] == unix.SO_EE_ORIGIN_ICMP6) {
			m.echo = readRequest(request)
			m.echo.kind, m.echo.code = data[kind], data[code]
			m.echo.id = s.id // a request has its socket's only on the way out
			m.echo.to, m.from = addrOf(to), rawAddr(data[size:])
			return m, true
		}
		control = rest
	}
	return received{}, false
}

// addrOf is the address in a sockaddr, without a zone.
func addrOf(a unix.Sockaddr) netip.Addr {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(a.Addr)
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(a.Addr)
	}
	return netip.Addr{}
}
