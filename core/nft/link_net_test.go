// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// A linkWorld is a client, a balancer and three backends on a bridge, each with
// the services' addresses on its loopback. Their answers are routed by the
// balancer, and seen by none of its tables.
//
//	client 10.0.1.2 -- c0 balancer br0 10.0.2.1 -- 10.0.2.11, .12, .13
//	                   VIPs 10.0.9.1, fd00:9::1 at the backends
type linkWorld struct {
	*world
	backends [3]netns.NsHandle
	a        *Applier
}

func newLinkWorld(t *testing.T) *linkWorld {
	needKernel(t)
	w := &linkWorld{world: &world{t: t, client: newNamespace(t), balancer: newNamespace(t)}}
	for i := range w.backends {
		w.backends[i] = newNamespace(t)
		w.in(w.backends[i], func() { w.sysctl("ipv6/conf/default/accept_dad", "0") })
	}
	w.in(w.client, func() { w.sysctl("ipv6/conf/default/accept_dad", "0") })
	w.in(w.balancer, func() {
		w.sysctl("ipv6/conf/default/accept_dad", "0")
		w.link("c", w.client, []string{"10.0.1.1/24", "fd00:1::1/64"}, []string{"10.0.1.2/24", "fd00:1::2/64"})
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "br0"
		w.must(netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}))
		w.up("br0", "10.0.2.1/24", "fd00:2::1/64")
		for i, ns := range w.backends {
			n := i + 1
			w.link(fmt.Sprintf("s%d", n), ns, nil, []string{fmt.Sprintf("10.0.2.1%d/24", n), fmt.Sprintf("fd00:2::1%d/64", n)})
			w.must(netlink.LinkSetMaster(w.linkNamed(fmt.Sprintf("s%d0", n)), w.linkNamed("br0")))
			w.in(ns, func() {
				w.up("lo", "10.0.9.1/32", "fd00:9::1/128")
				w.route(fmt.Sprintf("s%d1", n), "10.0.2.1", "fd00:2::1")
			})
		}
		w.sysctl("ipv4/ip_forward", "1")
		w.sysctl("ipv6/conf/all/forwarding", "1")
		var err error
		w.a, err = Open(Config{})
		w.must(err)
	})
	t.Cleanup(func() { w.a.Close() })
	w.in(w.client, func() { w.route("c1", "10.0.1.1", "fd00:1::1") })
	for i, ns := range w.backends {
		for _, host := range []string{"10.0.9.1", "fd00:9::1", fmt.Sprintf("10.0.2.1%d", i+1), fmt.Sprintf("fd00:2::1%d", i+1)} {
			for _, port := range []string{"80", "8080"} {
				w.echo(ns, fmt.Sprintf("b%d", i+1), net.JoinHostPort(host, port))
			}
		}
	}
	return w
}

func (w *linkWorld) linkNamed(name string) netlink.Link {
	l, err := netlink.LinkByName(name)
	w.must(err)
	return l
}

// mac is a backend's link address, and own the balancer's on that link.
func (w *linkWorld) hop(i int) (h core.Hop) {
	w.in(w.backends[i], func() { copy(h.MAC[:], w.linkNamed(fmt.Sprintf("s%d1", i+1)).Attrs().HardwareAddr) })
	w.in(w.balancer, func() { copy(h.Own[:], w.linkNamed("br0").Attrs().HardwareAddr) })
	h.Device = "br0"
	return h
}

// echo answers every line, and every datagram, with its name.
func (w *world) echo(ns netns.NsHandle, name, addr string) {
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
				go func() {
					defer c.Close()
					for r := bufio.NewReader(c); ; {
						if _, err := r.ReadString('\n'); err != nil {
							return
						}
						fmt.Fprintln(c, name)
					}
				}()
			}
		}()
		go func() {
			var b [64]byte
			for {
				_, from, err := p.ReadFrom(b[:])
				if err != nil {
					return
				}
				fmt.Fprintln(packetWriter{p, from}, name)
			}
		}()
	})
}

// A longTalk is one flow of the client's that goes on.
type longTalk struct {
	net.Conn
	r       *bufio.Reader
	backend string
}

// say asks once more who is there.
func (c *longTalk) say() (string, error) {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintln(c, "?"); err != nil {
		return "", err
	}
	name, err := c.r.ReadString('\n')
	return name, err
}

