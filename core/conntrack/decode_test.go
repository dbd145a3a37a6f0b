// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"net/netip"
	"testing"

	"github.com/steelyard-lb/steelyard/core"
)

func TestNextBroken(t *testing.T) {
	whole := c1.created()
	tests := []struct {
		name string
		raw  []byte
	}{
		{"shorter than a header", whole[:nlmsghdrLen-1]},
		{"cut short", whole[:len(whole)-1]},
		{"length zero", make([]byte, 64)},
	}
	for _, tt := range tests {
		if _, _, ok := next(tt.raw); ok {
			t.Errorf("%s: accepted", tt.name)
		}
	}
}

func TestNextSeveral(t *testing.T) {
	both := append(c1.created(), c6.destroyed(0)...)
	m1, rest, ok := next(both)
	if !ok || m1.kind != created {
		t.Fatalf("first: kind %d, ok %t", m1.kind, ok)
	}
	m2, rest, ok := next(rest)
	if !ok || m2.kind != destroyed || len(rest) != 0 {
		t.Errorf("second: kind %d, ok %t, %d bytes left", m2.kind, ok, len(rest))
	}
	for _, tt := range []struct {
		m    message
		want Flow
	}{{m1, c1.flow()}, {m2, c6.flow()}} {
		if got, ok := tt.m.flow(); !ok || got != tt.want.key() {
			t.Errorf("flow %+v (ok %t), want %+v", got, ok, tt.want)
		}
	}
}

// FuzzNext feeds arbitrary bytes: nothing may panic, loop or count below zero.
func FuzzNext(f *testing.F) {
	for _, c := range []conn{c1, c6} {
		f.Add(c.created())
		f.Add(c.updated(tcpTimeWait))
		f.Add(c.destroyed(tcpClose))
		f.Add(append(c.listed(established), c.listed(tcpClose)...))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		tab := synced()
		tab.beginSync()
		for rest := raw; len(rest) > 0; {
			m, r, ok := next(rest)
			if !ok {
				break
			}
			if len(r) >= len(rest) {
				t.Fatal("no progress")
			}
			tab.add(&m)
			rest = r
		}
		tab.endSync()
		for id, c := range tab.counts() {
			if c.Open > 1<<32 || c.Closed > c.Opened {
				t.Errorf("%s: impossible counts %+v", id, c)
			}
		}
	})
}

// BenchmarkEvents is one connection's life: seven events.
func BenchmarkEvents(b *testing.B) {
	life := [][]byte{
		c1.created(), c1.updated(2), c1.updated(established), c1.updated(4), c1.updated(6),
		c1.updated(tcpTimeWait), c1.destroyed(tcpTimeWait),
	}
	tab := newTable()
	flows := map[Flow]core.BackendID{c1.flow(): web1}
	for port := range uint16(1000) { // a table of some size
		f := c1.flow()
		f.Backend = netip.AddrPortFrom(f.Backend.Addr(), port)
		flows[f] = web2
	}
	tab.watch(flows)
	b.ReportAllocs()
	for b.Loop() {
		for _, raw := range life {
			m, _, _ := next(raw)
			tab.add(&m)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(life)), "ns/event")
}
