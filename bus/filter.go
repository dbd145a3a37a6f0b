// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"cmp"
	"math"
	"time"
)

// The memory of the filter. Beyond it samples are dropped and counted, so that
// a publisher of invented names cannot fill the process.
const (
	maxSources   = 1024
	maxSequences = 1 << 19 // subjects, over all sources
	// What each monitor may use of a memory of its own.
	monitorInsts     = 8
	monitorSequences = 1 << 14
	sourceIdle       = 10 * time.Minute // a source silent for so long is forgotten when room is needed
)

const (
	// baseWindow is how long a least delay is remembered, at least half of it.
	baseWindow = 5 * time.Minute
	// shiftAfter is how long samples must be late by the same amount until that
	// is taken for a clock that was set back, not for a queue that drains.
	shiftAfter = 3 * time.Second
)

// A verdict says what the filter thinks of a sample.
type verdict uint8

const (
	fresh verdict = iota
	repeated
	late
	crowded
)

// reason is the word for a verdict; empty for fresh.
func (v verdict) reason() reason {
	return [...]reason{fresh: "", repeated: reasonRepeated, late: reasonLate, crowded: reasonCrowded}[v]
}

// A source is one run of one publisher.
type source struct{ src, inst string }

// A filter keeps repeated, reordered and late samples out. It compares no
// clocks: a sample is late by how much longer it took than the fastest recent
// one of its source, so that a constant difference between two clocks cancels
// out. It is not for concurrent use, and reads no clock itself.
type filter struct {
	sources      map[source]*sourceState
	sequences    int
	maxSequences int // 0 means the constant
	maxSources   int // 0 means the constant
	// turnover forgets the source that was silent longest where there is no room:
	// a script has a new one with every run.
	turnover bool
}

type sourceState struct {
	seen map[string]position // by subject
	last time.Time           // latest arrival
	delays
}

// A position is how far a publisher got on one subject.
type position struct {
	seq  uint64
	sent time.Time
}

// judge decides about one sample that arrived at the time given. base is the least delay
// of its source, which is by how much that one's clock is behind ours, plus the fastest
// way between; it means something for a fresh sample only. What has no ttl is never late.
func (f *filter) judge(subject string, e envelope, arrived time.Time) (v verdict, base time.Duration) {
	s := f.source(e.source, arrived)
	if s == nil {
		return crowded, 0
	}
	s.last = arrived
	if !e.undated && s.late(arrived, arrived.Sub(e.sent), cmp.Or(e.ttl, math.MaxInt64)) {
		return late, 0
	}
	base, _ = s.base()
	if e.seq == 0 {
		return fresh, base // not numbered
	}
	p, known := s.seen[subject]
	// A lower number with a later time is a prober that began again within
	// the same run, after a reload. It must not be mute until it catches up.
	if known && e.seq <= p.seq && !e.sent.After(p.sent) {
		return repeated, 0
	}
	if !known {
		if f.sequences >= cmp.Or(f.maxSequences, maxSequences) && !f.evict(arrived) {
			return crowded, 0
		}
		f.sequences++
	}
	s.seen[subject] = position{e.seq, e.sent}
	return fresh, base
}

// source returns the state of a source, or nil if there is no room for it.
func (f *filter) source(id source, now time.Time) *sourceState {
	if s := f.sources[id]; s != nil {
		return s
	}
	if f.sources == nil {
		f.sources = make(map[source]*sourceState)
	}
	if len(f.sources) >= cmp.Or(f.maxSources, maxSources) && !f.evict(now) {
		return nil
	}
	s := &sourceState{seen: make(map[string]position)}
	f.sources[id] = s
	return s
}

// evict forgets sources that have been silent and reports whether there were any.
func (f *filter) evict(now time.Time) bool {
	found := false
	for id, s := range f.sources {
		if now.Sub(s.last) > sourceIdle {
			f.sequences -= len(s.seen)
			delete(f.sources, id)
			found = true
		}
	}
	if !found && f.turnover {
		return f.evictOldest()
	}
	return found
}

func (f *filter) evictOldest() bool {
	var oldest source
	var at time.Time
	for id, s := range f.sources {
		if at.IsZero() || s.last.Before(at) {
			oldest, at = id, s.last
		}
	}
	if s := f.sources[oldest]; s != nil {
		f.sequences -= len(s.seen)
		delete(f.sources, oldest)
	}
	return !at.IsZero()
}

// delays follows how long the messages of one source take, by two clocks that
// need not agree.
type delays struct {
	// least holds the least delay of this half window and of the one before.
	least  [2]time.Duration
	known  [2]bool
	turned time.Time // when this half window began

	// A run of late samples whose delays are alike.
	shiftSince       time.Time
	shiftLo, shiftHi time.Duration
}

// late takes one delay and reports whether it is more than ttl above the least.
func (d *delays) late(now time.Time, delay, ttl time.Duration) bool {
	if now.Sub(d.turned) > baseWindow/2 {
		// After a long silence neither half says anything about today.
		if now.Sub(d.turned) > baseWindow {
			d.known[0] = false
		}
		d.least[1], d.known[1] = d.least[0], d.known[0]
		d.known[0], d.turned = false, now
	}
	base, known := d.base()
	if known && delay-base > ttl && !d.shifted(now, delay, ttl) {
		return true
	}
	d.shiftSince = time.Time{}
	if !d.known[0] || delay < d.least[0] {
		d.least[0], d.known[0] = delay, true
	}
	return false
}

func (d *delays) base() (time.Duration, bool) {
	switch {
	case d.known[0] && d.known[1]:
		return min(d.least[0], d.least[1]), true
	case d.known[0]:
		return d.least[0], true
	default:
		return d.least[1], d.known[1]
	}
}

// shifted notes a late delay and reports whether the source's clock was set
// back: then the base begins again.
func (d *delays) shifted(now time.Time, delay, ttl time.Duration) bool {
	lo, hi := min(d.shiftLo, delay), max(d.shiftHi, delay)
	if d.shiftSince.IsZero() || hi-lo > ttl {
		d.shiftSince, d.shiftLo, d.shiftHi = now, delay, delay
		return false
	}
	d.shiftLo, d.shiftHi = lo, hi
	if now.Sub(d.shiftSince) < shiftAfter {
		return false
	}
	d.known = [2]bool{}
	d.least[0], d.known[0] = lo, true
	return true
}
