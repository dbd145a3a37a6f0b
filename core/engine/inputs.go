// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A measure is one of the readings that a policy may see.
type measure struct {
	metric, unit string
	of           func(*backend) *reading
	by           func(*origins) origin // nil of what this node counts itself
}

var measured = [...]measure{
	{core.MetricCPU, "ratio", func(b *backend) *reading { return &b.cpu }, func(o *origins) origin { return o.cpu }},
	{core.MetricCores, "count", func(b *backend) *reading { return &b.cores }, func(o *origins) origin { return o.cores }},
	{core.MetricResponse, "seconds", func(b *backend) *reading { return &b.response }, func(o *origins) origin { return o.response }},
	{core.MetricConnections, "count", func(b *backend) *reading { return &b.open }, nil},
	{core.MetricNew, "per_second", func(b *backend) *reading { return &b.fresh }, nil},
	{core.MetricDone, "per_second", func(b *backend) *reading { return &b.done }, nil},
}

// countInputs is how many inputs the record of a decision has. Every service keeps
// those of its latest decision, so they lie in one block without room to spare.
func (s *service) countInputs() (n int) {
	for _, b := range s.backends {
		for _, m := range measured {
			if !m.of(b).at.IsZero() {
				n++
			}
		}
		if b.custom != nil {
			n += len(b.custom.names)
		}
		n += b.countSaid()
	}
	return n
}

// inputs appends what a decision knows of a backend.
func (s *service) inputs(to []core.Input, b *backend, now time.Time) []core.Input {
	stale := s.spec.Shaping.StaleAfter
	for _, m := range measured {
		if m.of(b).at.IsZero() {
			continue // nobody asks for it
		}
		r := m.of(b).seen(now, stale)
		var by origin
		if m.by != nil && b.by != nil {
			by = m.by(b.by)
		}
		to = append(to, by.input(core.Input{
			Metric: m.metric, Unit: m.unit, Value: r.Value, Known: r.Known,
			AgeSeconds: r.Age.Seconds(), WindowSeconds: r.Window.Seconds(),
		}))
	}
	return b.saidInputs(b.custom.inputs(to, now, stale), now)
}
