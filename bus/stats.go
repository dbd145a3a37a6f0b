// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"sync/atomic"
	"time"
)

// Stats are counts since Start.
type Stats struct {
	Connected  bool   // to the server, embedded or external
	Reconnects uint64 // of both connections

	Published uint64 // messages handed to the server
	Unsent    uint64 // messages dropped because the server was away, or because they were no valid message

	Received   uint64 // samples handed to a subscriber
	Repeated   uint64 // samples dropped: number and time not above the last
	Late       uint64 // samples dropped: later than their time to live
	Invalid    uint64 // samples dropped: not decodable
	Mismatched uint64 // samples dropped: body contradicts subject
	Crowded    uint64 // samples dropped: too many sources or subjects to keep apart
	Flooded    uint64 // messages of monitors dropped: their source sent too many
	Overflowed uint64 // messages dropped: a subscriber was too slow

	// Denied is what the server does not let this node do, of each class of subjects the
	// latest: "publish steelyard.v1.node.edge.lb1".
	Denied []string
}

type counters struct {
	reconnects, published, unsent                                               atomic.Uint64
	received, repeated, late, invalid, mismatched, crowded, flooded, overflowed atomic.Uint64
}

// Stats returns the counts. It may be called at any time from any goroutine.
func (b *Bus) Stats() Stats {
	c := &b.counters
	overflowed := c.overflowed.Load()
	b.mu.Lock()
	for p := range b.pumps {
		for _, sub := range p.subs {
			overflowed += dropped(sub)
		}
	}
	b.mu.Unlock()
	return Stats{
		Connected:  b.connected(),
		Reconnects: c.reconnects.Load(), Published: c.published.Load(), Unsent: c.unsent.Load(),
		Received: c.received.Load(), Repeated: c.repeated.Load(), Late: c.late.Load(), Invalid: c.invalid.Load(),
		Mismatched: c.mismatched.Load(), Crowded: c.crowded.Load(), Flooded: c.flooded.Load(), Overflowed: overflowed,
		Denied: b.denials.texts(time.Now()),
	}
}

func (b *Bus) connected() bool {
	if b.dataOut != nil {
		return b.dataOut.online.Load() && b.controlOut.online.Load()
	}
	return b.data.IsConnected() && b.control.IsConnected()
}
