// SPDX-License-Identifier: Apache-2.0

package conntrack_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/conntrack"
	"github.com/steelyard-lb/steelyard/core/lab"
	"github.com/steelyard-lb/steelyard/core/lab/labtest"
)

const (
	vipPort     = 80
	backendPort = 8080
	politely    = 'c' // the server closes
	rudely      = 'r' // the server resets
	name        = 'n' // the server says which it is: the last digit of b1, b2, …
)

// waitAtMost is for what comes soon, on a machine that has time.
const waitAtMost = 20 * time.Second

// A bench is a lab with rules that send the VIPs to one of the backends, the
// first one to begin with, and a TCP and UDP server on each.
type bench struct {
	*lab.Lab
	t testing.TB
}

func newBench(t testing.TB, backends int) *bench {
	b := &bench{labtest.New(t, lab.Config{Backends: backends, IPv6: true}), t}
	b.nft(b.rules(0))
	for _, n := range b.Backends {
		b.serve(n, backendPort)
	}
	return b
}

func (b *bench) serve(n *lab.Node, port uint16) {
	b.t.Helper()
	ap := fmt.Sprintf("[::]:%d", port)
	ln, err := n.Listen("tcp", ap)
	if err != nil {
		b.t.Fatal(err)
	}
	who := n.Name[len(n.Name)-1]
	go serve(ln, who)
	pc, err := n.ListenPacket("udp", ap)
	if err != nil {
		b.t.Fatal(err)
	}
	go echo(pc, who)
	b.t.Cleanup(func() { ln.Close(); pc.Close() })
}

// rules are those of the VIPs. They replace the ones before.
func (b *bench) rules(backend int) string {
	to := b.Backends[backend]
	return fmt.Sprintf(`
		ip daddr %s meta l4proto { tcp, udp } th dport %d dnat ip to %s:%d
		ip6 daddr %s meta l4proto { tcp, udp } th dport %d dnat ip6 to [%s]:%d
	`, b.VIP4, vipPort, to.Addr4, backendPort, b.VIP6, vipPort, to.Addr6, backendPort)
}

// nft replaces the rules of the balancer.
func (b *bench) nft(rules string) {
	b.t.Helper()
	err := b.Balancer.Do(func() error {
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader("table inet test\ndelete table inet test\ntable inet test {\n" +
			"chain pre {\ntype nat hook prerouting priority dstnat;\n" + rules + "}\n}\n")
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// serve reads bytes from each connection, which say what to do.
func serve(ln net.Listener, who byte) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			how := make([]byte, 1)
			for {
				if _, err := io.ReadFull(c, how); err != nil {
					return
				}
				switch how[0] {
				case name:
					_, _ = c.Write([]byte{who})
				case rudely:
					_ = c.(*net.TCPConn).SetLinger(0)
					return
				default:
					return
				}
			}
		}()
	}
}

func echo(pc net.PacketConn, who byte) {
	buf := make([]byte, 64)
	for {
		_, from, err := pc.ReadFrom(buf)
		if err != nil {
			return
		}
		_, _ = pc.WriteTo([]byte{who}, from)
	}
}

func (b *bench) dial(network string, vip netip.Addr) net.Conn {
	b.t.Helper()
	return b.dialPort(network, netip.AddrPortFrom(vip, vipPort))
}

func (b *bench) dialPort(network string, to netip.AddrPort) net.Conn {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), waitAtMost)
	defer cancel()
	c, err := b.Client.DialContext(ctx, network, to.String())
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { c.Close() })
	return c
}

// end has the server end a TCP connection, and waits until it did.
func (b *bench) end(c net.Conn, how byte) {
	b.t.Helper()
	_ = c.SetDeadline(time.Now().Add(waitAtMost))
	if _, err := c.Write([]byte{how}); err != nil {
		b.t.Error(err)
	}
	_, _ = c.Read(make([]byte, 1))
	_ = c.Close()
}

// watched is the first backend behind a VIP, under an id.
func (b *bench) watched(id core.BackendID, p core.Protocol, vip, backend netip.Addr) conntrack.Watched {
	return conntrack.Watched{
		ID:        id,
		Frontends: []core.Frontend{core.ExactFrontend(netip.AddrPortFrom(vip, vipPort), p)},
		Addrs:     []netip.AddrPort{netip.AddrPortFrom(backend, backendPort)},
		Live:      true,
	}
}

var (
	tcp4 = core.BackendID{Service: "tcp4", Backend: "b1"}
	tcp6 = core.BackendID{Service: "tcp6", Backend: "b1"}
	udp4 = core.BackendID{Service: "udp4", Backend: "b1"}
	udp6 = core.BackendID{Service: "udp6", Backend: "b1"}
)

// open opens a reader in the balancer that watches every service of the bench.
func (b *bench) open(cfg conntrack.Config) *conntrack.Reader {
	b.t.Helper()
	var r *conntrack.Reader
	err := b.Balancer.Do(func() (err error) {
		r, err = conntrack.New(cfg)
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	a4, a6 := b.Backends[0].Addr4, b.Backends[0].Addr6
	r.Watch([]conntrack.Watched{
		b.watched(tcp4, core.TCP, b.VIP4, a4), b.watched(tcp6, core.TCP, b.VIP6, a6),
		b.watched(udp4, core.UDP, b.VIP4, a4), b.watched(udp6, core.UDP, b.VIP6, a6),
	})
	return r
}

// run runs the reader until the test is over, and waits until it is ready.
func (b *bench) run(r *conntrack.Reader) {
	b.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	b.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			b.t.Errorf("run: %v", err)
		}
	})
	select {
	case <-r.Ready():
	case err := <-ended:
		ended <- err
		b.t.Fatalf("run ended: %v", err)
	case <-time.After(waitAtMost):
		b.t.Fatal("the reader did not get ready")
	}
}

func (b *bench) follow(cfg conntrack.Config) *conntrack.Reader {
	b.t.Helper()
	r := b.open(cfg)
	b.run(r)
	return r
}

// await waits for the counts of one backend.
func await(t testing.TB, r *conntrack.Reader, id core.BackendID, want core.FlowCount) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(waitAtMost); ; <-tick.C {
		got, known := r.Counts()[id]
		if known && got == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: got %+v (known %t), want %+v; reader %+v", id, got, known, want, r.Stats())
		}
	}
}
