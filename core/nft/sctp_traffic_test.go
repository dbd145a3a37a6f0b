// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// An sctpStack asks and answers over SCTP: the kernel's, or where it has none the
// one of sctpRaw.
type sctpStack interface {
	// serve answers each association with "NAME CLIENT".
	serve(w *world, ns netns.NsHandle, name, addr string)
	// ask opens an association from an address of the thread's namespace, hears
	// the answer, and closes it.
	ask(from netip.Addr, to netip.AddrPort) (answer string, err error)
}

func sctpOf(t *testing.T) sctpStack {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
	if err != nil {
		t.Logf("the kernel has no SCTP of its own (%v): the test brings one; the kernel lab's has", err)
		return sctpRaw{}
	}
	unix.Close(fd)
	return sctpKernel{}
}

// sctpPorts are the source ports in use so far. Each association has its own: to
// conntrack, the same two ports again are the same connection.
var sctpPorts atomic.Uint32

func sctpPort() uint16 { return uint16(20000 + sctpPorts.Add(1)) }

// sctpKernel is SCTP as applications have it.
type sctpKernel struct{}

// bound is a socket that is bound there. One that is not would tell its peer of
// all addresses that its host has.
func (sctpKernel) bound(at netip.AddrPort) (fd int, err error) {
	family := unix.AF_INET
	if at.Addr().Is6() {
		family = unix.AF_INET6
	}
	if fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP); err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := unix.Bind(fd, sockaddrOf(at)); err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("bind", err)
	}
	return fd, nil
}

func sockaddrOf(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is6() {
		return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	}
	return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
}

func (k sctpKernel) serve(w *world, ns netns.NsHandle, name, addr string) {
	w.in(ns, func() {
		fd, err := k.bound(netip.MustParseAddrPort(addr))
		w.must(err)
		w.must(unix.Listen(fd, 100))
		f := os.NewFile(uintptr(fd), "sctp")
		l, err := net.FileListener(f)
		f.Close()
		w.must(err)
		w.t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = fmt.Fprintf(c, "%s %s", name, host(c.RemoteAddr()))
				c.Close()
			}
		}()
	})
}

func (k sctpKernel) ask(from netip.Addr, to netip.AddrPort) (string, error) {
	fd, err := k.bound(netip.AddrPortFrom(from, sctpPort()))
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	wait := unix.NsecToTimeval(patience.Nanoseconds())
	for _, opt := range []int{unix.SO_SNDTIMEO, unix.SO_RCVTIMEO} {
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, opt, &wait); err != nil {
			return "", err
		}
	}
	if err := unix.Connect(fd, sockaddrOf(to)); err != nil {
		return "", os.NewSyscallError("connect", err)
	}
	b := make([]byte, 64)
	n, err := unix.Read(fd, b)
	return string(b[:max(n, 0)]), os.NewSyscallError("read", err)
}

// TestTrafficSCTP opens associations through services of both families, with
// another port and with the client's own, and with both forwardings. The shares
// must be the weights', before and after a re-weight; the backend must see who it
// should see; and the counters must have counted each one. That all checksums are
// right is the stack's affair: it drops what is not.
func TestTrafficSCTP(t *testing.T) {
	w, stack := newWorld(t), sctpOf(t)
	var v4, v6, kept []core.BackendPlan
	for i, slots := range []uint32{49152, 16384} {
		name := fmt.Sprintf("b%d", i+1)
		for _, port := range []string{"3868", "9900"} {
			stack.serve(w, w.backends, name, fmt.Sprintf("10.0.2.1%d:%s", i+1, port))
		}
		stack.serve(w, w.backends, name, fmt.Sprintf("[fd00:2::1%d]:3868", i+1))
		v4 = append(v4, backend(name, fmt.Sprintf("10.0.2.1%d:3868", i+1), slots))
		v6 = append(v6, backend(name, fmt.Sprintf("[fd00:2::1%d]:3868", i+1), slots))
		kept = append(kept, backend(name, fmt.Sprintf("10.0.2.1%d:0", i+1), slots))
	}
	ranged := service("kept", "10.0.9.1:9900", core.SCTP, kept...)
	ranged.Frontends[0].Ports = core.PortRange{First: 9000, Last: 9999}
	p := plan(ranged, forwarding(service("masq", "10.0.9.1:3870", core.SCTP, v4...), core.Masquerade),
		service("sctp4", "10.0.9.1:3869", core.SCTP, v4...), service("sctp6", "[fd00:9::1]:3869", core.SCTP, v6...))
	a := w.apply(p)

	at := map[string]string{"kept": "10.0.9.1:9900", "masq": "10.0.9.1:3870", "sctp4": "10.0.9.1:3869", "sctp6": "[fd00:9::1]:3869"}
	ask := func(s core.ServicePlan, times int) (got map[string]int) {
		got = map[string]int{}
		from := netip.MustParseAddr("10.0.1.2")
		if s.First().Addr().Is6() {
			from = netip.MustParseAddr("fd00:1::2")
		}
		w.in(w.client, func() {
			for range times {
				answer, err := stack.ask(from, netip.MustParseAddrPort(at[s.Name]))
				w.must(err)
				got[answer]++
			}
		})
		return got
	}
	const asked = 120
	for i, s := range p.Services {
		b1, b2 := "b1 "+seenClient(s), "b2 "+seenClient(s)
		want, five := asked*3/4, int(5*math.Sqrt(asked*3.0/16))
		if got := ask(s, asked); got[b1]+got[b2] != asked || got[b1] < want-five || got[b1] > want+five {
			t.Errorf("service %s: answers %v: want %s %d±%d times, the rest %s", s.Name, got, b1, want, five, b2)
		}
		p.Services[i].Backends = append([]core.BackendPlan(nil), s.Backends...)
		p.Services[i].Backends[0].Slots, p.Services[i].Backends[1].Slots = 0, core.Slots
	}
	if _, err := a.Reweight(t.Context(), p.Services); err != nil {
		t.Fatal(err)
	}
	counts, err := a.Counters(t.Context())
	for _, s := range p.Services {
		if got := counts[core.CounterKey{Service: s.Name}]; err != nil || got.Connections != asked || got.Refused != 0 {
			t.Errorf("service %s: counted %+v, %v: want %d connections", s.Name, got, err, asked)
		}
		if got := ask(s, 10); got["b2 "+seenClient(s)] != 10 {
			t.Errorf("service %s: answers %v after b1 lost its weight", s.Name, got)
		}
	}
}
