// SPDX-License-Identifier: Apache-2.0

package conntrack

import "testing"

// BenchmarkLife gives the table the messages of TCP connections, as they come
// through the filter: of a service that asks for its unanswered connections, which
// is one message more, and of one that does not.
func BenchmarkLife(b *testing.B) {
	for _, asked := range []bool{false, true} {
		name := "plain"
		if asked {
			name = "passive"
		}
		b.Run(name, func(b *testing.B) {
			w := c1.watched(web1)
			w.Passive = asked
			tab := newTable(newIndex([]Watched{w}))
			tab.beginSync()
			tab.endSync()
			tab.advance(10)
			const held = 50_000 // connections are open at a time
			lives := make([]life, held)
			for i := range lives {
				lives[i] = newLife(uint32(i), asked)
			}
			events := 0
			for i := 0; b.Loop(); i++ {
				l := &lives[i%held]
				for _, raw := range l.end {
					take(tab, raw)
				}
				for _, raw := range l.begin {
					take(tab, raw)
				}
				events += len(l.begin) + len(l.end)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(events), "ns/event")
		})
	}
}

// A life is the messages of a connection.
type life struct{ begin, end [][]byte }

func newLife(id uint32, asked bool) life {
	c := c1
	c.id = id * 2654435761
	l := life{begin: [][]byte{c.created()}, end: [][]byte{c.updated(tcpTimeWait), c.destroyed(tcpTimeWait)}}
	if asked {
		l.begin = [][]byte{c.sent(), c.updated(tcpSynRecv)}
	}
	return l
}

func take(tab *table, raw []byte) {
	m, _, _ := next(raw)
	tab.add(&m)
}
