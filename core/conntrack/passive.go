// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// What becomes of the first packet of a TCP connection, as the kernel tells it
// (measured with Linux 6.18):
//
//	answered    NEW SYN_SENT, then UPDATE SYN_RECV
//	refused     NEW SYN_SENT, then DESTROY in the state CLOSE, no reply seen
//	unanswered  NEW SYN_SENT, and DESTROY in the state SYN_SENT after 120 s
//
// A SYN that is sent again makes no event, and neither does an ICMP error.
const (
	// tickLength is how exactly the age of an opening is known.
	tickLength = 500 * time.Millisecond
	// patience is how many ticks a backend has to answer: 3.5 to 4 s. A client sends
	// its SYN again after 1 s and after 3 s.
	patience = 8
	// longestTick is for how many ticks the loop may be away. After a longer pause
	// nobody knows who was waiting for whom.
	longestTick = 2
)

// A passive is what becomes of the openings of one backend's connections. Its size
// is fixed, whatever a flood of them does.
type passive struct {
	unanswered, refused       uint64
	unansweredRow, refusedRow uint32

	since    uint32           // openings of this tick and before are not followed
	answered uint32           // the tick of the last answer
	excused  uint32           // openings of that tick which waited then
	waiting  [patience]uint32 // openings without an answer, by their tick
}

// follows reports whether an opening of a tick is among those that wait.
func (p *passive) follows(born, now uint32) bool { return born > p.since && now-born < patience }

// answer takes the answer to a connection. It ends the rows.
func (p *passive) answer(now uint32) {
	p.answered, p.excused = now, p.waiting[now%patience]
	p.unansweredRow, p.refusedRow = 0, 0
}

// expire gives up the openings that are patience ticks old, and makes room for
// those of now. They continue the row only if nothing was answered since they
// came: those are of a time that is over.
func (p *passive) expire(now uint32, weight uint64) {
	n := p.waiting[now%patience]
	p.waiting[now%patience] = 0
	p.unanswered += uint64(n) * weight
	switch born := now - patience; {
	case p.answered > born:
		return
	case p.answered == born:
		n -= min(n, p.excused)
	}
	p.unansweredRow += min(n, ^uint32(0)-p.unansweredRow)
}

// restart begins anew after something was not seen.
func (p *passive) restart(now uint32) {
	p.unansweredRow, p.refusedRow = 0, 0
	p.since, p.waiting = now, [patience]uint32{}
}

// passiveOf is that of a slot's backend; nil if it is not asked for.
func (t *table) passiveOf(slot uint32) *passive {
	if t.passives == nil {
		return nil
	}
	return t.passives[t.index.backend[slot]]
}

// movePassives lays the passives out by the backends of a new index.
func (t *table) movePassives(x *index) {
	var passives []*passive
	for id := range x.passive {
		if passives == nil {
			passives = make([]*passive, len(x.backends))
		}
		p := &passive{since: t.tick}
		if old, ok := t.index.spans[id]; ok && t.passives != nil && t.passives[old.backend] != nil {
			p = t.passives[old.backend]
		}
		passives[x.spans[id].backend] = p
	}
	t.passives = passives
}

// begins follows the opening of a connection of a slot, and returns its tick; 0 if
// nobody asks or it is not one.
func (t *table) begins(slot uint32, m *message) (born uint32) {
	p := t.passiveOf(slot)
	switch {
	case p == nil || m.states != ctaTCP:
	case m.kind == updated: // on an entry that was over, and answered already
		p.answer(t.tick)
	case m.state == tcpSynSent && t.tick > p.since:
		p.waiting[t.tick%patience]++
		return t.tick
	}
	return 0
}

// answered takes the answer to a connection that began under our eyes.
func (t *table) answered(m *message) {
	if t.passives == nil {
		return
	}
	id := m.conn()
	e, ok := t.open[id]
	if !ok {
		return
	}
	p := t.passiveOf(e.slot())
	if p == nil {
		return
	}
	t.unfollow(e)
	t.open[id] = e.settled()
	p.answer(t.tick)
}

// ends takes the end of a connection that waits for an answer. m is nil if nobody
// saw it.
func (t *table) ends(e entry, m *message) {
	if !t.unfollow(e) || m == nil {
		return
	}
	p := t.passiveOf(e.slot())
	switch {
	case m.status&statusSeenReply != 0:
		p.answer(t.tick)
	case m.wasReset() && !m.unreplied:
		p.refused += e.weight()
		p.refusedRow += min(1, ^uint32(0)-p.refusedRow)
	}
}

// unfollow takes an opening out of those that wait, and reports whether it did.
func (t *table) unfollow(e entry) bool {
	p := t.passiveOf(e.slot())
	if p == nil || !p.follows(e.born(), t.tick) {
		return false
	}
	p.waiting[e.born()%patience]--
	return true
}

// advance takes the time, in ticks since the Reader began. Every event until then
// must have been read.
func (t *table) advance(now uint32) {
	if now > t.tick+longestTick {
		t.tick = now
		t.restartPassives()
	}
	for t.tick < now {
		t.tick++
		for _, p := range t.passives {
			if p != nil {
				p.expire(t.tick, t.sift.weight())
			}
		}
	}
}

// restartPassives begins all rows anew: events were lost, or others are followed.
func (t *table) restartPassives() {
	for _, p := range t.passives {
		if p != nil {
			p.restart(t.tick)
		}
	}
}

// advance gives the table the time. Until its socket was read to the end, an
// answer may lie there.
func (l *loop) advance(now time.Time) {
	if l.more {
		return
	}
	tick := uint32(now.Sub(l.born)/tickLength) + 1
	l.tableMu.Lock()
	defer l.tableMu.Unlock()
	if tick > l.table.tick {
		l.table.advance(tick)
	}
}

// tell adds what it knows to a backend's counts.
func (p *passive) tell(c *core.FlowCount) {
	c.Unanswered, c.Refused = p.unanswered, p.refused
	c.UnansweredRow, c.RefusedRow = p.unansweredRow, p.refusedRow
}
