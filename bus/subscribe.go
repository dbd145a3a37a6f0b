// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/steelyard-lb/steelyard/core"
)

// SubscribeSamples calls fn for every sample that a node's probes or a monitor
// publish, this node's own included, on one goroutine. Repeated, reordered, late
// and malformed samples are dropped, counted, and told of now and then in the log
// and in an event of the topic bus. A sample of a monitor always
// has the metric role: what is published under metric says nothing about health.
//
// fn must not block for long, and must not call cancel: cancel waits for the
// call of fn that is running. Close waits for it too, but not for ever.
func (b *Bus) SubscribeSamples(fn func(core.Sample)) (cancel func(), err error) {
	in := &intake{bus: b, fn: fn}
	cancel, err = b.pumpSamples(in)
	if err != nil {
		return nil, fmt.Errorf("subscribe to samples: %w", err)
	}
	return cancel, nil
}

// Subscribe calls fn for every message that matches the pattern, on one
// goroutine, with the body as it came. The prefix may be left out: "health.>".
// fn may keep data. What SubscribeSamples says about blocking and cancel holds
// here too.
func (b *Bus) Subscribe(pattern string, fn func(subject string, data []byte)) (cancel func(), err error) {
	full, err := Pattern(pattern)
	if err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	cancel, err = b.pump(b.control, messageQueue, func(m *nats.Msg) { fn(m.Subject, m.Data) }, full)
	if err != nil {
		return nil, fmt.Errorf("subscribe to %s: %w", full, err)
	}
	return cancel, nil
}