// talks opens flows to each service of a plan.
func (w *linkWorld) talks(p core.Plan, each int) (list []*longTalk) {
	w.in(w.client, func() {
		for _, s := range p.Services {
			for range each {
				c, err := net.DialTimeout(string(s.First().Protocol), serviceAddr(s), patience)
				w.must(err)
				w.t.Cleanup(func() { c.Close() })
				k := &longTalk{Conn: c, r: bufio.NewReader(c)}
				k.backend, err = k.say()
				w.must(err)
				list = append(list, k)
			}
		}
	})
	return list
}

// hold has every flow say something, and counts those that are broken.
func hold(t *testing.T, list []*longTalk) (broken int) {
	t.Helper()
	for _, c := range list {
		if name, err := c.say(); err != nil || name != c.backend {
			broken++
			t.Errorf("%s from %v to %v: of %q, now %q, %v", c.LocalAddr().Network(), c.LocalAddr(), c.RemoteAddr(), c.backend, name, err)
		}
		if broken == 5 {
			t.FailNow()
		}
	}
	return broken
}

// linkPlan is services of both families and protocols that forward that way.
func (w *linkWorld) plan(f core.Forwarding, timeout time.Duration) core.Plan {
	var p core.Plan
	port := 8080
	if f == core.DSR {
		port = 0
	}
	for _, proto := range []core.Protocol{core.TCP, core.UDP} {
		for i, vip := range []string{"10.0.9.1:80", "[fd00:9::1]:80"} {
			s := core.ServicePlan{Name: fmt.Sprintf("%s%d", proto, 4+2*i), Traffic: &core.Traffic{
				Frontends: []core.Frontend{core.ExactFrontend(netip.MustParseAddrPort(vip), proto)}, Forwarding: f, OnEmpty: core.Reject,
				Interfaces: []string{"c0"}, FlowTimeout: timeout, HashKey: core.BySourcePort, Seed: 7, Distribution: core.Hash,
			}}
			for k := range 3 {
				addr := netip.MustParseAddr([]string{"10.0.2.11", "fd00:2::11"}[i])
				for range k {
					addr = addr.Next()
				}
				b := core.BackendPlan{Name: fmt.Sprintf("b%d", k+1), Addr: netip.AddrPortFrom(addr, uint16(port)), Alive: true, Forwarding: f}
				if f == core.DSR {
					b.Hop = w.hop(k)
				}
				s.Backends = append(s.Backends, b)
			}
			p.Services = append(p.Services, weighed(s, 3, 2, 1))
		}
	}
	return p
}

// weighed is s with slots in proportion to weights.
func weighed(s core.ServicePlan, weights ...uint32) core.ServicePlan {
	s.Backends = append([]core.BackendPlan(nil), s.Backends...)
	var sum, given uint32
	for _, n := range weights {
		sum += n
	}
	last := -1
	for i, n := range weights {
		s.Backends[i].Slots = 0
		if n > 0 {
			s.Backends[i].Slots = uint32(uint64(n) * core.Slots / uint64(sum))
			given += s.Backends[i].Slots
			last = i
		}
	}
	if last >= 0 {
		s.Backends[last].Slots += core.Slots - given
	}
	return s
}

func (w *linkWorld) sync(p core.Plan) {
	w.t.Helper()
	if _, refused, err := w.a.Sync(context.Background(), p); err != nil || len(refused) > 0 {
		w.t.Fatal(err, refused)
	}
}

func (w *linkWorld) reweight(p core.Plan, weights ...uint32) core.Plan {
	w.t.Helper()
	var list []core.ServicePlan
	for _, s := range p.Services {
		list = append(list, weighed(s, weights...))
	}
	if _, err := w.a.Reweight(context.Background(), list); err != nil {
		w.t.Fatal(err)
	}
	return core.Plan{Services: list}
}

// needLinkReject skips where the kernel cannot reject in the family netdev, as
// Debian's, which are built without: an empty service drops there, and the table
// differs by that.
func needLinkReject(t *testing.T) {
	t.Helper()
	withLinkReject(t, rejectsOnLink(t))
}

func withLinkReject(t *testing.T, rejects bool) {
	t.Helper()
	switch {
	case rejects:
	case inKernelLab():
		t.Skipf("Debian's kernel lacks %s", featureReject)
	default:
		giveUp(t, "this kernel lacks %s", featureReject)
	}
}

func rejectsOnLink(t *testing.T) bool {
	for _, f := range open(t, Config{}).Features() {
		if f.Name == featureReject {
			return f.Present
		}
	}
	return true
}

// needAllOf is needLinkReject for a plan that may need it.
func needAllOf(t *testing.T, p core.Plan) {
	t.Helper()
	for i := range p.Services {
		if !p.Services[i].Forwarding.Tracked() {
			needLinkReject(t)
		}
	}
}
