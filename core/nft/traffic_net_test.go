// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// A world is three network namespaces in a row: client, balancer, backends. The
// namespaces have no names, so nothing of them is left when the test ends,
// however it ends.
//
//	client 10.0.1.2 -- 10.0.1.1 balancer 10.0.2.1 -- 10.0.2.11, .12, .13 backends
//	                            VIPs 10.0.9.1, fd00:9::1
type world struct {
	t                          *testing.T
	client, balancer, backends netns.NsHandle
}

func newWorld(t *testing.T) *world {
	needKernel(t)
	w := &world{t: t, client: newNamespace(t), balancer: newNamespace(t), backends: newNamespace(t)}
	for _, ns := range []netns.NsHandle{w.client, w.balancer, w.backends} {
		// Without duplicate address detection the link-local addresses work at
		// once; neighbours would not be found for a second or two.
		w.in(ns, func() { w.sysctl("ipv6/conf/default/accept_dad", "0") })
	}
	w.in(w.balancer, func() {
		w.link("c", w.client, []string{"10.0.1.1/24", "fd00:1::1/64"}, []string{"10.0.1.2/24", "fd00:1::2/64"})
		w.link("s", w.backends, []string{"10.0.2.1/24", "fd00:2::1/64"},
			[]string{"10.0.2.11/24", "10.0.2.12/24", "10.0.2.13/24", "fd00:2::11/64", "fd00:2::12/64", "fd00:2::13/64"})
		w.up("lo", "10.0.9.1/32", "fd00:9::1/128")
		w.sysctl("ipv4/ip_forward", "1")
		w.sysctl("ipv6/conf/all/forwarding", "1")
	})
	w.in(w.client, func() { w.route("c1", "10.0.1.1", "fd00:1::1") })
	w.in(w.backends, func() { w.route("s1", "10.0.2.1", "fd00:2::1") })
	return w
}

// sysctl sets one of the thread's namespace.
func (w *world) sysctl(name, value string) {
	w.must(os.WriteFile("/proc/sys/net/"+name, []byte(value), 0o644))
}

func newNamespace(t *testing.T) netns.NsHandle {
	ch := make(chan netns.NsHandle, 1) // one answer
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with it
		h, err := netns.New()
		if err != nil {
			t.Error(err)
		}
		ch <- h
	}()
	h := <-ch
	t.Cleanup(func() { h.Close() })
	return h
}

// in runs f in a thread of that namespace and waits for it.
func (w *world) in(ns netns.NsHandle, f func()) {
	w.t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked, as above
		if err := netns.Set(ns); err != nil {
			w.t.Error(err)
			return
		}
		f()
	}()
	<-done
	if w.t.Failed() {
		w.t.FailNow()
	}
}

func (w *world) must(err error) {
	if err != nil {
		w.t.Helper()
		w.t.Error(err)
		runtime.Goexit()
	}
}

// link joins the thread's namespace to another by a pair of interfaces, NAME0
// here and NAME1 there.
func (w *world) link(name string, peer netns.NsHandle, here, there []string) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name + "0"
	w.must(netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: name + "1", PeerNamespace: netlink.NsFd(int(peer))}))
	w.up(name+"0", here...)
	w.in(peer, func() {
		w.up("lo")
		w.up(name+"1", there...)
	})
}

func (w *world) up(name string, addrs ...string) {
	l, err := netlink.LinkByName(name)
	w.must(err)
	w.must(netlink.LinkSetUp(l))
	for _, a := range addrs {
		addr, err := netlink.ParseAddr(a)
		w.must(err)
		addr.Flags = 0x2 // IFA_F_NODAD: the address is usable at once
		w.must(netlink.AddrAdd(l, addr))
	}
}

func (w *world) route(name string, gateways ...string) {
	l, err := netlink.LinkByName(name)
	w.must(err)
	for _, g := range gateways {
		w.must(netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: net.ParseIP(g)}))
	}
}

// serve answers on TCP and UDP at addr with a line "NAME CLIENT", where CLIENT
// is the address that it saw.
func (w *world) serve(ns netns.NsHandle, name, addr string) {
	w.in(ns, func() {
		l, err := net.Listen("tcp", addr)
		w.must(err)
		p, err := net.ListenPacket("udp", addr)
		w.must(err)
		w.t.Cleanup(func() { l.Close(); p.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				fmt.Fprintf(c, "%s %s", name, host(c.RemoteAddr()))
				c.Close()
			}
		}()
		go func() {
			var b [64]byte
			for {
				_, from, err := p.ReadFrom(b[:])
				if err != nil {
					return
				}
				_, _ = fmt.Fprintf(packetWriter{p, from}, "%s %s", name, host(from))
			}
		}()
	})
}

type packetWriter struct {
	net.PacketConn
	to net.Addr
}

func (w packetWriter) Write(b []byte) (int, error) { return w.WriteTo(b, w.to) }

func host(a net.Addr) string { return netip.MustParseAddrPort(a.String()).Addr().Unmap().String() }

// udpPort is the source port of the latest UDP question. Each has its own: to
// the kernel, the same two ports again are the same connection.
var udpPort atomic.Int32

// ask opens one connection and returns who answered and which client he saw.
func ask(network, addr string, timeout time.Duration) (name, client string, err error) {
	return askFrom(network, "", addr, timeout)
}

// askFrom asks from an address of the thread's namespace, or from any.
func askFrom(network, from, addr string, timeout time.Duration) (name, client string, err error) {
	d := net.Dialer{Timeout: timeout}
	switch {
	case network == "udp" && from == "":
		d.LocalAddr = &net.UDPAddr{Port: 10000 + int(udpPort.Add(1))}
	case network == "udp":
		d.LocalAddr = net.UDPAddrFromAddrPort(netip.MustParseAddrPort(from))
	case from != "":
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from))
	}
	c, err := d.DialContext(context.Background(), network, addr)
	if err != nil {
		return "", "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(timeout)); err != nil {
		return "", "", err
	}
	b := make([]byte, 64)
	n := 0
	if network == "udp" {
		if _, err := c.Write([]byte("?")); err != nil {
			return "", "", err
		}
		n, err = c.Read(b)
	} else {
		n, err = io.ReadFull(c, b)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = nil
		}
	}
	if err != nil {
		return "", "", err
	}
	_, err = fmt.Sscan(string(b[:n]), &name, &client)
	return name, client, err
}
