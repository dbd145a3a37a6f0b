// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"math"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// customs are the custom metrics of one backend: those that a policy or a shadow of
// its service reads. Of a backend without any there is none, since there are many.
type customs struct {
	names []string // sorted; one slice for all backends of the service
	last  []custom // one for each name
}

// A custom is the latest word on a custom metric.
type custom struct {
	sampled
	unit string
}

// find is the metric of that name; nil if no policy reads it.
func (c *customs) find(name string) *custom {
	if c == nil {
		return nil
	}
	i, found := slices.BinarySearch(c.names, name)
	if !found {
		return nil
	}
	return &c.last[i]
}

// under is c with other names: what both have stays.
func (c *customs) under(names []string) *customs {
	if len(names) == 0 {
		return nil
	}
	if c != nil && slices.Equal(c.names, names) {
		return c
	}
	n := &customs{names: names, last: make([]custom, len(names))}
	for i, name := range names {
		if was := c.find(name); was != nil {
			n.last[i] = *was
		}
	}
	return n
}

// take files a value. What is not finite has no meaning for a policy, and is
// refused with false.
func (c *customs) take(m core.Metric, r sampled, now time.Time) bool {
	last := c.find(m.Name)
	if last == nil {
		return true
	}
	if math.IsNaN(m.Value) || math.IsInf(m.Value, 0) {
		return false
	}
	if !r.newer(last.reading, now) {
		return true
	}
	if last.sampled = r; last.unit != m.Unit {
		last.unit = m.Unit
	}
	return true
}

// seen are the metrics as a policy may see them now.
func (c *customs) seen(now time.Time, stale time.Duration) []core.Reading {
	if c == nil {
		return nil
	}
	out := make([]core.Reading, len(c.last))
	for i := range c.last {
		out[i] = c.last[i].seen(now, stale)
	}
	return out
}

// inputs appends the metrics for the record. One that was never sent is there too:
// the policy asks for it.
func (c *customs) inputs(to []core.Input, now time.Time, stale time.Duration) []core.Input {
	if c == nil {
		return to
	}
	for i, name := range c.names {
		r := c.last[i].seen(now, stale)
		to = append(to, c.last[i].input(core.Input{
			Metric: name, Unit: c.last[i].unit, Value: r.Value, Known: r.Known,
			AgeSeconds: r.Age.Seconds(), WindowSeconds: r.Window.Seconds(),
		}))
	}
	return to
}
