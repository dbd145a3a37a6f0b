// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"cmp"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core"
)

const (
	// DefaultResync is the longest time between two readings of the whole table
	// while the counts are live.
	DefaultResync = 5 * time.Minute
	// DefaultBuffer holds about 100,000 events.
	DefaultBuffer = 64 << 20
)

// A Config says how to read. The zero Config is ready.
type Config struct {
	Log    *slog.Logger  // nil means silence
	Resync time.Duration // zero means DefaultResync
	Buffer int           // bytes for events not yet read; zero means DefaultBuffer
}

// A Reader follows the connection tracking table of one network namespace. All
// methods but Run may be called from any goroutine, before Run as well; none but
// List waits for the kernel. Run may be called once.
type Reader struct {
	log    *slog.Logger
	resync time.Duration
	ready  chan struct{} // closed after the first resync
	clean  chan struct{} // holds 1: a second call for the cleaner is none
	wake   chan struct{} // holds 1: ends the loop's pause

	ns     *namespace
	events int // file descriptor
	dump   int // file descriptor
	// release is the descriptor that removes connections: their answers must not
	// come between the parts of a dump.
	release int

	closing sync.Once
	closed  error // of the first Close; read after closing is done

	// mu is held for moments only, so that whoever tells the Reader something does
	// not wait for it to read a table.
	mu      sync.Mutex
	watched *index                   // guarded by mu; nil when table has it already
	latest  *index                   // guarded by mu; of the last Watch
	fates   map[core.BackendID]fate  // guarded by mu
	changed bool                     // guarded by mu; fates has changed
	alert   bool                     // guarded by mu; there are new ones
	sweep   bool                     // guarded by mu; there are new ones that are idle
	jobs    map[core.BackendID]scope // guarded by mu; for the cleaner
	inHand  map[core.BackendID]scope // guarded by mu; what the cleaner is at

	tableMu sync.Mutex
	table   *table    // guarded by tableMu
	stats   Stats     // guarded by tableMu
	readAt  time.Time // guarded by tableMu; see AsOf
}

// Stats are about the Reader itself, counted since it started.
type Stats struct {
	Events       uint64        // messages read
	Overruns     uint64        // times the kernel had to drop events
	Resyncs      uint64        // readings of the whole table
	Released     uint64        // connections removed one by one: see SetIdle
	Removed      uint64        // connections removed one by one: see SetDown and Cut
	Cleanings    uint64        // passes through the kernel's table for SetDown and Cut
	LastResync   time.Duration // how long the last one took
	LastCleaning time.Duration // how long the last one took
	Entries      int           // open watched connections in memory
	OneIn        uint64        // one connection in so many is followed, and counts for all of them
	Live         bool          // see AsOf
}

// New opens the sockets in the network namespace of the calling thread. Run
// closes them; without Run, call Close.
func New(cfg Config) (*Reader, error) {
	x := newIndex(nil)
	r := &Reader{
		log: cmp.Or(cfg.Log, slog.New(slog.DiscardHandler)), resync: cmp.Or(cfg.Resync, DefaultResync),
		ready: make(chan struct{}), clean: make(chan struct{}, 1), wake: make(chan struct{}, 1),
		table: newTable(x), latest: x, fates: map[core.BackendID]fate{}, jobs: map[core.BackendID]scope{},
	}
	var err error
	if r.ns, err = hereNamespace(); err != nil {
		return nil, err
	}
	if r.events, err = openEvents(cmp.Or(cfg.Buffer, DefaultBuffer)); err != nil {
		return nil, errors.Join(err, r.ns.file.Close())
	}
	if r.dump, err = open(); err != nil {
		return nil, errors.Join(err, unix.Close(r.events), r.ns.file.Close())
	}
	if r.release, err = open(); err != nil {
		return nil, errors.Join(err, unix.Close(r.events), unix.Close(r.dump), r.ns.file.Close())
	}
	loadModule(r.release)
	_, _ = r.ns.enableEvents() // before there are connections; Run looks again and tells
	return r, nil
}

// Close closes the sockets. Run does it when it ends; calling it again is safe.
func (r *Reader) Close() error {
	r.closing.Do(func() {
		r.closed = errors.Join(unix.Close(r.events), unix.Close(r.dump), unix.Close(r.release), r.ns.file.Close())
	})
	return r.closed
}

// Watch replaces the backends that are counted, each named once. Counts speaks
// of a new one as soon as the table has been read for it. There is room for 16
// million pairs of a frontend and an address; what is above that is not counted.
func (r *Reader) Watch(watched []Watched) {
	x := newIndex(watched)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watched, r.latest = x, x
	for id := range r.fates {
		if _, stays := x.spans[id]; !stays {
			delete(r.fates, id)
		}
	}
	r.changed = true
	r.wakeUp()
}

func (r *Reader) latestIndex() *index {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.latest
}

// Counts says how many connections each watched backend has, over all its
// frontends and addresses. A backend that is missing was not counted yet.
func (r *Reader) Counts() map[core.BackendID]core.FlowCount {
	r.tableMu.Lock()
	x, sums := r.table.index, r.table.totals()
	r.tableMu.Unlock()
	return x.byID(sums)
}

// AsOf says of what time the counts are. While live they follow the kernel's
// events, a few hundredths of a second behind; else they are of at, when the whole
// table was last read or they were last live, zero before. Ask before Counts.
func (r *Reader) AsOf() (at time.Time, live bool) {
	r.tableMu.Lock()
	defer r.tableMu.Unlock()
	return r.readAt, r.stats.Live
}

// CountsOf says how many connections of each protocol a backend has; nil if it
// was not counted yet.
func (r *Reader) CountsOf(id core.BackendID) map[core.Protocol]core.FlowCount {
	r.tableMu.Lock()
	defer r.tableMu.Unlock()
	return r.table.byProtocol(id)
}

// Stats returns the numbers of the Reader itself.
func (r *Reader) Stats() Stats {
	r.tableMu.Lock()
	defer r.tableMu.Unlock()
	r.stats.Entries, r.stats.OneIn = len(r.table.open), r.table.sift.weight()
	return r.stats
}

// Ready is closed when the table has been read for the first time.
func (r *Reader) Ready() <-chan struct{} { return r.ready }

// wakeUp ends the loop's pause, or the next one: no call is lost.
func (r *Reader) wakeUp() {
	select {
	case r.wake <- struct{}{}:
	default: // it has not looked yet, and will see this as well
	}
}
