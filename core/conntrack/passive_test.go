// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/nlmsg"
)

// The messages around the first packet of a TCP connection.
func (c conn) sent() []byte { return c.message(msgCTNew, unix.NLM_F_CREATE, tcpSynSent) }
func (c conn) answered() []byte {
	return c.withStatus(msgCTNew, 0, tcpSynRecv, statusDstNAT|statusSeenReply)
}
func (c conn) refused() []byte { return c.destroyed(tcpClose) }
func (c conn) closed(state uint8) []byte {
	return c.withStatus(msgCTNew, 0, state, statusDstNAT|statusSeenReply|statusAssured)
}

// aborted is refused where the kernel counts packets and none came back: it was
// the client's own reset.
func (c conn) aborted(replies uint64) []byte {
	b := c.destroyed(tcpClose)
	b = append(b, nest(ctaCountRply, leaf(ctaPackets, binary.BigEndian.AppendUint64(nil, replies)))...)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	return b
}

// passively is a table that watches c1 as web1, passively, and knows it.
func passively() *table {
	w := c1.watched(web1)
	w.Passive = true
	tab := newTable(newIndex([]Watched{w}))
	tab.beginSync()
	tab.endSync()
	tab.advance(1)
	return tab
}

// A line is what happens, in order: s a SYN is sent, a it is answered, r refused,
// x the client resets it (with accounting), d the entry is deleted, t it closes as
// after a long life, then the number of a connection; "." is half a second, "w"
// the whole patience, "l" lost events.
func play(t interface{ Fatalf(string, ...any) }, tab *table, line string) {
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case ' ':
			continue
		case '.':
			tab.advance(tab.tick + 1)
			continue
		case 'w':
			for range patience {
				tab.advance(tab.tick + 1)
			}
			continue
		case 'l':
			tab.restartPassives()
			continue
		}
		c := c1
		c.id = uint32(line[i+1])
		c.client = netip.AddrPortFrom(c.client.Addr(), 40000+uint16(line[i+1]))
		raw, ok := map[byte][]byte{
			's': c.sent(), 'a': c.answered(), 'r': c.refused(), 'x': c.aborted(0), 'R': c.aborted(1),
			'd': c.destroyed(tcpSynSent), 't': c.closed(tcpTimeWait), 'c': c.closed(tcpClose), 'e': c.created(),
		}[line[i]]
		if !ok {
			t.Fatalf("the test plays %q", line[i])
		}
		feed(t, tab, raw)
		i++
	}
}

func TestPassive(t *testing.T) {
	tests := []struct {
		name, line                string
		unanswered, refused       uint64
		unansweredRow, refusedRow uint32
	}{
		{"answered", ". s1 a1 w", 0, 0, 0, 0},
		{"still waiting", ". s1 . . . . . . .", 0, 0, 0, 0},
		{"unanswered", ". s1 w", 1, 0, 1, 0},
		{"three", ". s1 s2 . s3 w", 3, 0, 3, 0},
		{"once, however long it stays", ". s1 w w w", 1, 0, 1, 0},
		{"then deleted by the kernel", ". s1 w w d1", 1, 0, 1, 0},
		{"answered at the last moment", ". s1 . . . . . . . a1 w", 0, 0, 0, 0},
		{"answered too late", ". s1 w a1", 1, 0, 0, 0},
		{"answered too late, ends once", ". s1 w a1 t1 . s2 w", 2, 0, 1, 0},
		{"an answer ends the row", ". s1 s2 w s3 a3 w", 2, 0, 0, 0},
		{"and another begins", ". s1 s2 w s3 a3 . s4 w", 3, 0, 1, 0},
		{"those that came before an answer begin no row", ". s1 s2 . . s3 a3 w", 2, 0, 0, 0},
		{"nor in the same moment", ". s1 s3 a3 w", 1, 0, 0, 0},
		{"those that come after it do", ". s1 s3 a3 s4 s5 w", 3, 0, 2, 0},
		{"deleted while waiting, as by ourselves", ". s1 d1 w", 0, 0, 0, 0},
		{"refused", ". s1 r1", 0, 1, 0, 1},
		{"refused, again from the same port", ". s1 r1 s1 r1 s1 r1", 0, 3, 0, 3},
		{"refused is not unanswered", ". s1 r1 w", 0, 1, 0, 1},
		{"refused too late is not both", ". s1 w r1", 1, 0, 1, 0},
		{"an answer ends that row too", ". s1 r1 s2 a2", 0, 1, 0, 0},
		{"both rows", ". s1 r1 . s2 w", 1, 1, 1, 1},
		{"the client's own reset", ". s1 x1 w", 0, 0, 0, 0},
		{"the backend's, where packets are counted", ". s1 R1 w", 0, 1, 0, 1},
		{"the close of an old one is no answer", ". s1 a1 . s2 r2 t1", 0, 1, 0, 1},
		{"nor is its reset", ". s1 a1 . s2 r2 c1", 0, 1, 0, 1},
		{"the answer itself was lost, the close tells", ". s2 r2 s1 t1 w", 0, 1, 0, 0},
		{"lost events end the rows", ". s1 r1 . s2 w l", 1, 1, 0, 0},
		{"and those that waited are forgotten", ". s1 l w", 0, 0, 0, 0},
		{"and their answers do no harm", ". s1 s2 l . s3 a1 a2 . s4 w", 2, 0, 1, 0},
		{"a mid-stream entry waits for nobody", ". e1 w", 0, 0, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tab := passively()
			play(t, tab, tt.line)
			got := counts(tab)[web1]
			want := core.FlowCount{
				Unanswered: tt.unanswered, Refused: tt.refused, UnansweredRow: tt.unansweredRow, RefusedRow: tt.refusedRow,
				Open: got.Open, Opened: got.Opened, Closed: got.Closed,
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: counts (-want +got):\n%s", tt.line, diff)
			}
			if by := tab.byProtocol(web1)[core.TCP]; by != got {
				t.Errorf("by protocol %+v, in all %+v", by, got)
			}
		})
	}
}

