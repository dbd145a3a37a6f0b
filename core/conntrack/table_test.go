// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/steelyard-lb/steelyard/core"
)

var (
	web1 = core.BackendID{Service: "web", Backend: "web1"}
	web2 = core.BackendID{Service: "web", Backend: "web2"}

	c1 = conn{
		id: 1, protocol: core.TCP,
		client:  netip.MustParseAddrPort("192.0.2.2:40001"),
		vip:     netip.MustParseAddrPort("203.0.113.10:80"),
		backend: netip.MustParseAddrPort("198.51.100.10:8080"),
	}
	c6 = conn{
		id: 6, protocol: core.UDP,
		client:  netip.MustParseAddrPort("[2001:db8:1::2]:40006"),
		vip:     netip.MustParseAddrPort("[2001:db8:3::10]:53"),
		backend: netip.MustParseAddrPort("[2001:db8:2::a]:5353"),
	}
)

const established = tcpEstablished

func feed(t interface{ Fatalf(string, ...any) }, tab *table, raw []byte) {
	m, rest, ok := next(raw)
	if !ok || len(rest) > 0 {
		t.Fatalf("the test built a bad message: ok %t, %d bytes left", ok, len(rest))
	}
	tab.add(&m)
}

// synced is a table that watches c1 as web1 and c6 as web2, and knows both.
func synced() *table {
	tab := newTable(newIndex([]Watched{c1.watched(web1), c6.watched(web2)}))
	tab.beginSync()
	tab.endSync()
	return tab
}

func TestLifeOfAConnection(t *testing.T) {
	stranger := c1
	stranger.backend = netip.MustParseAddrPort("198.51.100.99:8080")
	twin := c1
	twin.client = netip.MustParseAddrPort("192.0.2.2:40002") // same 32-bit id
	tests := []struct {
		name   string
		events [][]byte
		want   core.FlowCount // of web1
	}{
		{"opened", [][]byte{c1.created()}, core.FlowCount{Open: 1, Opened: 1}},
		{"established", [][]byte{c1.created(), c1.updated(established)}, core.FlowCount{Open: 1, Opened: 1}},
		{"ends in time-wait", [][]byte{c1.created(), c1.updated(tcpTimeWait)}, core.FlowCount{Opened: 1, Closed: 1}},
		{"is reset", [][]byte{c1.created(), c1.updated(tcpClose)}, core.FlowCount{Opened: 1, Closed: 1}},
		{"is reset in time-wait, then dropped",
			[][]byte{c1.created(), c1.updated(tcpTimeWait), c1.updated(tcpClose), c1.destroyed(tcpClose)},
			core.FlowCount{Opened: 1, Closed: 1}},
		{"times out while established", [][]byte{c1.created(), c1.destroyed(established)}, core.FlowCount{Opened: 1, Closed: 1}},
		{"an old kernel tells no last state", [][]byte{c1.created(), c1.updated(tcpTimeWait), c1.destroyed(0)}, core.FlowCount{Opened: 1, Closed: 1}},
		{"was over when it was put in", [][]byte{c1.message(msgCTNew, unix.NLM_F_CREATE, tcpTimeWait), c1.destroyed(tcpTimeWait)}, core.FlowCount{}},
		{"is put in open", [][]byte{c1.message(msgCTNew, unix.NLM_F_CREATE, tcpEstablished), c1.updated(tcpTimeWait)}, core.FlowCount{Opened: 1, Closed: 1}},
		{"opened twice is once", [][]byte{c1.created(), c1.created()}, core.FlowCount{Open: 1, Opened: 1}},
		{"end of one never seen", [][]byte{c1.destroyed(established)}, core.FlowCount{}},
		{"not watched", [][]byte{stranger.created(), stranger.updated(tcpTimeWait)}, core.FlowCount{}},
		{"two with one id", [][]byte{c1.created(), twin.created(), c1.updated(tcpTimeWait)}, core.FlowCount{Open: 1, Opened: 2, Closed: 1}},
		{"an entry outside a resync", [][]byte{c1.listed(established)}, core.FlowCount{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tab := synced()
			for _, raw := range tt.events {
				feed(t, tab, raw)
			}
			if diff := cmp.Diff(tt.want, counts(tab)[web1]); diff != "" {
				t.Errorf("counts (-want +got):\n%s", diff)
			}
		})
	}
}

