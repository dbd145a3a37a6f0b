// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"fmt"
	"maps"
	"slices"

	"github.com/nats-io/nats.go"
)

// A choice is a subscriber whose subjects change.
type choice struct {
	bus  *Bus
	nc   *nats.Conn
	pump *pump
	have map[string]*nats.Subscription // by pattern

	cancel func()
}

// choosing starts a subscriber that hears nothing yet.
func (b *Bus) choosing(nc *nats.Conn, size int, take func(*nats.Msg)) (*choice, error) {
	p := newPump(size)
	if err := b.startPump(p, func() { p.run(take) }); err != nil {
		return nil, err
	}
	return &choice{bus: b, nc: nc, pump: p, have: map[string]*nats.Subscription{}, cancel: b.canceler(p)}, nil
}

// choose subscribes to these patterns and to no others; first to the new ones, so that
// what one of before covers is not missed. It does not wait for the server. After an error
// some of them are not subscribed to.
func (c *choice) choose(patterns ...string) error {
	err := c.join(patterns)
	gone := c.leave(patterns)
	c.bus.holds(c.pump, slices.Collect(maps.Values(c.have)))
	for _, sub := range gone {
		c.bus.counters.overflowed.Add(dropped(sub))
		_ = sub.Unsubscribe() // the connection may be closed: then it is done already
	}
	return err
}

func (c *choice) join(patterns []string) error {
	for _, p := range patterns {
		if c.have[p] != nil {
			continue
		}
		sub, err := c.nc.ChanSubscribe(p, c.pump.queue)
		if err != nil {
			return fmt.Errorf("subscribe to %s: %w", p, err)
		}
		c.have[p] = sub
	}
	return nil
}

// leave forgets all but these patterns and returns their subscriptions.
func (c *choice) leave(patterns []string) (gone []*nats.Subscription) {
	kept := make(map[string]bool, len(patterns))
	for _, p := range patterns {
		kept[p] = true
	}
	maps.DeleteFunc(c.have, func(p string, sub *nats.Subscription) bool {
		if !kept[p] {
			gone = append(gone, sub)
		}
		return !kept[p]
	})
	return gone
}

// holds replaces the subscriptions of a pump, whose end ends them; after its end, at once.
func (b *Bus) holds(p *pump, subs []*nats.Subscription) {
	b.mu.Lock()
	_, runs := b.pumps[p]
	if runs {
		p.subs = subs
	}
	b.mu.Unlock()
	if runs {
		return
	}
	for _, sub := range subs {
		_ = sub.Unsubscribe()
	}
}
