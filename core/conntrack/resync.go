// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"time"
)

const (
	firstResync = 10 * time.Second // after the first; doubles up to Config.Resync
	// A resync takes about 3 s per million entries. Resyncs may use at most a tenth
	// of the time, however often events are lost.
	minResync   = time.Second
	resyncShare = 10
	// restShare is the same while nobody needs the counts but to look at them, and
	// restResync the least time between two resyncs then.
	restShare  = 100
	restResync = 10 * time.Second
)

// overrun asks for a resync because events were lost.
func (l *loop) overrun(why string) {
	l.tableMu.Lock()
	l.stats.Overruns++
	overruns := l.stats.Overruns
	l.table.restartPassives()
	l.tableMu.Unlock()
	l.gap = min(firstResync, l.resync)
	if l.resyncing() {
		l.again = true
		return
	}
	if soon := l.soon(); l.due.After(soon) {
		l.due = soon
		l.log.Warn("conntrack events were lost", "why", why, "overruns_total", overruns, "resync_in", time.Until(soon))
	}
}

// soon is the earliest time for a resync that lost events ask for.
func (l *loop) soon() time.Time { return time.Now().Add(max(minResync, resyncShare*l.took)) }

// sweepSoon brings the next resync forward for backends that have become idle,
// as far as resyncs may use that much of the time.
func (l *loop) sweepSoon() {
	if l.resyncing() {
		l.again = true // part of the table has been passed
		return
	}
	next := l.ended.Add(resyncShare * l.took)
	if now := time.Now(); next.Before(now) {
		next = now
	}
	if l.due.After(next) {
		l.due = next
	}
}

func (l *loop) begin() {
	if err := send(l.dump, filter{}.dump()); err != nil {
		l.log.Warn("the conntrack table cannot be read", "err", err)
		l.due = time.Now().Add(minResync)
		return
	}
	l.began, l.again = time.Now(), false
	l.checkSetting()
	l.tableMu.Lock()
	l.table.beginSync()
	l.tableMu.Unlock()
}

// giveUp ends the resync in progress and throws away what the kernel still had
// to say of it.
func (l *loop) giveUp() {
	l.began = time.Time{}
	l.tableMu.Lock()
	l.table.abortSync()
	l.tableMu.Unlock()
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
		if end, _ := m.end(ok); end {
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
	end := false
	l.takeOver()
	if err == nil {
		end, err = l.takePart(l.part[:n])
	}
	l.remove()
	switch {
	case err != nil:
		l.log.Warn("the conntrack table cannot be read", "err", err)
		l.giveUp()
	case end:
		l.finish()
	}
}

// takePart gives the entries of one part to the table.
func (l *loop) takePart(part []byte) (end bool, err error) {
	l.tableMu.Lock()
	defer l.tableMu.Unlock()
	for len(part) > 0 {
		m, rest, ok := next(part)
		if end, err := m.end(ok); end || err != nil {
			return end, err
		}
		l.takeMessageLocked(&m)
		part = rest
	}
	return false, nil
}

// unhurried is how long after a resync the next one is due by itself. With events
// it looks for connections that could not tell of their end; without, it is all
// that counts.
func (l *loop) unhurried() time.Duration {
	switch f := &l.follow; {
	case f.joined:
		return max(l.gap, resyncShare*l.took)
	case f.wanted || f.fated: // but not possible
		return max(minResync, resyncShare*l.took)
	}
	return max(min(restResync, l.resync), restShare*l.took)
}

func (l *loop) finish() {
	now := time.Now()
	began := l.began
	l.took = now.Sub(began)
	l.began, l.ended = time.Time{}, now
	l.tableMu.Lock()
	l.table.endSync()
	l.stats.Resyncs++
	l.stats.LastResync = l.took
	l.readAt = began
	l.stats.Live = l.follow.joined && l.follow.possible() && !began.Before(l.follow.at)
	first, entries := l.stats.Resyncs == 1, len(l.table.open)
	l.tableMu.Unlock()
	if first {
		close(l.ready)
	}
	if !l.follow.joined && began.Sub(l.follow.fatedAt) >= lookAgain {
		l.follow.fated = l.anyFated()
	}
	if l.due = now.Add(l.unhurried()); l.again {
		l.due = l.soon()
	}
	l.gap = min(2*l.gap, l.resync)
	l.log.Debug("conntrack table read", "entries", entries, "took", l.took)
}