func TestUDPAndIPv6(t *testing.T) {
	tab := synced()
	feed(t, tab, c6.created())
	feed(t, tab, c6.updated(0))
	if got, want := counts(tab)[web2], (core.FlowCount{Open: 1, Opened: 1}); got != want {
		t.Errorf("open: got %+v, want %+v", got, want)
	}
	feed(t, tab, c6.destroyed(0))
	if got, want := counts(tab)[web2], (core.FlowCount{Opened: 1, Closed: 1}); got != want {
		t.Errorf("destroyed: got %+v, want %+v", got, want)
	}
}

func TestResync(t *testing.T) {
	c2, c3, c4 := c1, c1, c1
	c2.id, c3.id, c4.id = 2, 3, 4
	tab := newTable(newIndex([]Watched{c1.watched(web1)}))

	// The first resync finds c1 and c2. c2 ends before the walk comes to it,
	// c3 opens behind the walk's back.
	tab.beginSync()
	feed(t, tab, c1.listed(established))
	feed(t, tab, c2.updated(tcpTimeWait))
	feed(t, tab, c2.listed(established))
	feed(t, tab, c3.created())
	if _, known := counts(tab)[web1]; known {
		t.Error("a backend is known before its first resync is over")
	}
	tab.endSync()
	if got, want := counts(tab)[web1], (core.FlowCount{Open: 2, Opened: 1}); got != want {
		t.Errorf("after the first resync: got %+v, want %+v", got, want)
	}

	// Now the end of c1 and the start of c4 are lost; a resync is given up on its
	// way, the next one finds both.
	tab.beginSync()
	tab.abortSync()
	tab.beginSync()
	feed(t, tab, c3.listed(established))
	feed(t, tab, c4.listed(established))
	tab.endSync()
	if got, want := counts(tab)[web1], (core.FlowCount{Open: 2, Opened: 2, Closed: 1}); got != want {
		t.Errorf("after the second resync: got %+v, want %+v", got, want)
	}
}

func TestWatchAgain(t *testing.T) {
	tab := synced()
	feed(t, tab, c1.created())
	feed(t, tab, c6.created())
	if tab.watch(newIndex([]Watched{c6.watched(web2)})) {
		t.Error("taking a backend away asks for a resync")
	}
	if len(tab.open) != 1 {
		t.Errorf("%d connections in memory, want that of web2 only", len(tab.open))
	}
	feed(t, tab, c1.updated(tcpTimeWait))
	feed(t, tab, c6.destroyed(0))
	want := map[core.BackendID]core.FlowCount{web2: {Opened: 1, Closed: 1}}
	if diff := cmp.Diff(want, counts(tab)); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	if !tab.watch(newIndex([]Watched{c6.watched(web2), c1.watched(web1)})) {
		t.Error("a new backend asks for no resync")
	}
}

// TestAgainstModel feeds random lives of connections, resyncs in between, and
// compares with plain counting. Nothing is lost, so all three must be exact.
func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tab := newTable(newIndex([]Watched{c1.watched(web1)}))
		tab.beginSync()
		tab.endSync()
		var want core.FlowCount
		state := map[uint32]uint8{} // in the kernel's table
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			c := c1
			c.id = rapid.Uint32Range(1, 8).Draw(rt, "connection")
			old, exists := state[c.id]
			alive := exists && old == established
			switch op := rapid.SampledFrom([]string{"event", "end", "drop", "begin", "list", "finish"}).Draw(rt, "op"); {
			case op == "event" && !exists:
				state[c.id] = established
				want.Opened, want.Open = want.Opened+1, want.Open+1
				feed(rt, tab, c.created())
			case op == "event" && exists:
				feed(rt, tab, c.updated(old))
			case op == "end" && alive:
				state[c.id] = tcpTimeWait
				want.Closed, want.Open = want.Closed+1, want.Open-1
				feed(rt, tab, c.updated(tcpTimeWait))
			case op == "drop" && exists:
				if alive {
					want.Closed, want.Open = want.Closed+1, want.Open-1
				}
				delete(state, c.id)
				feed(rt, tab, c.destroyed(old))
			case op == "begin":
				tab.beginSync()
			case op == "list" && exists:
				feed(rt, tab, c.listed(old))
			case op == "finish" && tab.syncing:
				for id, s := range state {
					c.id = id
					feed(rt, tab, c.listed(s))
				}
				tab.endSync()
			}
			if got := counts(tab)[web1]; got != want {
				rt.Fatalf("got %+v, want %+v", got, want)
			}
		}
	})
}
