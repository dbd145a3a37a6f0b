// SPDX-License-Identifier: Apache-2.0

package conntrack_test

import (
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/conntrack"
	"github.com/steelyard-lb/steelyard/core/lab/labtest"
)

func TestMain(m *testing.M) { os.Exit(labtest.Main(m)) }

func TestConnections(t *testing.T) {
	b := newBench(t, 1)
	r := b.follow(conntrack.Config{})
	for _, tt := range []struct {
		id  core.BackendID
		vip netip.Addr
	}{{tcp4, b.VIP4}, {tcp6, b.VIP6}} {
		t.Run(tt.id.Service, func(t *testing.T) {
			first, second := b.dial("tcp", tt.vip), b.dial("tcp", tt.vip)
			await(t, r, tt.id, core.FlowCount{Open: 2, Opened: 2})
			b.end(first, politely)
			await(t, r, tt.id, core.FlowCount{Open: 1, Opened: 2, Closed: 1})
			b.end(second, rudely)
			await(t, r, tt.id, core.FlowCount{Opened: 2, Closed: 2})
		})
	}
}

// A connection from a port whose last one was reset is made on the same entry.
func TestReopened(t *testing.T) {
	b := newBench(t, 1)
	r := b.follow(conntrack.Config{})
	from := &net.TCPAddr{IP: b.Client.Addr4.AsSlice(), Port: 40_000}
	for i := range uint64(3) {
		var c net.Conn
		err := b.Client.Do(func() (err error) {
			d := net.Dialer{LocalAddr: from}
			c, err = d.Dial("tcp4", netip.AddrPortFrom(b.VIP4, vipPort).String())
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		await(t, r, tcp4, core.FlowCount{Open: 1, Opened: i + 1, Closed: i})
		b.end(c, rudely)
		await(t, r, tcp4, core.FlowCount{Opened: i + 1, Closed: i + 1})
	}
}

func TestUDP(t *testing.T) {
	b := newBench(t, 1)
	r := b.follow(conntrack.Config{})
	var conns []net.Conn
	ask := func(c net.Conn) {
		t.Helper()
		_ = c.SetDeadline(time.Now().Add(waitAtMost))
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		id  core.BackendID
		vip netip.Addr
	}{{udp4, b.VIP4}, {udp6, b.VIP6}} {
		c := b.dial("udp", tt.vip)
		conns = append(conns, c)
		ask(c)
		await(t, r, tt.id, core.FlowCount{Open: 1, Opened: 1})
	}
	// From now on a packet keeps its entry for a second.
	for _, v := range []string{"nf_conntrack_udp_timeout", "nf_conntrack_udp_timeout_stream"} {
		if err := b.Balancer.Sysctl("net.netfilter."+v, "1"); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range conns {
		ask(c)
	}
	// The kernel drops an entry that timed out when it comes by, or when asked to
	// list it.
	for _, id := range []core.BackendID{udp4, udp6} {
		awaitListing(t, r, id, core.FlowCount{Opened: 1, Closed: 1})
	}
}

// awaitListing is await with a listing in between.
func awaitListing(t testing.TB, r *conntrack.Reader, id core.BackendID, want core.FlowCount) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(waitAtMost); r.Counts()[id] != want && time.Now().Before(deadline); <-tick.C {
		if _, err := r.Entries(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	await(t, r, id, want)
}

func TestHammer(t *testing.T) {
	const connections, workers = 2000, 40
	b := newBench(t, 1)
	r := b.follow(conntrack.Config{})
	held := b.dial("tcp", b.VIP4)
	start := time.Now()
	b.hammer(connections, workers)
	t.Logf("%d connections in %v; %+v", connections, time.Since(start).Round(time.Millisecond), r.Stats())
	await(t, r, tcp4, core.FlowCount{Open: 1, Opened: connections + 1, Closed: connections})
	if s := r.Stats(); s.Overruns != 0 {
		t.Errorf("events were lost with the default buffer: %+v", s)
	}
	b.end(held, rudely)
	await(t, r, tcp4, core.FlowCount{Opened: connections + 1, Closed: connections + 1})
}

// hammer opens n connections, which end in turn politely and rudely.
func (b *bench) hammer(n, workers int) {
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range n / workers {
				b.end(b.dial("tcp", b.VIP4), []byte{politely, rudely}[(i+w)%2])
			}
		})
	}
	wg.Wait()
}

func TestOverrun(t *testing.T) {
	const held = 50
	b := newBench(t, 1)
	r := b.open(conntrack.Config{Buffer: 1}) // the kernel's least: a few events
	for range held {
		b.dial("tcp", b.VIP4) // nobody reads yet, so most of these are lost
	}
	b.run(r)
	b.hammer(400, 40)
	if s := r.Stats(); s.Overruns == 0 {
		t.Fatalf("no event was lost: %+v", s)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var got core.FlowCount
	for deadline := time.Now().Add(waitAtMost); time.Now().Before(deadline); <-tick.C {
		if got = r.Counts()[tcp4]; got.Open == held && r.Stats().Resyncs > 1 {
			break
		}
	}
	if got.Open != held {
		t.Errorf("after a resync: got %+v, want %d open; %+v", got, held, r.Stats())
	}
}

// TestStartsLate is a daemon that was restarted under traffic: the kernel made
// the entries while nobody listened, and their end comes without an event.
func TestStartsLate(t *testing.T) {
	b := newBench(t, 1)
	first, second := b.dial("tcp", b.VIP4), b.dial("tcp", b.VIP4)
	r := b.follow(conntrack.Config{Resync: 200 * time.Millisecond})
	await(t, r, tcp4, core.FlowCount{Open: 2})
	b.end(first, politely)
	b.end(second, politely)
	await(t, r, tcp4, core.FlowCount{Closed: 2})
}

func TestWatchAnew(t *testing.T) {
	b := newBench(t, 1)
	r := b.follow(conntrack.Config{})
	b.dial("tcp", b.VIP4)
	await(t, r, tcp4, core.FlowCount{Open: 1, Opened: 1})
	id := core.BackendID{Service: "renamed", Backend: "b1"}
	r.Watch([]conntrack.Watched{b.watched(id, core.TCP, b.VIP4, b.Backends[0].Addr4)})
	await(t, r, id, core.FlowCount{Open: 1})
	if counts := r.Counts(); len(counts) != 1 {
		t.Errorf("counts %+v, want those of %s only", counts, id)
	}
}

func TestNotAllowed(t *testing.T) {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread dies without its capabilities
		none := [2]unix.CapUserData{}
		err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0])
		if err == nil {
			_, err = conntrack.New(conntrack.Config{})
		}
		result <- err
	}()
	if err := <-result; err == nil || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
		t.Errorf("open: %v, want a hint at CAP_NET_ADMIN", err)
	}
}
