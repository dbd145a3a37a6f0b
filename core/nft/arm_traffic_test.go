// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// An armWorld is one network with everything on it; the balancer has a single
// interface. One VIP is of that network, the other is routed to the balancer.
//
//	client .2   balancer .1   b1 .11   b2 .12      10.0.2.0/24, fd00:2::/64
//	            VIPs .100, 10.0.9.1
type armWorld struct {
	*world
	each [2]netns.NsHandle // of the backends
}

func newArmWorld(t *testing.T) *armWorld {
	needKernel(t)
	w := &armWorld{world: &world{t: t, client: newNamespace(t), balancer: newNamespace(t)}, each: [2]netns.NsHandle{newNamespace(t), newNamespace(t)}}
	wire := newNamespace(t)
	hosts := []struct {
		ns   netns.NsHandle
		name string
		host int
	}{{w.balancer, "l", 1}, {w.client, "c", 2}, {w.each[0], "a", 11}, {w.each[1], "b", 12}}
	for _, h := range hosts {
		w.in(h.ns, func() { w.sysctl("ipv6/conf/default/accept_dad", "0") })
	}
	w.in(wire, func() {
		w.sysctl("ipv6/conf/default/accept_dad", "0")
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "br0"
		w.must(netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}))
		w.up("br0")
		br, err := netlink.LinkByName("br0")
		w.must(err)
		for _, h := range hosts {
			w.link(h.name, h.ns, nil, []string{fmt.Sprintf("10.0.2.%d/24", h.host), fmt.Sprintf("fd00:2::%d/64", h.host)})
			port, err := netlink.LinkByName(h.name + "0")
			w.must(err)
			w.must(netlink.LinkSetMaster(port, br))
		}
	})
	for _, h := range hosts[1:] {
		w.in(h.ns, func() { w.route(h.name+"1", "10.0.2.1", "fd00:2::1") })
	}
	w.in(w.balancer, func() {
		w.up("l1", "10.0.2.100/32")
		// As VRRP does: an address that is not preferred is nobody's source.
		w.run("ip", "address", "add", "fd00:2::100/128", "dev", "l1", "preferred_lft", "0", "nodad")
		w.up("lo", "10.0.9.1/32", "fd00:9::1/128")
		w.sysctl("ipv4/ip_forward", "1")
		w.sysctl("ipv6/conf/all/forwarding", "1")
	})
	for i, ns := range w.each {
		for _, port := range []string{"8080", "8500"} {
			w.serve(ns, fmt.Sprintf("b%d", i+1), fmt.Sprintf("10.0.2.1%d:%s", i+1, port))
			w.serve(ns, fmt.Sprintf("b%d", i+1), fmt.Sprintf("[fd00:2::1%d]:%s", i+1, port))
		}
	}
	return w
}

// armService is dual-stack, and takes a range of ports if its backends keep the
// client's.
func armService(name string, first, last, port uint16, edit func(*core.Traffic)) core.ServicePlan {
	var s core.ServicePlan
	for i := range 2 {
		for _, addr := range []string{fmt.Sprintf("10.0.2.1%d:%d", i+1, port), fmt.Sprintf("[fd00:2::1%d]:%d", i+1, port)} {
			s.Backends = append(s.Backends, backend(fmt.Sprintf("b%d", i+1), addr, core.Slots/2))
		}
	}
	s.Name, s.Traffic = name, service(name, "10.0.2.100:1", core.TCP).Traffic
	s.Traffic.Frontends = nil
	for _, vip := range []string{"10.0.2.100", "10.0.9.1", "fd00:2::100", "fd00:9::1"} {
		for _, p := range []core.Protocol{core.TCP, core.UDP} {
			s.Traffic.Frontends = append(s.Traffic.Frontends, ports(vip, first, last, p))
		}
	}
	edit(s.Traffic)
	return s
}

// TestSingleArm asks a balancer that is on the network of its clients and backends,
// as a client, again and again, and as each of the backends, which may get itself.
// Without masquerade the answers go past the balancer, and the client, which never
// asked who answers, gets nowhere.
func TestSingleArm(t *testing.T) {
	w := newArmWorld(t)
	own := []netip.Prefix{netip.MustParsePrefix("10.0.2.0/24"), netip.MustParsePrefix("fd00:2::/64")}
	w.apply(plan(
		armService("arm", 80, 80, 8080, func(t *core.Traffic) { t.MasqueradeFor = own }),
		armService("bare", 81, 81, 8080, func(*core.Traffic) {}),
		armService("hairpin", 82, 82, 8080, func(t *core.Traffic) { t.Hairpin = true }),
		armService("range", 8000, 8999, 0, func(t *core.Traffic) { t.MasqueradeFor = own }),
	))
	for _, tt := range []struct {
		name string
		from []netns.NsHandle
		port string
	}{
		{"arm", []netns.NsHandle{w.client}, "80"},
		{"range", []netns.NsHandle{w.client, w.each[0]}, "8500"},
		{"hairpin", w.each[:], "82"},
	} {
		for _, vip := range []string{"10.0.2.100", "10.0.9.1", "fd00:2::100", "fd00:9::1"} {
			sees := map[bool]string{false: "10.0.2.1", true: "fd00:2::1"}[netip.MustParseAddr(vip).Is6()]
			for _, network := range []string{"tcp", "udp"} {
				got := map[string]int{}
				for _, ns := range tt.from {
					w.in(ns, func() {
						for range 20 {
							name, client, err := ask(network, net.JoinHostPort(vip, tt.port), patience)
							w.must(err)
							got[name+" "+client]++
						}
					})
				}
				if all := 20 * len(tt.from); got["b1 "+sees] == 0 || got["b2 "+sees] == 0 || got["b1 "+sees]+got["b2 "+sees] != all {
					t.Errorf("%s at %s over %s: %v: want b1 and b2, which see %s", tt.name, vip, network, got, sees)
				}
			}
		}
	}
	w.in(w.client, func() {
		for _, vip := range []string{"10.0.2.100", "fd00:2::100"} {
			if name, client, err := ask("tcp", net.JoinHostPort(vip, "81"), 300*time.Millisecond); !os.IsTimeout(err) {
				t.Errorf("without masquerade at %s: %s %s, %v: the test proves nothing", vip, name, client, err)
			}
		}
	})
}
