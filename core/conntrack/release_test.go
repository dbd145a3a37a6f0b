// SPDX-License-Identifier: Apache-2.0

package conntrack_test

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/conntrack"
)

// What is left of connections that a backend has reset goes once the backend is
// idle, whether the reset came before or after that; what is open, and what
// ended in the usual way, stays.
func TestIdleBackendReleasesItsResetConnections(t *testing.T) {
	b := newBench(t, 1)
	r := b.follow(conntrack.Config{})
	open := []net.Conn{b.dial("tcp", b.VIP4), b.dial("tcp", b.VIP6)}
	b.end(b.dial("tcp", b.VIP4), politely)
	b.end(b.dial("tcp", b.VIP4), rudely)
	b.end(b.dial("tcp", b.VIP6), rudely)
	await(t, r, tcp4, core.FlowCount{Open: 1, Opened: 3, Closed: 2})
	await(t, r, tcp6, core.FlowCount{Open: 1, Opened: 2, Closed: 1})
	b.untilEntries(r, map[string]int{"CLOSE": 2, "ESTABLISHED": 2, "TIME_WAIT": 1})

	r.SetIdle(tcp6, true)
	b.untilEntries(r, map[string]int{"CLOSE": 1, "ESTABLISHED": 2, "TIME_WAIT": 1})
	r.SetIdle(tcp4, true)
	b.untilEntries(r, map[string]int{"ESTABLISHED": 2, "TIME_WAIT": 1})

	for i := range 10 {
		b.end(b.dial("tcp", b.VIP4), rudely)
		await(t, r, tcp4, core.FlowCount{Open: 1, Opened: uint64(4 + i), Closed: uint64(3 + i)})
	}
	b.untilEntries(r, map[string]int{"ESTABLISHED": 2, "TIME_WAIT": 1})
	if n := r.Stats().Released; n != 12 {
		t.Errorf("%d connections released, want 12", n)
	}

	r.SetIdle(tcp4, false)
	b.end(b.dial("tcp", b.VIP4), rudely)
	b.untilEntries(r, map[string]int{"CLOSE": 1, "ESTABLISHED": 2, "TIME_WAIT": 1})
	for _, c := range open {
		b.end(c, politely) // they still work
	}
	b.untilEntries(r, map[string]int{"CLOSE": 1, "TIME_WAIT": 3})
}

// A client may come back from the port of a connection that is about to be deleted, and have
// been sent to another backend: its new connection stays. The kernel likes to give it the
// place of the old one, and then the same id.
func TestDeletionSparesTheNextFromThatPort(t *testing.T) {
	b := newBench(t, 1)
	r := b.open(conntrack.Config{})
	lost := 0
	for range 50 {
		connect := func(backend netip.Addr) error {
			return r.Create(1, func(int) (core.Protocol, netip.AddrPort, netip.AddrPort, netip.AddrPort) {
				return core.TCP, netip.AddrPortFrom(b.Client.Addr4, 20000), netip.AddrPortFrom(b.VIP4, vipPort), netip.AddrPortFrom(backend, backendPort)
			})
		}
		must(t, connect(netip.MustParseAddr("198.18.0.1")))
		must(t, r.RemoveLate(t.Context(), func() error {
			if err := r.RemoveAll(t.Context()); err != nil {
				return err
			}
			return connect(netip.MustParseAddr("198.18.0.2"))
		}))
		n, err := r.Entries(t.Context())
		must(t, err)
		lost += 1 - n
		must(t, r.RemoveAll(t.Context()))
	}
	if lost > 0 {
		t.Errorf("%d of 50 connections were deleted in place of those before them", lost)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// untilEntries waits until the kernel's table has these many TCP entries of
// each state.
func (b *bench) untilEntries(r *conntrack.Reader, want map[string]int) {
	b.t.Helper()
	var got map[string]int
	for deadline := time.Now().Add(waitAtMost); time.Now().Before(deadline); {
		var err error
		if got, err = r.TCPStates(b.t.Context()); err != nil {
			b.t.Fatal(err)
		}
		if fmt.Sprint(got) == fmt.Sprint(want) {
			return
		}
	}
	b.t.Fatalf("entries by state: %v, want %v", got, want)
}
