// SPDX-License-Identifier: Apache-2.0

package conntrack_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/conntrack"
)

// say sends a byte and returns the answer; 0 if there is none.
func say(c net.Conn, what byte) (byte, error) { return sayWithin(c, what, waitAtMost) }

func sayWithin(c net.Conn, what byte, limit time.Duration) (byte, error) {
	_ = c.SetDeadline(time.Now().Add(limit))
	if _, err := c.Write([]byte{what}); err != nil {
		return 0, err
	}
	answer := make([]byte, 1)
	_, err := c.Read(answer)
	return answer[0], err
}

func (b *bench) mustSay(c net.Conn, want byte) {
	b.t.Helper()
	if got, err := say(c, name); got != want {
		b.t.Fatalf("%s: answered by %q (%v), want %q", c.RemoteAddr().Network(), got, err, want)
	}
}

// untilSays sends until a backend answers. An answer is lost if the entry goes
// while it is on its way.
func (b *bench) untilSays(c net.Conn, want byte) {
	b.t.Helper()
	var got byte
	var err error
	for deadline := time.Now().Add(waitAtMost); time.Now().Before(deadline); {
		if got, err = sayWithin(c, name, 50*time.Millisecond); got == want {
			return
		}
	}
	b.t.Fatalf("%s: answered by %q (%v), want %q", c.RemoteAddr().Network(), got, err, want)
}

// A UDP client that keeps its socket reaches a live backend once its own is
// down; TCP, other services of the same backend and the node's own connections
// to it are left alone.
func TestDownMovesDatagrams(t *testing.T) {
	b := newBench(t, 2)
	r := b.follow(conntrack.Config{})
	const otherPort = 81
	other := fmt.Sprintf("ip daddr %s udp dport %d dnat ip to %s:%d\n", b.VIP4, otherPort, b.Backends[0].Addr4, backendPort)
	b.nft(b.rules(0) + other)
	u4, u6, t4 := b.dial("udp", b.VIP4), b.dial("udp", b.VIP6), b.dial("tcp", b.VIP4)
	neighbour := b.dialPort("udp", netip.AddrPortFrom(b.VIP4, otherPort))
	direct, err := b.Balancer.DialContext(t.Context(), "udp", netip.AddrPortFrom(b.Backends[0].Addr4, backendPort).String())
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close()
	for _, c := range []net.Conn{u4, u6, t4, neighbour, direct} {
		b.mustSay(c, '1')
	}

	b.nft(b.rules(1)) // as if the first one had gone
	for _, c := range []net.Conn{u4, u6, t4, neighbour} {
		b.mustSay(c, '1') // what conntrack remembers
	}
	r.SetDown(udp4, core.Keep)
	b.untilSays(u4, '2')
	b.mustSay(u6, '1')
	r.SetDown(udp6, core.Keep)
	b.untilSays(u6, '2')
	r.SetDown(tcp4, core.Keep)
	for _, c := range []net.Conn{t4, neighbour, direct} {
		b.mustSay(c, '1')
	}
	b.awaitCleaning(r, 3)
	for _, c := range []net.Conn{t4, neighbour, direct} {
		b.mustSay(c, '1')
	}
	// The entries of the old sockets are those of the second backend now.
	await(t, r, udp4, core.FlowCount{Opened: 1, Closed: 1})
}

// awaitCleaning waits for so many passes.
func (b *bench) awaitCleaning(r *conntrack.Reader, n uint64) {
	b.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(waitAtMost); r.Stats().Cleanings < n; <-tick.C {
		if time.Now().After(deadline) {
			b.t.Fatalf("%d passes of the cleaner, want %d", r.Stats().Cleanings, n)
		}
	}
}

// A TCP client whose entry is deleted is reset by a live backend, which gets its
// next packet in the middle of a connection that it does not know. At once, not
// after a timeout.
func TestDownResets(t *testing.T) {
	b := newBench(t, 2)
	r := b.follow(conntrack.Config{})
	for _, tt := range []struct {
		id  core.BackendID
		vip netip.Addr
	}{{tcp4, b.VIP4}, {tcp6, b.VIP6}} {
		b.nft(b.rules(0))
		c := b.dial("tcp", tt.vip)
		b.mustSay(c, '1')
		b.nft(b.rules(1))
		b.mustSay(c, '1')
		passes := r.Stats().Cleanings
		r.SetDown(tt.id, core.Reset)
		b.awaitCleaning(r, passes+1)
		start := time.Now()
		if _, err := say(c, name); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: %v, want a reset", tt.id, err)
		}
		t.Logf("%s: reset after %v", tt.id, time.Since(start))
		b.mustSay(b.dial("tcp", tt.vip), '2')
	}
}

