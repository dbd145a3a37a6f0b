// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"bufio"
	"context"
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A backend whose link address is not known gets nothing: nftlb writes zeroes for
// it, and its flows are lost. One whose address changes keeps its flows.
func TestLinkAddressChanges(t *testing.T) {
	t.Parallel()
	w := newLinkWorld(t)
	p := w.plan(core.DSR, time.Minute)
	for i := range p.Services {
		p.Services[i].Backends[2].Hop = core.Hop{}
	}
	w.sync(p)
	list := w.talks(p, 20)
	for _, c := range list {
		if c.backend == "b3\n" {
			t.Fatal("a backend without a link address got a flow")
		}
	}
	p = w.reweight(p, 1, 5, 1) // some flows of b1 are remembered
	hold(t, list)
	w.in(w.backends[0], func() {
		l := w.linkNamed("s11")
		w.must(netlink.LinkSetHardwareAddr(l, net.HardwareAddr{2, 0, 0, 0, 0, 0x77}))
	})
	for i := range p.Services {
		p.Services[i].Backends[0].Hop = w.hop(0)
	}
	w.sync(p)
	hold(t, list)
	for name, h := range w.a.known {
		for i, d := range h.deals {
			if d != nil && len(d.former) > 0 {
				t.Errorf("service %s: %v are still accepted", name, h.deals[i].former)
			}
		}
	}
}

// The flows of a dead backend are dealt anew at once, in the same transaction, and
// do not go back to it when it returns.
func TestLinkDeath(t *testing.T) {
	for _, f := range []core.Forwarding{core.DSR, core.Stateless} {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			w := newLinkWorld(t)
			p := w.plan(f, time.Minute)
			w.sync(p)
			list := w.talks(p, 20)
			w.reweight(p, 2, 1, 3) // so that some are remembered
			hold(t, list)
			dead := w.weighedDead(p)
			if _, err := w.a.Reweight(context.Background(), dead.Services); err != nil {
				t.Fatal(err)
			}
			for _, c := range list {
				name, err := c.say()
				switch {
				case c.backend != "b1\n" && (err != nil || name != c.backend):
					t.Errorf("a flow of %q, which lives: %q, %v", c.backend, name, err)
				case c.backend == "b1\n" && c.LocalAddr().Network() == "udp" && (err != nil || name == "b1\n"):
					t.Errorf("a flow of b1, which is dead: %q, %v", name, err)
				case c.backend == "b1\n" && c.LocalAddr().Network() == "tcp" && err == nil:
					t.Errorf("a connection of b1, which is dead: %q", name)
				}
				c.backend = name
			}
			w.reweight(p, 5, 1, 1) // it is back
			for _, c := range list {
				if c.LocalAddr().Network() == "udp" || c.backend != "" {
					if name, err := c.say(); err != nil || name != c.backend {
						t.Errorf("%s of %q: %q, %v", c.LocalAddr().Network(), c.backend, name, err)
					}
				}
			}
		})
	}
}

// weighedDead is a plan in which b1 has died.
func (w *linkWorld) weighedDead(p core.Plan) core.Plan {
	var out core.Plan
	for _, s := range p.Services {
		s = weighed(s, 0, 1, 1)
		s.Backends[0].Alive = false
		out.Services = append(out.Services, s)
	}
	return out
}

// A service without backends refuses, and drained ones take no new connections
// while their open ones go on.
func TestLinkEmpty(t *testing.T) {
	t.Parallel()
	w := newLinkWorld(t)
	var rejects bool
	w.in(w.balancer, func() { rejects = rejectsOnLink(t) })
	withLinkReject(t, rejects)
	p := w.plan(core.Stateless, time.Minute)
	w.sync(p)
	list := w.talks(p, 5)
	w.reweight(p, 0, 0, 0)
	hold(t, list)
	w.in(w.client, func() {
		for _, vip := range []string{"10.0.9.1:80", "[fd00:9::1]:80"} {
			if c, err := net.DialTimeout("tcp", vip, patience); err == nil {
				c.Close()
				t.Errorf("%s: a service without backends took a connection", vip)
			} else if !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("%s: %v: want connection refused", vip, err)
			}
		}
	})
	counts, err := w.a.Counters(context.Background())
	if err != nil || counts[core.CounterKey{Service: "tcp4"}].Refused == 0 {
		t.Errorf("counted %+v, %v: want refused ones", counts, err)
	}
}

// A datagram whose sender made no checksum has none afterwards: one that is mended
// from nothing would be wrong, and the backend would drop it.
func TestLinkDatagramWithoutChecksum(t *testing.T) {
	t.Parallel()
	w := newLinkWorld(t)
	w.sync(w.plan(core.Stateless, time.Minute))
	w.in(w.client, func() {
		d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
			cerr := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_NO_CHECK, 1) })
			return errors.Join(cerr, err)
		}}
		c, err := d.Dial("udp", "10.0.9.1:80")
		w.must(err)
		defer c.Close()
		k := &longTalk{Conn: c, r: bufio.NewReader(c)}
		if _, err := k.say(); err != nil {
			t.Error(err)
		}
	})
}
