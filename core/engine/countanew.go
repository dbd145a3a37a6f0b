// SPDX-License-Identifier: Apache-2.0

package engine

import "time"

// forgetFlows begins the counts of connections anew: they are those of all nodes while this
// one leads, and its own while it does not. A rate over both would be of neither.
func (s *service) forgetFlows() {
	for _, b := range s.backends {
		b.open, b.abroad, b.done, b.history = reading{}, 0, reading{}, nil
	}
}

// countAnew looks at the connections of the services that this node has just begun to lead:
// by its own a backend that is full has room, and would get clients until the next look.
func (e *Engine) countAnew() {
	if e.cfg.Flows == nil {
		return
	}
	var m meterReading
	m.countedAt, m.live = e.cfg.Flows.AsOf()
	m.flows = e.cfg.Flows.Counts()
	m.at = time.Now()
	e.flowsFrom = m.at // one that is under way may be of before
	for _, s := range e.order {
		for _, b := range s.backends {
			if s.follows || !b.open.at.IsZero() {
				continue
			}
			b.takeMeter(m, s.forwarding(b).Tracked())
			e.takeFull(s, b)
		}
	}
}
