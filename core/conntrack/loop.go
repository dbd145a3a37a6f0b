// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core"
)

const (
	// pause is how long events may wait before they are read. To be woken for each
	// costs seven times as much as to read it.
	pause = 20 * time.Millisecond
	// leastPause is what pause may shrink to where the buffer is too small for it.
	leastPause = time.Millisecond
	// turnBatches is how many batches of events are read before anything else has
	// its turn.
	turnBatches = 64
)

// Run reads until ctx is done and then returns nil. It returns an error only if
// the events cannot be read at all.
func (r *Reader) Run(ctx context.Context) error {
	defer func() { _ = r.Close() }()
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { r.runCleaner(ctx) })
	l := &loop{
		Reader: r, batch: newBatch(), part: make([]byte, dumpSize), timer: time.NewTimer(0),
		gap: min(firstResync, r.resync), pause: pause, born: time.Now(), removals: remover{fd: r.release},
	}
	defer l.timer.Stop()
	return l.run(ctx)
}

// A loop is the state of one Run. It alone changes the table.
type loop struct {
	*Reader
	batch *batch
	part  []byte // one part of a dump
	timer *time.Timer

	due   time.Time     // of the next resync
	gap   time.Duration // from the end of the next resync to the one after it
	born  time.Time     // when the loop began: its ticks count from there
	began time.Time     // when the resync in progress began; zero if there is none
	ended time.Time     // when the last resync ended
	took  time.Duration // of the last resync
	again bool          // the resync in progress will not be enough

	follow follower
	pause  time.Duration // between two looks for events
	more   bool          // there may be more events already

	gauge    gauge
	fates    []fate  // of each backend of the table's index; nil if none has one
	removals remover // what of them is to be removed
}

func (l *loop) resyncing() bool { return !l.began.IsZero() }

func (l *loop) run(ctx context.Context) error {
	for {
		l.takeOver()
		now := time.Now()
		if l.gauge.look(now, l.stats.Events) {
			l.setSift()
		}
		if err := l.attend(now); err != nil {
			return err
		}
		if !l.resyncing() && !now.Before(l.due) {
			l.begin()
		}
		if l.rest(ctx) {
			return nil
		}
		if err := l.readEvents(); err != nil {
			return err
		}
		l.advance(now)
		if l.resyncing() {
			l.readDump()
		}
	}
}

// rest waits until there may be something to do, and reports whether Run is to
// end.
func (l *loop) rest(ctx context.Context) (end bool) {
	if l.resyncing() || l.more {
		return ctx.Err() != nil // the next part of the dump is there
	}
	wait := time.Until(l.due)
	if l.follow.joined {
		wait = min(wait, l.pause)
	}
	l.timer.Reset(max(0, wait))
	select {
	case <-ctx.Done():
		return true
	case <-l.wake:
	case <-l.timer.C:
	}
	return false
}

// takeOver takes what the Reader was told. It runs after each reading as well, so
// that a message is judged by what was told before it was read.
func (l *loop) takeOver() {
	l.mu.Lock()
	x, changed, alert, sweep := l.watched, l.changed, l.alert, l.sweep
	var fates map[core.BackendID]fate
	if changed {
		fates = maps.Clone(l.Reader.fates)
	}
	l.watched, l.changed, l.alert, l.sweep = nil, false, false, false
	l.mu.Unlock()
	if x != nil {
		x = l.letAnswers(x)
		l.tableMu.Lock()
		if l.table.watch(x) {
			l.due, l.again = time.Now(), true
		}
		l.tableMu.Unlock()
		l.follow.wanted = x.live
	}
	if changed {
		l.setFates(fates)
	}
	if alert {
		l.follow.alert(time.Now())
	}
	if sweep {
		l.sweepSoon()
	}
}

// readEvents takes the events that have come, without waiting for any.
func (l *loop) readEvents() error {
	for range turnBatches {
		n, err := l.batch.receive(l.events)
		l.more = err == nil && n == eventBatch
		switch {
		case err == unix.EAGAIN:
			return nil
		case err == unix.ENOBUFS:
			l.pause = max(l.pause/2, leastPause)
			l.overrun("the socket's buffer was full")
			return nil
		case err != nil:
			return fmt.Errorf("read conntrack events: %w", err)
		}
		l.takeEvents(n)
		if !l.more || l.resyncing() {
			return nil
		}
	}
	return nil
}

// takeEvents gives a batch of n events to the table.
func (l *loop) takeEvents(n int) {
	l.takeOver()
	l.tableMu.Lock()
	broken := false
	for i := range n {
		data, cut := l.batch.datagram(i)
		broken = broken || cut || !l.takeLocked(data)
	}
	l.tableMu.Unlock()
	l.remove()
	if broken {
		l.overrun("a message could not be read")
	}
}

// takeLocked gives every message of a datagram to the table.
func (l *loop) takeLocked(data []byte) bool {
	for len(data) > 0 {
		m, rest, ok := next(data)
		if !ok {
			return false
		}
		l.stats.Events++
		l.takeMessageLocked(&m)
		data = rest
	}
	return true
}

func (l *loop) takeMessageLocked(m *message) {
	rule := l.table.add(m)
	if l.fates != nil {
		l.judgeLocked(rule, m)
	}
}

// setSift follows fewer or more connections, as the gauge says.
func (l *loop) setSift() {
	s := l.gauge.sift
	if err := s.attach(l.events, l.table.index.answers); err != nil {
		l.log.Warn("conntrack events cannot be sampled", "err", err)
		l.gauge.sift = l.table.sift
		return
	}
	l.tableMu.Lock()
	finer := s.shift < l.table.sift.shift
	l.table.setSift(s)
	l.tableMu.Unlock()
	l.log.Warn("the rate of connections has changed", "followed_one_in", s.weight())
	if finer {
		l.due, l.again = time.Now(), true
	}
}
