// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	firstResync = 10 * time.Second // after the first; doubles up to Config.Resync
	// A resync takes about 3 s per million entries. When events keep getting
	// lost, resyncs may use at most a tenth of the time.
	minResync   = time.Second
	resyncShare = 10
)

// Run reads until ctx is done and then returns nil. It returns an error only if
// the events cannot be read at all.
func (r *Reader) Run(ctx context.Context) error {
	defer func() { _ = r.Close() }()
	stop := context.AfterFunc(ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.wakeLocked()
	})
	defer stop()
	raw, err := r.events.SyscallConn()
	if err != nil {
		return fmt.Errorf("read conntrack events: %w", err)
	}
	l := &loop{
		Reader: r, raw: raw, batch: newBatch(), part: make([]byte, dumpSize),
		gap: min(firstResync, r.resync),
	}
	return l.run(ctx)
}

// A loop is the state of one Run.
type loop struct {
	*Reader
	raw   syscall.RawConn
	batch *batch
	part  []byte // one part of a dump

	due      time.Time     // of the next resync
	gap      time.Duration // from the end of the next resync to the one after it
	began    time.Time     // when the resync in progress began; zero if there is none
	ended    time.Time     // when the last resync ended
	again    bool          // the resync in progress will not be enough
	deadline time.Time     // that the events socket has
}

func (l *loop) resyncing() bool { return !l.began.IsZero() }

func (l *loop) run(ctx context.Context) error {
	for {
		if l.prepare(ctx) {
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

// prepare takes over what changed and sets how long the wait may be. It reports
// whether Run is to end.
func (l *loop) prepare(ctx context.Context) (end bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ctx.Err() != nil {
		return true
	}
	if l.watched != nil {
		if l.table.watch(l.watched) {
			l.due, l.again = time.Now(), true
		}
		l.forgetIdleLocked()
		l.watched = nil
	}
	if l.sweep {
		l.sweepLocked()
	}
	if !l.resyncing() && !time.Now().Before(l.due) {
		l.beginLocked()
	}
	deadline := l.due
	if l.resyncing() {
		deadline = time.Time{} // none: the dump comes next anyway
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
	l.mu.Lock()
	broken := false
	for i := range n {
		data, cut := l.batch.datagram(i)
		broken = broken || cut || !l.takeLocked(data)
	}
	l.mu.Unlock()
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
		l.table.add(&m)
		l.releaseLocked(&m)
		data = rest
	}
	return true
}

// overrun asks for a resync because events were lost.
func (l *loop) overrun(why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.Overruns++
	l.gap = min(firstResync, l.resync)
	if l.resyncing() {
		l.again = true
		return
	}
	if soon := l.soon(); l.due.After(soon) {
		l.due = soon
		l.log.Warn("conntrack events were lost", "why", why, "overruns_total", l.stats.Overruns, "resync_in", time.Until(soon))
	}
}

// soon is the earliest time for a resync that lost events ask for.
func (l *loop) soon() time.Time {
	return time.Now().Add(max(minResync, resyncShare*l.stats.LastResync))
}

func (l *loop) beginLocked() {
	if err := requestDump(l.dump); err != nil {
		l.log.Warn("the conntrack table cannot be read", "err", err)
		l.due = time.Now().Add(minResync)
		return
	}
	l.began, l.again = time.Now(), false
	l.table.beginSync()
}

// giveUpLocked ends the resync in progress and throws away what the kernel
// still had to say of it.
func (l *loop) giveUpLocked() {
	l.began = time.Time{}
	l.table.abortSync()
	l.due = time.Now().Add(minResync)
	for {
		n, err := receiveDump(l.dump, l.part)
		if err != nil || isLast(l.part[:n]) {
			return
		}
	}
}

// isLast reports whether a part of a dump holds its end.
func isLast(part []byte) bool {
	for len(part) > 0 {
		m, rest, ok := next(part)
		if !ok || m.kind == done || m.kind == failed {
			return true
		}
		part = rest
	}
	return false
}

// readDump takes one part of the dump in progress. Between two parts the events
// are read, so that their buffer does not fill.
func (l *loop) readDump() {
	n, err := receiveDump(l.dump, l.part)
	l.mu.Lock()
	defer l.mu.Unlock()
	for part := l.part[:n]; err == nil && len(part) > 0; {
		m, rest, ok := next(part)
		switch {
		case !ok:
			err = errors.New("read the conntrack table: broken message")
		case m.kind == failed:
			err = fmt.Errorf("read the conntrack table: %w", unix.Errno(-m.errno))
		case m.kind == done:
			l.finishLocked()
			return
		default:
			l.table.add(&m)
			l.releaseLocked(&m)
		}
		part = rest
	}
	if err != nil {
		l.log.Warn("the conntrack table cannot be read", "err", err)
		l.giveUpLocked()
	}
}

func (l *loop) finishLocked() {
	l.table.endSync()
	l.stats.Resyncs++
	l.stats.LastResync = time.Since(l.began)
	l.began, l.ended = time.Time{}, time.Now()
	if l.stats.Resyncs == 1 {
		close(l.ready)
	}
	if l.due = time.Now().Add(l.gap); l.again {
		l.due = l.soon()
	}
	l.gap = min(2*l.gap, l.resync)
	l.log.Debug("conntrack table read", "entries", len(l.table.open), "took", l.stats.LastResync)
}
