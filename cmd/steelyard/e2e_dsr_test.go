// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core/lab"
)

// Forwarding without connection tracking: every packet is a choice, so a flow is
// kept by what the daemon makes of a re-weight, and nothing else.

// lines serves TCP and UDP at an address of a node: every line and every datagram
// is answered with the node's name.
func (r *rig) lines(n *lab.Node, addr string) {
	r.t.Helper()
	l, err := n.Listen("tcp", addr)
	if err != nil {
		r.t.Fatal(err)
	}
	p, err := n.ListenPacket("udp", addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _, _ = l.Close(), p.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for in := bufio.NewScanner(c); in.Scan(); {
					fmt.Fprintln(c, n.Name)
				}
			}()
		}
	}()
	go func() {
		for b := make([]byte, 64); ; {
			_, from, err := p.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = p.WriteTo([]byte(n.Name+"\n"), from)
		}
	}()
}

// A flow of the client's goes on: it says something now and then, and has to hear
// the backend that it began with.
type flow struct {
	net.Conn
	in      *bufio.Reader
	backend string
}

func (f *flow) say(patience time.Duration) error {
	_ = f.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintln(f, "?"); err != nil {
		return err
	}
	name, err := f.in.ReadString('\n')
	if f.backend == "" {
		f.backend = name
	}
	if err == nil && name != f.backend {
		err = fmt.Errorf("answer of %q", name)
	}
	return err
}

// flows opens n flows of both protocols to each address.
func (r *rig) flows(n int, addrs ...string) (list []*flow) {
	r.t.Helper()
	for _, addr := range addrs {
		for _, network := range []string{"tcp", "udp"} {
			for range n {
				c, err := r.lab.Client.DialContext(r.t.Context(), network, addr)
				if err != nil {
					r.t.Fatal(err)
				}
				r.t.Cleanup(func() { _ = c.Close() })
				f := &flow{Conn: c, in: bufio.NewReader(c)}
				if err := f.say(5 * time.Second); err != nil {
					r.t.Fatalf("a new %s flow to %s: %v", network, addr, err)
				}
				list = append(list, f)
			}
		}
	}
	return list
}

// atOnce opens flows of each kind and checks that they have both backends: those
// were up one after the other, and nobody's flows have to stay where they were.
func (r *rig) atOnce() []*flow {
	r.t.Helper()
	const n = 20 // all on one backend by chance: once in 500,000
	list := r.flows(n, r.vip4(80), r.vip6(80))
	for i := 0; i < len(list); i += n {
		by := map[string]int{}
		for _, f := range list[i : i+n] {
			by[strings.TrimSpace(f.backend)]++
		}
		if len(by) < 2 {
			r.t.Errorf("the first flows of %s to %v: %v", list[i].LocalAddr().Network(), list[i].RemoteAddr(), by)
		}
	}
	return list
}

// unbroken has every flow say something.
func (r *rig) unbroken(when string, list []*flow) {
	r.t.Helper()
	broken := 0
	for _, f := range list {
		if err := f.say(5 * time.Second); err != nil {
			broken++
			r.t.Errorf("%s: %s from %v to %v, of %q: %v", when, f.LocalAddr().Network(), f.LocalAddr(), f.RemoteAddr(), f.backend, err)
		}
		if broken == 5 {
			break
		}
	}
	if broken > 0 {
		r.t.FailNow()
	}
}

// shifted re-weights b1 of web by command, to and fro, while flows are open, kills
// the daemon in between, and checks that not one flow breaks. It returns the flows,
// with those that came in the meantime.
func (r *rig) shifted(list []*flow) []*flow {
	r.t.Helper()
	for i, weight := range []int{0, 500, 1, 300, 0, 50, 200} {
		out, code := r.steelyard("backend", "weight", "web/b1", strconv.Itoa(weight), "--author", "alice")
		if code != 0 {
			r.t.Fatalf("weight %d: exit code %d:\n%s", weight, code, out)
		}
		share := 100 * float64(weight) / float64(weight+100)
		r.untilShares("web", share, 100-share)
		r.unbroken(fmt.Sprintf("after weight %d", weight), list)
		list = append(list, r.flows(2, r.vip4(80), r.vip6(80))...)
		if i == 3 {
			r.kill()
			r.unbroken("without a daemon", list)
			r.start()
			r.until("the next daemon has the share of the one before", func() error {
				s, err := r.service("web")
				if err != nil {
					return err
				}
				// It has it from the table, which has 4,093 places.
				if got := 100 * s.Backends[0].Share; got < share-1 || got > share+1 {
					return fmt.Errorf("b1 has %.2f %%, want %.2f %%", got, share)
				}
				return nil
			})
			r.unbroken("after a kill", list)
		}
	}
	by := map[string]int{}
	for _, f := range list {
		by[strings.TrimSpace(f.backend)]++
	}
	if by["b1"] < 5 || by["b2"] < 5 {
		r.t.Errorf("flows by backend %v: too few of one for the test to mean anything", by)
	}
	r.t.Logf("%d flows by backend %v, 7 re-weights and a kill of the daemon, none broken", len(list), by)
	return list
}

