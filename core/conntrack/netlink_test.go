// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"net/netip"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/nlmsg"
)

func TestNextBroken(t *testing.T) {
	whole := c1.created()
	tests := []struct {
		name string
		raw  []byte
	}{
		{"shorter than a header", whole[:nlmsg.HeaderLen-1]},
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
		want conn
	}{{m1, c1}, {m2, c6}} {
		x := newIndex([]Watched{tt.want.watched(web1)})
		if i, ok := x.find(&tt.m); !ok || i != 0 {
			t.Errorf("%+v: rule %d (ok %t), want 0", tt.want, i, ok)
		}
	}
}

// FuzzNext feeds arbitrary bytes: nothing may panic, loop or count below zero.
func FuzzNext(f *testing.F) {
	for _, c := range []conn{c1, c6} {
		f.Add(c.created(), uint8(0))
		f.Add(c.updated(tcpTimeWait), uint8(1))
		f.Add(c.destroyed(tcpClose), uint8(0))
		f.Add(append(c.listed(established), c.listed(tcpClose)...), uint8(2))
	}
	for _, raw := range [][]byte{c1.sent(), c1.answered(), c1.refused(), c1.aborted(0), c1.closed(tcpClose)} {
		f.Add(append(c1.sent(), raw...), uint8(0))
	}
	wide := append([]Watched{c1.watched(web1), c6.watched(web2)}, services...)
	for i := range wide {
		wide[i].Passive = true
	}
	f.Fuzz(func(t *testing.T, raw []byte, shift uint8) {
		tab := newTable(newIndex(wide))
		tab.beginSync()
		tab.endSync()
		tab.advance(1)
		tab.beginSync()
		for rest := raw; len(rest) > 0; {
			m, r, ok := next(rest)
			if !ok {
				break
			}
			if len(r) >= len(rest) {
				t.Fatal("no progress")
			}
			if i := tab.add(&m); i != none && int(i) >= len(tab.slots) {
				t.Fatalf("rule %d of %d", i, len(tab.slots))
			}
			if _, err := m.end(ok); err == nil {
				m.connection(web1)
			}
			if again, _, ok := next(appendDeletion(nil, &m)); !ok || again.id != m.id || string(again.reply) != string(m.reply) {
				t.Fatalf("a deletion of %x names %x", m.reply, again.reply)
			}
			rest = r
			tab.advance(tab.tick + m.id%3)
		}
		if diff := cmp.Diff(openings(tab), waiting(tab)); diff != "" {
			t.Errorf("connections that wait (-in the table, +counted):\n%s", diff)
		}
		tab.setSift(sift{shift % maxShift})
		tab.endSync()
		for id, c := range counts(tab) {
			if c.Open > 1<<32 || c.Closed > c.Opened {
				t.Errorf("%s: impossible counts %+v", id, c)
			}
		}
	})
}

// openings counts by backend the connections of a table that wait for an answer.
func openings(tab *table) map[uint32]uint32 {
	n := map[uint32]uint32{}
	for _, e := range tab.open {
		if p := tab.passiveOf(e.slot()); p.follows(e.born(), tab.tick) {
			n[tab.index.backend[e.slot()]]++
		}
	}
	return n
}

// waiting is the same as the passives count it.
func waiting(tab *table) map[uint32]uint32 {
	n := map[uint32]uint32{}
	for i, p := range tab.passives {
		for _, w := range p.waiting {
			if w > 0 {
				n[uint32(i)] += w
			}
		}
	}
	return n
}

// BenchmarkEvents is one connection's life, seven events, among 1000 backends.
func BenchmarkEvents(b *testing.B) {
	among := func(w Watched) []Watched {
		watched := []Watched{w}
		for port := range uint16(1000) {
			other := c1.watched(core.BackendID{Service: "web", Backend: strconv.Itoa(int(port))})
			other.Addrs = []netip.AddrPort{netip.AddrPortFrom(c1.backend.Addr(), port)}
			watched = append(watched, other)
		}
		return watched
	}
	ports := c1.watched(web1)
	ports.Frontends[0].Ports = core.PortRange{First: 1, Last: 8000}
	network := c1.watched(web1)
	network.Frontends[0].VIP = netip.MustParsePrefix("203.0.113.0/24")
	local := c1.watched(web1)
	local.Local = true
	stranger := c1.watched(web1)
	stranger.Addrs = []netip.AddrPort{netip.MustParseAddrPort("198.51.100.99:8080")}
	for _, bb := range []struct {
		name    string
		watched []Watched
	}{
		{"exact", among(c1.watched(web1))},
		{"ports", among(ports)},
		{"network", among(network)},
		{"local", among(local)},
		{"unwatched", among(stranger)},
		{"unwatched, wide ones exist", append(among(stranger), ports, network, local)[3:]},
	} {
		b.Run(bb.name, func(b *testing.B) {
			life := [][]byte{
				c1.created(), c1.updated(2), c1.updated(established), c1.updated(4), c1.updated(6),
				c1.updated(tcpTimeWait), c1.destroyed(tcpTimeWait),
			}
			tab := newTable(newIndex(bb.watched))
			b.ReportAllocs()
			for b.Loop() {
				for _, raw := range life {
					m, _, _ := next(raw)
					tab.add(&m)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(life)), "ns/event")
		})
	}
}