// Nobody asked: nothing is counted, and nothing waits.
func TestPassiveOnlyIfAsked(t *testing.T) {
	tab := synced()
	play(t, tab, ". s1 . s2 a2 w s3 r3 w")
	want := core.FlowCount{Open: 2, Opened: 3, Closed: 1}
	if got := counts(tab)[web1]; got != want || tab.passives != nil {
		t.Errorf("got %+v with %d passives, want %+v and none", got, len(tab.passives), want)
	}
}

// A pause of the loop, as of the whole machine, proves nothing.
func TestPassiveAfterAPause(t *testing.T) {
	tab := passively()
	play(t, tab, ". s1 r1 . s2 s3")
	tab.advance(tab.tick + 100)
	play(t, tab, "a2 w")
	want := core.FlowCount{Open: 2, Opened: 3, Closed: 1, Refused: 1}
	if got := counts(tab)[web1]; got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// What is no longer watched leaves nothing behind that could count, and what stays
// goes on.
func TestPassiveWatchAgain(t *testing.T) {
	asked := c1.watched(web1)
	asked.Passive = true
	more := asked
	other := c1
	other.vip = netip.MustParseAddrPort("203.0.113.11:80")
	more.Frontends = append(other.watched(web1).Frontends, more.Frontends...)

	tab := passively()
	tab.watch(newIndex([]Watched{c6.watched(web2), more}))
	tab.beginSync()
	tab.endSync()
	play(t, tab, ". s1 r1 . s2 s3")
	feed(t, tab, other.sent()) // its frontend goes while it waits
	tab.watch(newIndex([]Watched{asked}))
	play(t, tab, "a3 .")
	play(t, tab, "s4 r4 w")
	want := core.FlowCount{Open: 2, Opened: 4, Closed: 2, Refused: 2, Unanswered: 1, RefusedRow: 1}
	if got := counts(tab)[web1]; got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	plain := asked
	plain.Passive = false
	play(t, tab, ". s5")
	tab.watch(newIndex([]Watched{plain}))
	tab.watch(newIndex([]Watched{asked}))
	play(t, tab, "a5 s6 w")
	got := counts(tab)[web1]
	got.Open, got.Opened, got.Closed = 0, 0, 0
	if got != (core.FlowCount{}) {
		t.Errorf("asked anew: got %+v, want nothing yet", got)
	}
}

// One in so many is followed: totals count for all, a row is of those.
func TestPassiveSampled(t *testing.T) {
	tab := passively()
	play(t, tab, ". s1 s2 r2")
	tab.setSift(sift{2})
	tab.advance(tab.tick + 1)
	for i := range uint32(400) {
		c := c1
		c.id = i
		feed(t, tab, c.sent())
		if i < 40 {
			feed(t, tab, c.refused())
		}
	}
	for range patience {
		tab.advance(tab.tick + 1)
	}
	got := counts(tab)[web1]
	want := core.FlowCount{Open: got.Open, Opened: got.Opened, Closed: got.Closed,
		Refused: 1 + 40, RefusedRow: 10, Unanswered: 360, UnansweredRow: 90}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// The row of an endless flood stays where it is instead of coming round.
func TestRowSaturates(t *testing.T) {
	p := &passive{unansweredRow: ^uint32(0) - 1}
	p.waiting[0] = 5
	p.expire(2*patience, 1)
	if p.unansweredRow != ^uint32(0) || p.unanswered != 5 {
		t.Errorf("row %d, total %d", p.unansweredRow, p.unanswered)
	}
}

// TestPassiveAgainstModel plays random openings and compares with a list of them.
func TestPassiveAgainstModel(t *testing.T) {
	type opening struct {
		tick    uint32
		settled bool
	}
	rapid.Check(t, func(rt *rapid.T) {
		tab := passively()
		tab.advance(2)
		now, answered, excused := uint32(2), uint32(0), uint32(0)
		var all []opening // a connection's number is its place
		var want core.FlowCount
		step := func() {
			now++
			late := uint32(0)
			for i := range all {
				if o := &all[i]; !o.settled && o.tick+patience == now {
					o.settled = true
					late++
				}
			}
			want.Unanswered += uint64(late)
			if answered+patience == now {
				late -= min(late, excused)
			}
			if answered+patience <= now {
				want.UnansweredRow += late
			}
			tab.advance(now)
		}
		for range rapid.IntRange(1, 80).Draw(rt, "steps") {
			op := rapid.SampledFrom([]string{"open", "open", "answer", "refuse", "delete", "tick", "tick"}).Draw(rt, "op")
			if op == "tick" {
				step()
				continue
			}
			if op == "open" {
				all = append(all, opening{tick: now})
				feed(rt, tab, numbered(len(all)-1).sent())
				continue
			}
			if len(all) == 0 {
				continue
			}
			i := rapid.IntRange(0, len(all)-1).Draw(rt, "connection")
			if all[i].settled {
				continue
			}
			all[i].settled = true
			switch op {
			case "answer":
				answered, want.UnansweredRow, want.RefusedRow = now, 0, 0
				excused = 0
				for _, o := range all {
					if !o.settled && o.tick == now {
						excused++
					}
				}
				feed(rt, tab, numbered(i).answered())
			case "refuse":
				want.Refused, want.RefusedRow = want.Refused+1, want.RefusedRow+1
				feed(rt, tab, numbered(i).refused())
			case "delete":
				feed(rt, tab, numbered(i).destroyed(tcpSynSent))
			}
		}
		got := counts(tab)[web1]
		want.Open, want.Opened, want.Closed = got.Open, got.Opened, got.Closed
		if got != want {
			rt.Fatalf("got %+v, want %+v", got, want)
		}
	})
}

func numbered(i int) conn {
	c := c1
	c.id, c.client = uint32(i+1), netip.AddrPortFrom(c.client.Addr(), uint16(20000+i))
	return c
}

// The filter lets answers through to the VIPs that ask for them, and to no others.
func TestAnswersOf(t *testing.T) {
	vip := func(s string) Watched {
		return Watched{ID: id(s), Passive: true, Addrs: addrs("198.51.100.1:80", "[2001:db8:2::1]:80"),
			Frontends: []core.Frontend{front(s, 80, 80, core.TCP), front(s, 443, 443, core.UDP)}}
	}
	var many []Watched
	for i := range maxVIPs + 1 {
		many = append(many, vip("203.0.113."+strconv.Itoa(i)))
	}
	for _, tt := range []struct {
		name    string
		watched []Watched
		all     bool
		vips    int
	}{
		{"none", services, false, 0},
		{"two", append([]Watched{vip("203.0.113.1"), vip("2001:db8::5"), vip("203.0.113.1")}, services...), false, 2},
		{"as many as can be compared", many[:maxVIPs], false, maxVIPs},
		{"more", many, true, 0},
		{"a network", []Watched{vip("203.0.113.1"), vip("203.0.113.64/26")}, true, 0},
	} {
		x := newIndex(tt.watched)
		if got := x.answers; got.all != tt.all || len(got.vips) != tt.vips {
			t.Errorf("%s: %+v, want all %t or %d", tt.name, got, tt.all, tt.vips)
		}
	}
}

func (c conn) withStatus(typ, flags uint16, state uint8, status uint32) []byte {
	b := c.message(typ, flags, state)
	for at := nlmsg.HeaderLen + nlmsg.NfgenmsgLen; at < len(b); {
		size := int(binary.NativeEndian.Uint16(b[at:]))
		if binary.NativeEndian.Uint16(b[at+2:]) == ctaStatus {
			binary.BigEndian.PutUint32(b[at+4:], status)
		}
		at += (size + 3) &^ 3
	}
	return b
}
