// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// rateWindow is the window of the rates that no CPU sample asks for.
const rateWindow = 5 * time.Second

// A meterReading is one look at the counters.
type meterReading struct {
	at       time.Time
	flows    map[core.BackendID]core.FlowCount
	counters map[core.CounterKey]core.Counters // nil if not read this time
	err      error
}

// meterLoop reads counters off the engine's goroutine, since a dump of many
// kernel counters takes milliseconds.
func (e *Engine) meterLoop(ctx context.Context) {
	t := time.NewTicker(meterEvery)
	defer t.Stop()
	for n := 0; ; n++ {
		var m meterReading
		if e.cfg.Flows != nil {
			m.flows = e.cfg.Flows.Counts()
		}
		m.at = time.Now()
		if n%4 == 0 {
			m.counters, m.err = e.cfg.Applier.Counters(ctx)
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
	for _, s := range e.services {
		if m.counters != nil {
			s.counters = m.counters[core.CounterKey{Service: s.spec.Name}]
			s.carried.take(s.counters, m.at)
		}
		for _, b := range s.backends {
			b.takeMeter(m)
			b.matchCPU(m.at)
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

func (b *backend) takeMeter(m meterReading) {
	if m.counters != nil {
		b.counters = m.counters[b.id]
		b.carried.take(b.counters, m.at)
	}
	if m.flows == nil {
		return
	}
	c, counted := m.flows[b.id]
	if !counted {
		return // not yet, or connection tracking does not carry it
	}
	if b.history == nil || !b.history.continues(m.at, c) {
		b.history = &history{}
	}
	b.history.add(m.at, c)
	b.open = reading{value: float64(c.Open), at: m.at}
	window := min(rateWindow, m.at.Sub(b.history.begin()))
	closed, opened, ok := b.history.between(m.at.Add(-window), m.at)
	if !ok {
		return // the first look
	}
	b.fresh = reading{value: opened / window.Seconds(), at: m.at, window: window}
	if b.cpu.at.IsZero() {
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
	b.cpuSeq++
	b.done = reading{}
	if closed, _, ok := b.history.between(b.cpu.at.Add(-b.cpu.window), b.cpu.at); ok {
		b.done = reading{value: closed / b.cpu.window.Seconds(), at: b.cpu.at, window: b.cpu.window}
	}
}
