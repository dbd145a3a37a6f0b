// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core"
)

// Run reads until ctx is done and then returns nil. It returns an error only if
// the events cannot be read at all.
func (r *Reader) Run(ctx context.Context) error {
	defer func() { _ = r.Close() }()
	raw, err := r.events.SyscallConn()
	if err != nil {
		return fmt.Errorf("read conntrack events: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.wakeLocked()
	})
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { r.runCleaner(ctx) })
	l := &loop{
		Reader: r, raw: raw, batch: newBatch(), part: make([]byte, dumpSize),
		gap: min(firstResync, r.resync), removals: remover{fd: r.release},
	}
	return l.run(ctx)
}

// A loop is the state of one Run. It alone changes the table.
type loop struct {
	*Reader
	raw   syscall.RawConn
	batch *batch
	part  []byte // one part of a dump

	due      time.Time     // of the next resync
	gap      time.Duration // from the end of the next resync to the one after it
	began    time.Time     // when the resync in progress began; zero if there is none
	ended    time.Time     // when the last resync ended
	took     time.Duration // of the last resync
	again    bool          // the resync in progress will not be enough
	deadline time.Time     // that the events socket has

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
		if !l.resyncing() && !now.Before(l.due) {
			l.begin()
		}
		if l.setDeadline(ctx) {
			return nil
		}
		if err := l.readEvents(); err != nil {
			return err
		}
		if l.resyncing() {
			l.readDump()
		}
	}
}

// takeOver takes what the Reader was told. It runs after each reading as well, so
// that a message is judged by what was told before it was read.
func (l *loop) takeOver() {
	l.mu.Lock()
	x, changed, sweep := l.watched, l.changed, l.sweep
	var fates map[core.BackendID]fate
	if changed {
		fates = maps.Clone(l.Reader.fates)
	}
	l.watched, l.changed, l.sweep = nil, false, false
	l.mu.Unlock()
	if x != nil {
		l.tableMu.Lock()
		if l.table.watch(x) {
			l.due, l.again = time.Now(), true
		}
		l.tableMu.Unlock()
	}
	if changed {
		l.setFates(fates)
	}
	if sweep {
		l.sweepSoon()
	}
}

// setDeadline sets how long the wait for events may be, and reports whether Run
// is to end.
func (l *loop) setDeadline(ctx context.Context) (end bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ctx.Err() != nil {
		return true
	}
	if l.watched != nil || l.changed || l.sweep {
		return false // the deadline is past, and stays so
	}
	deadline := l.due
	switch {
	case l.resyncing():
		deadline = time.Time{} // none: the dump comes next anyway
	case l.gauge.sift.shift > 0:
		// Silence is a rate, too.
		if next := l.gauge.since.Add(rateWindow); next.Before(deadline) {
			deadline = next
		}
	}
	if l.woken || deadline != l.deadline {
		_ = l.events.SetReadDeadline(deadline)
		l.woken, l.deadline = false, deadline
	}
	return false
}

// readEvents waits for events, unless a dump is in progress, and takes one
// batch of them.
func (l *loop) readEvents() error {
	var n int
	var failure error
	err := l.raw.Read(func(fd uintptr) bool {
		n, failure = l.batch.receive(fd)
		return failure != unix.EAGAIN || l.resyncing()
	})
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil
	case err != nil:
		return fmt.Errorf("read conntrack events: %w", err)
	case failure == unix.EAGAIN:
		return nil
	case failure == unix.ENOBUFS:
		l.overrun("the socket's buffer was full")
		return nil
	case failure != nil:
		return fmt.Errorf("read conntrack events: %w", failure)
	}
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
	return nil
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
	var failure error
	if err := l.raw.Control(func(fd uintptr) { failure = s.attach(int(fd)) }); err != nil || failure != nil {
		l.log.Warn("conntrack events cannot be sampled", "err", errors.Join(err, failure))
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