// Entries that appear after the deletion, of packets that were balanced before,
// go at once; after SetUp they stay.
func TestDownStaysClean(t *testing.T) {
	b := newBench(t, 2)
	r := b.follow(conntrack.Config{})
	r.SetDown(udp4, core.Keep)
	b.awaitCleaning(r, 2)      // there will be no other
	c := b.dial("udp", b.VIP4) // the rules still lead to the first one
	_, _ = c.Write([]byte{name})
	await(t, r, udp4, core.FlowCount{Opened: 1, Closed: 1})
	b.nft(b.rules(1))
	b.untilSays(c, '2')

	b.nft(b.rules(0))
	r.SetUp(udp4)
	c = b.dial("udp", b.VIP4)
	b.mustSay(c, '1')
	await(t, r, udp4, core.FlowCount{Open: 1, Opened: 2, Closed: 1})
	b.nft(b.rules(1))
	b.mustSay(c, '1')
}

// An entry whose event is never seen is found by looking again after a second.
func TestDownLooksAgain(t *testing.T) {
	b := newBench(t, 2)
	r := b.follow(conntrack.Config{})
	if err := r.Sample(15); err != nil { // one connection in 32,768 has events
		t.Fatal(err)
	}
	r.SetDown(udp4, core.Keep)
	b.awaitCleaning(r, 1)
	c := b.dial("udp", b.VIP4)
	b.mustSay(c, '1')
	b.nft(b.rules(1))
	b.untilSays(c, '2')
	b.awaitCleaning(r, 2)
	if s := r.Stats(); s.Cleanings != 2 || s.Removed != 1 {
		t.Errorf("%+v, want one connection removed in two passes", s)
	}
}

// And by each resync.
func TestDownReconciles(t *testing.T) {
	b := newBench(t, 2)
	r := b.follow(conntrack.Config{Resync: 100 * time.Millisecond})
	if err := r.Sample(15); err != nil {
		t.Fatal(err)
	}
	r.SetDown(udp4, core.Keep)
	b.awaitCleaning(r, 2)
	c := b.dial("udp", b.VIP4)
	_, _ = c.Write([]byte{name})
	until(t, r, func(s conntrack.Stats) bool { return s.Removed == 1 })
	b.nft(b.rules(1))
	b.untilSays(c, '2')
	if s := r.Stats(); s.Cleanings != 2 {
		t.Errorf("%+v, want two passes", s)
	}
}

// Cut deletes what there is, of one backend only, and once.
func TestCut(t *testing.T) {
	b := newBench(t, 2)
	r := b.follow(conntrack.Config{})
	tc, uc := b.dial("tcp", b.VIP4), b.dial("udp", b.VIP4)
	b.mustSay(tc, '1')
	b.mustSay(uc, '1')
	b.nft(b.rules(1))
	passes := r.Stats().Cleanings
	r.Cut(udp4)
	b.untilSays(uc, '2')
	b.mustSay(tc, '1')
	r.Cut(tcp4)
	b.awaitCleaning(r, passes+2)
	if _, err := say(tc, name); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("tcp: %v, want a reset", err)
	}
	b.nft(b.rules(0))
	uc = b.dial("udp", b.VIP4)
	b.mustSay(uc, '1')
	b.nft(b.rules(1))
	b.mustSay(uc, '1')
}

// The kernel's filter does not compare SCTP ports.
func TestSCTPSparesOtherPorts(t *testing.T) {
	b := newBench(t, 2)
	r := b.follow(conntrack.Config{})
	ids := []core.BackendID{{Service: "a", Backend: "b1"}, {Service: "b", Backend: "b1"}}
	var watched []conntrack.Watched
	for i, id := range ids {
		w := b.watched(id, core.SCTP, b.VIP4, b.Backends[0].Addr4)
		w.Frontends[0].Ports = core.OnePort(uint16(vipPort + i))
		watched = append(watched, w)
	}
	r.Watch(watched)
	for i, id := range ids {
		await(t, r, id, core.FlowCount{})
		err := r.Create(10, func(n int) (core.Protocol, netip.AddrPort, netip.AddrPort, netip.AddrPort) {
			return core.SCTP, netip.AddrPortFrom(b.Client.Addr4, uint16(1000+n)),
				netip.AddrPortFrom(b.VIP4, uint16(vipPort+i)), netip.AddrPortFrom(b.Backends[0].Addr4, backendPort)
		})
		if errors.Is(err, unix.EOPNOTSUPP) {
			if os.Getenv("CI") != "" {
				t.Fatal("this kernel tracks no SCTP")
			}
			t.Skip("this kernel tracks no SCTP")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range ids {
		await(t, r, id, core.FlowCount{Open: 10, Opened: 10})
	}
	r.SetDown(ids[0], core.Keep) // of UDP only
	b.awaitCleaning(r, 1)
	await(t, r, ids[0], core.FlowCount{Open: 10, Opened: 10})
	r.SetDown(ids[0], core.Reset)
	await(t, r, ids[0], core.FlowCount{Opened: 10, Closed: 10})
	await(t, r, ids[1], core.FlowCount{Open: 10, Opened: 10})
	if n, err := r.Entries(t.Context()); n != 10 || err != nil {
		t.Errorf("%d entries left (%v), want 10", n, err)
	}
}