// TestStateless re-weights a dual-stack service of both protocols while flows are
// open.
func TestStateless(t *testing.T) {
	r := newRig(t, 2)
	var backends strings.Builder
	for _, n := range r.lab.Backends {
		for _, addr := range []string{n.Addr4.String(), n.Addr6.String()} {
			r.lines(n, net.JoinHostPort(addr, "8080"))
		}
		fmt.Fprintf(&backends, "%s: {address: ['%s', '%s'], port: 8080}, ", n.Name, n.Addr4, n.Addr6)
	}
	r.write(fmt.Sprintf(`services:
  web: {vip: [%s, '%s'], port: 80, protocol: [tcp, udp], forwarding: stateless, interfaces: [client], policy: weighted, every: 200ms, probes: [alive], backends: {%s}}
`, r.lab.VIP4, r.lab.VIP6, backends.String()))
	r.start()
	r.untilShares("web", 50, 50)
	r.shifted(r.atOnce())
}

// newDSR is a rig whose backends have the VIPs on their loopback, and answer there,
// while the balancer has them not: it would take the answers that it routes for
// forged ones.
func newDSR(t *testing.T, backends int) *rig {
	r := newRig(t, backends)
	for _, vip := range [][]string{{r.lab.VIP4.String() + "/32"}, {r.lab.VIP6.String() + "/128", "nodad"}} {
		r.ip(r.lab.Balancer, "addr", "del", vip[0], "dev", "lo")
		for _, n := range r.lab.Backends {
			r.ip(n, append([]string{"addr", "add", "dev", "lo"}, vip...)...)
		}
	}
	for _, n := range r.lab.Backends {
		for key, value := range map[string]string{
			"net.ipv4.conf.all.arp_ignore": "1", "net.ipv4.conf.all.arp_announce": "2", // nobody asks b1 who has the VIP
			"net.ipv4.conf.eth0.arp_notify": "1", "net.ipv6.conf.eth0.ndisc_notify": "1", // a new link address is announced
		} {
			if err := n.Sysctl(key, value); err != nil {
				t.Fatal(err)
			}
		}
		for _, addr := range []string{r.vip4(80), r.vip6(80), r.vip4(81)} {
			r.lines(n, addr)
		}
	}
	return r
}

func (r *rig) ip(n *lab.Node, args ...string) {
	r.t.Helper()
	if _, err := n.Command(r.t.Context(), "ip", args...); err != nil {
		r.t.Fatal(err)
	}
}

// TestDSR has the daemon find the backends' link addresses by itself. It
// re-weights while flows are open; a backend that nobody has ever seen gets
// nothing, and show says why, until it is there; and one that gets another link
// address is followed.
func TestDSR(t *testing.T) {
	r := newDSR(t, 2)
	b1, b2 := r.lab.Backends[0], r.lab.Backends[1]
	const ghost = "198.51.100.99"
	r.write(fmt.Sprintf(`  served: {type: tcp, port: 80, interval: 200ms, timeout: 190ms, rise: 1, fall: 5}
services:
  web: {vip: [%[1]s, '%[2]s'], port: 80, protocol: [tcp, udp], forwarding: dsr, interfaces: [client], policy: weighted, every: 200ms, probes: [served],
    backends: {b1: {address: [%[3]s, '%[4]s']}, b2: {address: [%[5]s, '%[6]s']}}}
  lost: {vip: %[1]s, port: 81, protocol: [tcp, udp], forwarding: dsr, interfaces: [client], policy: weighted, every: 200ms, backends: {b1: {address: %[3]s}, ghost: {address: %[7]s}}}
`, r.lab.VIP4, r.lab.VIP6, b1.Addr4, b1.Addr6, b2.Addr4, b2.Addr6, ghost))
	r.start()
	r.untilShares("web", 50, 50)
	list := r.shifted(r.atOnce())

	t.Run("unknown", func(t *testing.T) {
		r.untilShares("lost", 100, 0)
		r.until("show says why the ghost gets nothing", func() error {
			out, _ := r.steelyard("show")
			for _, line := range strings.Split(out, "\n") {
				if strings.Contains(line, "ghost") && strings.Contains(line, "no link address of "+ghost) && strings.Contains(line, "ARP") {
					t.Log(line)
					return nil
				}
			}
			return errors.New(out)
		})
		for _, f := range r.flows(10, r.vip4(81)) {
			if f.backend != "b1\n" {
				t.Errorf("a flow of %q", f.backend)
			}
		}
		r.ip(b2, "addr", "add", ghost+"/24", "dev", "eth0")
		r.untilShares("lost", 50, 50)
		by := map[string]int{}
		for _, f := range r.flows(20, r.vip4(81)) {
			by[f.backend]++
		}
		if by["b1\n"] == 0 || by["b2\n"] == 0 {
			t.Errorf("40 flows, by backend %v", by)
		}
	})

	t.Run("changed", func(t *testing.T) {
		r.ip(b1, "link", "set", "eth0", "address", "02:00:00:00:00:77")
		r.until("packets follow the link address", func() error {
			var errs []error
			for _, f := range list {
				if f.backend == "b1\n" && f.LocalAddr().Network() == "udp" {
					errs = append(errs, f.say(time.Second))
				}
			}
			return errors.Join(errs...)
		})
		r.unbroken("after another link address", list)
		r.unbroken("after another link address, new flows", r.flows(10, r.vip4(80), r.vip6(80)))
		// Its probes may have failed until everybody knew.
		r.until("b1 serves after it got another link address", func() error {
			s, err := r.service("web")
			if err == nil && s.Backends[0].Slots == 0 {
				err = fmt.Errorf("it is %s (%s)", s.Backends[0].Health, s.Backends[0].Why)
			}
			return err
		})
	})
}
