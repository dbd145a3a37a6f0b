// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The address plan: documentation prefixes, the same in every lab.
var (
	clientNet4  = netip.MustParsePrefix("192.0.2.0/24")
	clientNet6  = netip.MustParsePrefix("2001:db8:1::/64")
	backendNet4 = netip.MustParsePrefix("198.51.100.0/24")
	backendNet6 = netip.MustParsePrefix("2001:db8:2::/64")
	vip4        = netip.MustParseAddr("203.0.113.10")
	vip6        = netip.MustParseAddr("2001:db8:3::10")
)

const (
	gatewayHost  = 1  // the balancer, on both networks
	clientHost   = 2  // the client
	firstBackend = 10 // b1; b2 is the next
)

// host is the n-th address of a prefix, n at most 255.
func host(p netip.Prefix, n int) netip.Addr {
	b := p.Addr().AsSlice()
	b[len(b)-1] = byte(n)
	a, _ := netip.AddrFromSlice(b)
	return a
}

func (l *Lab) build(ctx context.Context, cfg Config) error {
	if err := os.MkdirAll(netnsDir, 0o755); err != nil {
		return err
	}
	var err error
	if l.Client, err = l.newNode("client"); err != nil {
		return err
	}
	if l.Balancer, err = l.newNode("lb"); err != nil {
		return err
	}
	for i := range cfg.Backends {
		n, err := l.newNode(fmt.Sprintf("b%d", i+1))
		if err != nil {
			return err
		}
		l.Backends = append(l.Backends, n)
	}
	if err := l.sysctls(); err != nil {
		return err
	}
	if err := l.linkBalancer(ctx); err != nil {
		return err
	}
	if err := l.settle(); err != nil {
		return err
	}
	l.VIP4 = vip4
	if l.ipv6 {
		l.VIP6 = vip6
	}
	return l.AddVIP(l.VIP4, l.VIP6)
}

