// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"context"
	"errors"
	"maps"
	"time"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core"
)

const (
	// lookAgain is how long after a deletion the cleaner looks for entries whose
	// creation raced with it and whose event was lost.
	lookAgain = time.Second
	// maxScans is how many times the kernel goes through its table for one pass. It
	// takes 0.4 µs an entry then, and 4 µs if it lists all of them to us, once.
	maxScans = 8
	// removeBatch is how many deletions go in one request.
	removeBatch = 64
)

// A cleaner deletes the connections of backends that are down. It has a
// goroutine of its own: the kernel goes through its whole table for it.
type cleaner struct {
	*Reader
	again map[core.BackendID]scope // to look at once more
	timer *time.Timer              // until then; runs while again is not empty
}

func (r *Reader) runCleaner(ctx context.Context) {
	c := &cleaner{Reader: r, again: map[core.BackendID]scope{}, timer: time.NewTimer(lookAgain)}
	defer c.timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.clean:
			jobs := c.take(nil)
			c.pass(ctx, jobs)
			if len(c.again) == 0 {
				c.timer.Reset(lookAgain)
			}
			maps.Copy(c.again, jobs)
		case <-c.timer.C:
			jobs := c.take(c.again)
			clear(c.again)
			c.pass(ctx, jobs)
		}
	}
}

// take takes what there is to do into hand: with again, those of them that are
// still down, otherwise what has been asked for.
func (c *cleaner) take(again map[core.BackendID]scope) map[core.BackendID]scope {
	c.mu.Lock()
	defer c.mu.Unlock()
	if again == nil {
		c.inHand, c.jobs = c.jobs, map[core.BackendID]scope{}
		return maps.Clone(c.inHand)
	}
	c.inHand = map[core.BackendID]scope{}
	for id := range again {
		if s := c.fates[id].down; s != nothing {
			c.inHand[id] = s
		}
	}
	return maps.Clone(c.inHand)
}

// wanted reports whether a rule's connections are still to be deleted.
func (c *cleaner) wanted(x *index, rule uint32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.inHand[x.backends[x.backend[rule]]].covers(x.rules[rule].protocol)
}

// pass deletes what is in hand.
func (c *cleaner) pass(ctx context.Context, jobs map[core.BackendID]scope) {
	if len(jobs) == 0 {
		return
	}
	start := time.Now()
	x := c.latestIndex()
	doomed := map[uint32]struct{}{}
	for id, s := range jobs {
		span := x.spans[id] // the zero span is empty
		for i := span.first; i < span.end; i++ {
			if s.covers(x.rules[i].protocol) {
				doomed[i] = struct{}{}
			}
		}
	}
	removed, err := c.remove(ctx, x, doomed)
	took := time.Since(start)
	c.tableMu.Lock()
	c.stats.Cleanings++
	c.stats.LastCleaning = took
	c.stats.Removed += removed
	c.tableMu.Unlock()
	if err != nil && ctx.Err() == nil {
		c.log.Warn("connections of backends that are down could not be deleted", "backends", len(jobs), "err", err)
		return
	}
	c.log.Debug("connections of backends that are down deleted", "backends", len(jobs), "connections", removed, "took", took)
}

// remove deletes the connections of some rules. The kernel only lists, and each
// deletion names one connection that was compared here: its deletion by filter
// (6.12) takes other connections along where it compares SCTP ports or IPv6
// addresses, and is slower unless it takes a good part of the table.
func (c *cleaner) remove(ctx context.Context, x *index, rules map[uint32]struct{}) (removed uint64, err error) {
	fd, err := c.ns.socket()
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	rm := remover{fd: fd}
	var errs []error
	for f := range filtersOf(x, rules) {
		errs = append(errs, c.ns.list(ctx, f, func(m *message) bool {
			if i, ok := x.find(m); ok {
				if _, doomed := rules[i]; doomed && c.wanted(x, i) {
					rm.add(m)
				}
			}
			return true
		}))
		rm.flush()
	}
	return rm.removed, errors.Join(errs...)
}

// filtersOf are those under which the kernel lists the connections of some
// rules.
func filtersOf(x *index, rules map[uint32]struct{}) map[filter]struct{} {
	filters := map[filter]struct{}{}
	for i := range rules {
		filters[x.rules[i].filter()] = struct{}{}
	}
	if len(filters) > maxScans {
		return map[filter]struct{}{{}: {}}
	}
	return filters
}

// A remover deletes connections one by one, in batches.
type remover struct {
	fd      int
	batch   []byte
	waiting uint64 // in batch
	removed uint64
}

func (rm *remover) add(m *message) {
	rm.batch = appendDeletion(rm.batch, m)
	if rm.waiting++; rm.waiting == removeBatch {
		rm.flush()
	}
}

// flush sends what waits. The kernel answers only for what it could not delete:
// nearly always what has gone by itself.
func (rm *remover) flush() {
	if rm.waiting == 0 {
		return
	}
	if send(rm.fd, rm.batch) == nil {
		rm.removed += rm.waiting
	}
	rm.batch, rm.waiting = rm.batch[:0], 0
	var answer [4096]byte
	for {
		n, err := receiveDump(rm.fd, answer[:])
		if err != nil {
			return
		}
		for part := answer[:n]; len(part) > 0; {
			m, rest, ok := next(part)
			if ok && m.kind == failed && m.errno != 0 {
				rm.removed--
			}
			part = rest
		}
	}
}
