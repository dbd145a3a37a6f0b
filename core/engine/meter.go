// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"math"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// rateWindow is the window of closed-per-second where no CPU sample asks for
// another.
const rateWindow = 5 * time.Second

// How often the kernel's counters are read: every countEvery, or so seldom that it
// takes countPart of a core, since each backend of a large node is an element to
// read; but at least every countSeldom, lest the rates become stale.
const (
	countEvery  = 2 * time.Second
	countSeldom = 10 * time.Second
	countPart   = 0.05
)

// countAgain is how long after the beginning of a reading of the counters that took
// so long the next one begins.
func countAgain(took time.Duration) time.Duration {
	return min(max(countEvery, time.Duration(float64(took)/countPart)), countSeldom)
}

// A meterReading is one look at the counters.
type meterReading struct {
	at        time.Time
	flows     map[core.BackendID]core.FlowCount // nil if they are those of the look before
	countedAt time.Time                         // of what time flows are, unless they are live
	live      bool
	counters  map[core.CounterKey]core.Counters // nil if not read this time
	err       error
}

// meterLoop reads counters off the engine's goroutine, since a dump of many
// kernel counters takes milliseconds.
func (e *Engine) meterLoop(ctx context.Context) {
	t := time.NewTicker(meterEvery)
	defer t.Stop()
	var before time.Time // of the counts at hand, unless they were live
	var countDue time.Time
	for {
		var m meterReading
		if e.cfg.Flows != nil {
			if m.countedAt, m.live = e.cfg.Flows.AsOf(); m.live || m.countedAt.IsZero() || m.countedAt != before {
				m.flows = e.cfg.Flows.Counts()
			}
			if before = m.countedAt; m.live {
				before = time.Time{}
			}
		}
		m.at = time.Now()
		if !m.at.Before(countDue) {
			m.counters, m.err = e.cfg.Applier.Counters(ctx)
			// A little less, since the ticks that this is looked at are not exact.
			countDue = m.at.Add(countAgain(time.Since(m.at)) - meterEvery/2)
		}
		select {
		case e.meters <- m:
		case <-ctx.Done():
			return
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

func (e *Engine) takeMeter(m meterReading) {
	if m.at.Before(e.flowsFrom) {
		m.flows = nil
	}
	if m.counters == nil && m.flows == nil && m.err == nil && !e.cpuWaits {
		return // nothing for any of what may be tens of thousands of backends
	}
	e.cpuWaits = false
	for _, s := range e.order {
		if m.counters != nil {
			s.carried.take(m.counters[core.CounterKey{Service: s.spec.Name}], m.at)
		}
		for _, b := range s.backends {
			b.takeMeter(m, s.forwarding(b).Tracked())
			e.takePassive(s, b, m)
			b.matchCPU(m.at)
			e.cpuWaits = e.cpuWaits || !b.nextCPU.at.IsZero()
			e.takeFull(s, b)
		}
	}
	e.decideTipped()
	if m.counters != nil {
		e.kernel.countersAt, e.kernel.counterErr = m.at.UTC(), ""
	}
	if m.err != nil && e.kernel.counterErr != m.err.Error() {
		e.kernel.counterErr = m.err.Error()
		e.log.Warn("read kernel counters", "err", m.err)
	}
}

// takeMeter files a look at a backend whose connections are tracked, or are not.
func (b *backend) takeMeter(m meterReading, tracked bool) {
	if m.counters != nil {
		c, known := m.counters[b.id]
		b.carried.take(c, m.at)
		if known && tracked {
			b.fresh = b.firsts.add(m.at, c.Connections)
		}
	}
	if m.flows == nil {
		return
	}
	c, counted := m.flows[b.id]
	if !counted {
		return // not yet, or connection tracking does not carry it
	}
	b.open, b.abroad = reading{value: float64(c.Open), at: m.countedAt}, uint32(min(c.Abroad, math.MaxUint32))
	if !m.live {
		b.history, b.done = nil, reading{} // when they closed is not known
		return
	}
	b.open.at = m.at
	if b.history == nil || !b.history.continues(m.at, c.Closed) {
		b.history = &history{}
	}
	b.history.add(m.at, c.Closed)
	if !b.cpu.at.IsZero() {
		return // matchCPU has the window
	}
	window := min(rateWindow, m.at.Sub(b.history.begin()))
	if closed, ok := b.history.between(m.at.Add(-window), m.at); ok { // not at the first look
		b.done = reading{value: closed / window.Seconds(), at: m.at, window: window}
	}
}

// matchCPU files a new CPU sample together with the connections closed in the
// same window, once they are counted to its end: no policy ever sees the one
// beside the other's predecessor.
func (b *backend) matchCPU(counted time.Time) {
	if b.nextCPU.at.IsZero() || counted.Before(b.nextCPU.at) {
		return
	}
	b.cpu, b.nextCPU = b.nextCPU, reading{}
	if b.by != nil {
		b.by.cpu = b.by.nextCPU
	}
	b.cpuSeq++
	b.done = reading{}
	if closed, ok := b.history.between(b.cpu.at.Add(-b.cpu.window), b.cpu.at); ok {
		b.done = reading{value: closed / b.cpu.window.Seconds(), at: b.cpu.at, window: b.cpu.window}
	}
}
