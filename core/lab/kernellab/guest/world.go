// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// backends is how many backends a service has.
const backends = 16

// maxServices is how many VIPs the network has room for.
const maxServices = 60000

// The addresses of the lab. The VIPs are local to the balancer, as IPVS wants
// them, by the prefix of one address of the loopback.
var (
	clientNet  = netip.MustParsePrefix("10.16.0.1/12") // of the balancer; new connections come from 10.16.1.0 and up
	serverNet  = netip.MustParsePrefix("10.1.0.1/24")  // of the balancer
	vipNet     = netip.MustParsePrefix("10.2.0.1/16")
	firstVIP   = netip.MustParseAddr("10.2.1.0")
	firstBack  = netip.MustParseAddr("10.1.0.11")
	vipPort    = uint16(80)
	backPort   = uint16(8080)
	clientAddr = netip.MustParsePrefix("10.16.0.2/12") // of the client's link
	theClient  = netip.MustParseAddr("10.16.0.3")      // of the connection that is established
)

// plus is the n-th address after a.
func plus(a netip.Addr, n int) netip.Addr {
	b := a.As4()
	v := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	v += uint32(n)
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}

func vip(service int) netip.Addr     { return plus(firstVIP, service) }
func backendAddr(i int) netip.Addr   { return plus(firstBack, i) }
func serviceName(service int) string { return fmt.Sprintf("s%05d", service) }

// A world is three namespaces in a row, with nothing in them that is not needed:
//
//	client c0 ── b0 balancer b1 ── s0 server
//
// The client has an address and a route. The balancer holds the VIPs and knows
// all link addresses. The server has no address, so that its IP layer drops
// what arrives for want of a route, and answers nothing.
type world struct {
	client, balancer, server netns.NsHandle
	home                     netns.NsHandle
	b1                       net.HardwareAddr // link address of the balancer
}

func newWorld() (w *world, err error) {
	w = &world{}
	if w.home, err = netns.Get(); err != nil {
		return nil, err
	}
	for _, ns := range []*netns.NsHandle{&w.client, &w.balancer, &w.server} {
		if *ns, err = netns.New(); err == nil {
			err = quiet()
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("make namespace: %w", err), w.close())
		}
	}
	if err := w.in(w.balancer, w.wire); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

// quiet takes what is not to be measured out of a new namespace: IPv6's own
// traffic, and the software check of checksums, which in a real machine is the
// network card's work.
func quiet() error {
	return errors.Join(
		sysctl("ipv6/conf/all/disable_ipv6", "1"),
		sysctl("ipv6/conf/default/disable_ipv6", "1"),
		sysctl("netfilter/nf_conntrack_checksum", "0"),
	)
}

// wire makes the links and addresses; it runs in the balancer.
func (w *world) wire() error {
	c0, err := w.link("b0", "c0", w.client, clientNet)
	if err != nil {
		return err
	}
	s0, err := w.link("b1", "s0", w.server, serverNet)
	if err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := errors.Join(netlink.LinkSetUp(lo), addAddr(lo, vipNet), sysctl("ipv4/ip_forward", "1")); err != nil {
		return err
	}
	for i := range backends {
		if err := neighbour("b1", backendAddr(i), s0); err != nil {
			return err
		}
	}
	if err := neighbour("b0", theClient, c0); err != nil {
		return err
	}
	b0, err := linkAddr("b0")
	if err != nil {
		return err
	}
	if w.b1, err = linkAddr("b1"); err != nil {
		return err
	}
	return w.in(w.client, func() error { return wireClient(b0) })
}

func wireClient(b0 net.HardwareAddr) error {
	l, err := netlink.LinkByName("c0")
	if err != nil {
		return err
	}
	if err := errors.Join(addAddr(l, clientAddr), neighbour("c0", clientNet.Addr(), b0)); err != nil {
		return err
	}
	err = netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: clientNet.Addr().AsSlice()})
	if err != nil {
		return fmt.Errorf("add the client's route: %w", err)
	}
	return nil
}

// link makes a pair of links, gives this end an address, and returns the link
// address of the other.
func (w *world) link(name, peer string, ns netns.NsHandle, p netip.Prefix) (mac net.HardwareAddr, err error) {
	err = netlink.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: peer, PeerNamespace: netlink.NsFd(ns),
	})
	if err != nil {
		return nil, fmt.Errorf("add link %s: %w", name, err)
	}
	l, err := netlink.LinkByName(name)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(addAddr(l, p), netlink.LinkSetUp(l)); err != nil {
		return nil, err
	}
	err = w.in(ns, func() error {
		l, err := netlink.LinkByName(peer)
		if err != nil {
			return err
		}
		mac = l.Attrs().HardwareAddr
		return netlink.LinkSetUp(l)
	})
	return mac, err
}

func linkAddr(name string) (net.HardwareAddr, error) {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return nil, err
	}
	return l.Attrs().HardwareAddr, nil
}

// neighbour tells the link address of a neighbour once and for all.
func neighbour(link string, a netip.Addr, mac net.HardwareAddr) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	err = netlink.NeighSet(&netlink.Neigh{
		LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT, IP: a.AsSlice(), HardwareAddr: mac,
	})
	if err != nil {
		return fmt.Errorf("set neighbour %s: %w", a, err)
	}
	return nil
}

func addAddr(l netlink.Link, p netip.Prefix) error {
	a, err := netlink.ParseAddr(p.String())
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(l, a); err != nil {
		return fmt.Errorf("add address %s: %w", p, err)
	}
	return nil
}

// in runs f in a namespace, by this thread.
func (w *world) in(ns netns.NsHandle, f func() error) error {
	was, err := netns.Get()
	if err != nil {
		return err
	}
	defer was.Close()
	if err := netns.Set(ns); err != nil {
		return err
	}
	return errors.Join(f(), netns.Set(was))
}

// close leaves and drops the namespaces.
func (w *world) close() error {
	err := netns.Set(w.home)
	for _, ns := range []netns.NsHandle{w.client, w.balancer, w.server, w.home} {
		if ns > 0 {
			err = errors.Join(err, ns.Close())
		}
	}
	return err
}

func sysctl(name, value string) error {
	return os.WriteFile("/proc/sys/net/"+name, []byte(value), 0o644)
}

// tool runs a program in the balancer with that input.
func (w *world) tool(input string, argv ...string) error {
	return w.in(w.balancer, func() error {
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Stdin = strings.NewReader(input)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %.400s", strings.Join(argv, " "), err, out)
		}
		return nil
	})
}