// sysctls are set before there is a link, so that every link inherits them.
func (l *Lab) sysctls() error {
	for _, n := range l.Nodes() {
		set := [][2]string{
			// Without this an IPv6 address is useless for its first second.
			{"net.ipv6.conf.default.accept_dad", "0"},
			{"net.ipv6.conf.default.accept_ra", "0"},
		}
		switch n {
		case l.Balancer:
			set = append(set, [][2]string{
				{"net.ipv4.ip_forward", "1"},
				{"net.ipv6.conf.all.forwarding", "1"},
			}...)
		case l.Client:
			// A test opens many connections to one address and port.
			set = append(set, [2]string{"net.ipv4.ip_local_port_range", "1024 65535"})
		}
		for _, kv := range set {
			if err := n.Sysctl(kv[0], kv[1]); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

func (l *Lab) linkBalancer(ctx context.Context) error {
	lb, err := l.Balancer.handle()
	if err != nil {
		return err
	}
	defer lb.Close()
	if err := l.connect(lb, "client", l.Client, clientNet4, clientNet6, clientHost); err != nil {
		return err
	}
	if err := l.address(lb, "client", clientNet4, clientNet6, gatewayHost); err != nil {
		return err
	}
	l.Balancer.Addr4, l.Balancer.Addr6 = host(clientNet4, gatewayHost), l.addr6(clientNet6, gatewayHost)

	snoop := false // the bridge must flood neighbour discovery
	bridge := &netlink.Bridge{LinkAttrs: attrs("backends"), MulticastSnooping: &snoop}
	if err := lb.LinkAdd(bridge); err != nil {
		return fmt.Errorf("add bridge: %w", err)
	}
	for i, n := range l.Backends {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := l.connect(lb, n.Name, n, backendNet4, backendNet6, firstBackend+i); err != nil {
			return err
		}
		port, err := lb.LinkByName(n.Name)
		if err != nil {
			return fmt.Errorf("find link %s: %w", n.Name, err)
		}
		if err := lb.LinkSetMaster(port, bridge); err != nil {
			return fmt.Errorf("put link %s on the bridge: %w", n.Name, err)
		}
		if err := lb.LinkSetUp(port); err != nil {
			return fmt.Errorf("raise link %s: %w", n.Name, err)
		}
	}
	return l.address(lb, "backends", backendNet4, backendNet6, gatewayHost)
}

// settle goes from the leaves inward: a bridge is up once one of its ports is.
func (l *Lab) settle() error {
	ports := []string{"client"}
	for _, b := range l.Backends {
		ports = append(ports, b.Name)
		if err := b.settle("eth0"); err != nil {
			return err
		}
	}
	if err := l.Client.settle("eth0"); err != nil {
		return err
	}
	return l.Balancer.settle(append(ports, "backends")...)
}

// connect makes a veth pair: link in the balancer, eth0 in the node, which gets
// its address and its default routes.
func (l *Lab) connect(lb *netlink.Handle, link string, n *Node, net4, net6 netip.Prefix, num int) error {
	veth := &netlink.Veth{LinkAttrs: attrs(link), PeerName: "eth0", PeerNamespace: netlink.NsFd(n.ns)}
	if err := lb.LinkAdd(veth); err != nil {
		return fmt.Errorf("connect node %s: %w", n.Name, err)
	}
	h, err := n.handle()
	if err != nil {
		return err
	}
	defer h.Close()
	if err := l.address(h, "lo", netip.Prefix{}, netip.Prefix{}, 0); err != nil {
		return err
	}
	if err := l.address(h, "eth0", net4, net6, num); err != nil {
		return err
	}
	n.Addr4, n.Addr6 = host(net4, num), l.addr6(net6, num)
	gateways := []netip.Addr{host(net4, gatewayHost)}
	if l.ipv6 {
		gateways = append(gateways, host(net6, gatewayHost))
	}
	eth0, err := h.LinkByName("eth0")
	if err != nil {
		return fmt.Errorf("find eth0 of node %s: %w", n.Name, err)
	}
	for _, gw := range gateways {
		route := &netlink.Route{LinkIndex: eth0.Attrs().Index, Gw: gw.AsSlice(), Dst: everything(gw)}
		if err := h.RouteAdd(route); err != nil {
			return fmt.Errorf("route node %s through %s: %w", n.Name, gw, err)
		}
	}
	return nil
}

// address gives a link its addresses and raises it. An invalid prefix is none.
func (l *Lab) address(h *netlink.Handle, link string, net4, net6 netip.Prefix, num int) error {
	dev, err := h.LinkByName(link)
	if err != nil {
		return fmt.Errorf("find link %s: %w", link, err)
	}
	for _, p := range []netip.Prefix{net4, net6} {
		if !p.IsValid() || p.Addr().Is6() && !l.ipv6 {
			continue
		}
		if err := addAddr(h, dev, host(p, num), p.Bits()); err != nil {
			return err
		}
	}
	if err := h.LinkSetUp(dev); err != nil {
		return fmt.Errorf("raise link %s: %w", link, err)
	}
	return nil
}

// AddVIP puts more virtual addresses on the balancer. Zero addresses are
// skipped.
func (l *Lab) AddVIP(addrs ...netip.Addr) error {
	h, err := l.Balancer.handle()
	if err != nil {
		return err
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find link lo: %w", err)
	}
	if err := h.LinkSetUp(lo); err != nil {
		return fmt.Errorf("raise link lo: %w", err)
	}
	for _, a := range addrs {
		if !a.IsValid() {
			continue
		}
		if err := addAddr(h, lo, a, a.BitLen()); err != nil {
			return err
		}
	}
	return nil
}

func addAddr(h *netlink.Handle, dev netlink.Link, a netip.Addr, bits int) error {
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(bits, a.BitLen())}}
	if a.Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	if err := h.AddrAdd(dev, addr); err != nil {
		return fmt.Errorf("add address %s to %s: %w", a, dev.Attrs().Name, err)
	}
	return nil
}

func (l *Lab) addr6(p netip.Prefix, num int) netip.Addr {
	if !l.ipv6 {
		return netip.Addr{}
	}
	return host(p, num)
}

func attrs(name string) netlink.LinkAttrs {
	a := netlink.NewLinkAttrs()
	a.Name = name
	return a
}

func everything(family netip.Addr) *net.IPNet {
	n := family.BitLen() / 8
	return &net.IPNet{IP: make(net.IP, n), Mask: make(net.IPMask, n)}
}

// handle opens a routing socket inside the node.
func (n *Node) handle() (*netlink.Handle, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.ns.IsOpen() {
		return nil, fmt.Errorf("open netlink in node %s: the lab is closed", n.Name)
	}
	h, err := netlink.NewHandleAt(n.ns, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink in node %s: %w", n.Name, err)
	}
	return h, nil
}
