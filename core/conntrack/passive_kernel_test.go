// SPDX-License-Identifier: Apache-2.0

package conntrack_test

import (
	"context"
	"net"
	"net/netip"
	"os/exec"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/conntrack"
	"github.com/steelyard-lb/steelyard/core/lab"
)

// filter replaces what a node does with the SYNs that come to its server.
func (b *bench) filter(n *lab.Node, verdict string) {
	b.t.Helper()
	rules := "table inet f\ndelete table inet f\n"
	if verdict != "" {
		rules += "table inet f {\nchain in {\ntype filter hook input priority 0;\ntcp dport 8080 tcp flags & (syn | ack) == syn " + verdict + "\n}\n}\n"
	}
	err := n.Do(func() error {
		out, err := exec.Command("nft", rules).CombinedOutput()
		if err != nil {
			b.t.Logf("nft: %s", out)
		}
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// try connects, and gives up after a while: whatever comes of it is right.
func (b *bench) try(vip netip.Addr, patience time.Duration) {
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	if c, err := b.Client.DialContext(ctx, "tcp", netip.AddrPortFrom(vip, vipPort).String()); err == nil {
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}
}

// passively watches the first backend behind both VIPs.
func (b *bench) passively(cfg conntrack.Config) *conntrack.Reader {
	b.t.Helper()
	r := b.open(cfg)
	a4, a6 := b.Backends[0].Addr4, b.Backends[0].Addr6
	w4, w6 := b.watched(tcp4, core.TCP, b.VIP4, a4), b.watched(tcp6, core.TCP, b.VIP6, a6)
	w4.Live, w4.Passive, w6.Passive = false, true, true
	r.Watch([]conntrack.Watched{w4, w6, b.watched(udp4, core.UDP, b.VIP4, a4)})
	b.run(r)
	return r
}

// signals are the passive part of the counts.
func signals(c core.FlowCount) core.FlowCount {
	c.Open, c.Opened, c.Closed = 0, 0, 0
	return c
}

// awaitSignals is await for the passive part only: how the client ends what it
// gave up is its own affair.
func awaitSignals(t testing.TB, r *conntrack.Reader, id core.BackendID, want core.FlowCount) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	var got core.FlowCount
	for deadline := time.Now().Add(waitAtMost); time.Now().Before(deadline); <-tick.C {
		if got = signals(r.Counts()[id]); got == want {
			return
		}
	}
	t.Fatalf("%s: got %+v, want %+v; reader %+v", id, got, want, r.Stats())
}

// TestPassiveInTheKernel is what the kernel itself says of connections that are
// refused, dropped and answered, for both families.
func TestPassiveInTheKernel(t *testing.T) {
	b := newBench(t, 1)
	r := b.passively(conntrack.Config{})
	ids := []struct {
		id  core.BackendID
		vip netip.Addr
	}{{tcp4, b.VIP4}, {tcp6, b.VIP6}}
	all := func(patience time.Duration, times int, want core.FlowCount) {
		t.Helper()
		for _, x := range ids {
			for range times {
				b.try(x.vip, patience)
			}
		}
		for _, x := range ids {
			awaitSignals(t, r, x.id, want)
		}
	}
	all(waitAtMost, 3, core.FlowCount{})

	b.filter(b.Backends[0], "reject with tcp reset")
	all(waitAtMost, 3, core.FlowCount{Refused: 3, RefusedRow: 3})
	b.filter(b.Backends[0], "drop")
	all(50*time.Millisecond, 2, core.FlowCount{Refused: 3, RefusedRow: 3, Unanswered: 2, UnansweredRow: 2})
	b.filter(b.Backends[0], "reject with icmpx port-unreachable")
	all(50*time.Millisecond, 1, core.FlowCount{Refused: 3, RefusedRow: 3, Unanswered: 3, UnansweredRow: 3})
	b.filter(b.Backends[0], "")
	all(waitAtMost, 1, core.FlowCount{Refused: 3, Unanswered: 3})
}

// A SYN that is answered only after it was sent again was answered.
func TestPassiveSentAgain(t *testing.T) {
	b := newBench(t, 1)
	r := b.passively(conntrack.Config{})
	b.filter(b.Backends[0], "limit rate 1/hour burst 1 packets drop") // of each client, the first
	b.try(b.VIP4, waitAtMost)
	b.filter(b.Backends[0], "reject with tcp reset") // as a mark in time
	b.try(b.VIP4, waitAtMost)
	awaitSignals(t, r, tcp4, core.FlowCount{Refused: 1, RefusedRow: 1})
	if c := r.Counts()[tcp4]; c.Opened != 2 {
		t.Errorf("%+v, want two connections", c)
	}
}

// TestPassiveDeadHost sends clients to an address that nobody has.
func TestPassiveDeadHost(t *testing.T) {
	b := newBench(t, 1)
	dead := b.Backends[0].Addr4.Next().Next().Next()
	r := b.open(conntrack.Config{})
	w := b.watched(tcp4, core.TCP, b.VIP4, dead)
	w.Passive = true
	r.Watch([]conntrack.Watched{w})
	b.run(r)
	b.nft("ip daddr " + b.VIP4.String() + " tcp dport 80 dnat to " + dead.String() + ":8080\n")
	b.try(b.VIP4, 100*time.Millisecond)
	awaitSignals(t, r, tcp4, core.FlowCount{Unanswered: 1, UnansweredRow: 1})
}

// Lost events end the rows: what is not known is not held against a backend.
func TestPassiveOverrun(t *testing.T) {
	b := newBench(t, 1)
	r := b.passively(conntrack.Config{Buffer: 32 << 10}) // some dozens of events
	b.filter(b.Backends[0], "reject with tcp reset")
	for range 3 {
		b.try(b.VIP4, waitAtMost)
	}
	awaitSignals(t, r, tcp4, core.FlowCount{Refused: 3, RefusedRow: 3})
	b.filter(b.Backends[0], "")
	before := r.Stats().Overruns
	for range 20 {
		if r.Stats().Overruns > before {
			break
		}
		b.floodUDP(2000)
	}
	until(t, r, func(s conntrack.Stats) bool { return s.Overruns > before })
	awaitSignals(t, r, tcp4, core.FlowCount{Refused: 3})
}

// floodUDP makes as many connections of UDP, which have nothing to do with TCP's
// rows.
func (b *bench) floodUDP(n int) {
	b.t.Helper()
	err := b.Client.Do(func() error {
		for range n {
			c, err := net.Dial("udp", netip.AddrPortFrom(b.VIP4, vipPort).String())
			if err != nil {
				return err
			}
			_, _ = c.Write([]byte("x"))
			_ = c.Close()
		}
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// Answers come to the Reader only for those that ask for them.
func TestPassiveFilter(t *testing.T) {
	for _, tt := range []struct {
		name   string
		extra  []core.Frontend
		events uint64 // of the connection to the VIP
	}{
		{"nobody asks", nil, 1},
		{"another VIP asks", []core.Frontend{core.ExactFrontend(netip.MustParseAddrPort("203.0.113.99:80"), core.TCP)}, 1},
		{"the VIP asks", nil, 2},
		{"a network asks", []core.Frontend{{VIP: netip.MustParsePrefix("203.0.113.64/26"), Ports: core.PortRange{First: 80, Last: 80}, Protocol: core.TCP}}, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, 1)
			r := b.open(conntrack.Config{})
			for _, v6 := range []bool{false, true} {
				want := tt.events
				if v6 && tt.extra != nil {
					want = 1 // of another family
				}
				id, vip, addr := tcp4, b.VIP4, b.Backends[0].Addr4
				if v6 {
					id, vip, addr = tcp6, b.VIP6, b.Backends[0].Addr6
				}
				w := b.watched(id, core.TCP, vip, addr)
				asks := w
				asks.ID.Service, asks.Frontends, asks.Passive = "asks", tt.extra, true
				w.Passive = tt.name == "the VIP asks"
				r.Watch([]conntrack.Watched{w, asks})
				if !v6 {
					b.run(r)
				}
				await(t, r, id, core.FlowCount{}) // it is watched from now on
				before := r.Stats().Events
				c := b.dial("tcp", vip)
				await(t, r, id, core.FlowCount{Open: 1, Opened: 1})
				// What follows shows that the answer has been read, if it came at all.
				b.end(c, rudely)
				await(t, r, id, core.FlowCount{Opened: 1, Closed: 1})
				if got := r.Stats().Events - before; got != want+1 {
					t.Errorf("IPv6 %t: %d events, want %d and the end", v6, got, want)
				}
			}
		})
	}
}
