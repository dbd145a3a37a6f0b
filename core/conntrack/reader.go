// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"cmp"
	"errors"
	"log/slog"
	"maps"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core"
)

const (
	// DefaultResync is the longest time between two readings of the whole table.
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

// A Reader follows the connection tracking table of one network namespace.
// Watch, Counts, Stats and Ready may be called from any goroutine, before Run
// as well. Run may be called once.
type Reader struct {
	log    *slog.Logger
	resync time.Duration
	ready  chan struct{} // closed after the first resync

	events *os.File
	dump   int // file descriptor
	// release is the descriptor that removes connections: their answers must not
	// come between the parts of a dump.
	release int

	closing sync.Once
	closed  error // of the first Close; read after closing is done

	mu      sync.Mutex
	table   *table                      // guarded by mu
	stats   Stats                       // guarded by mu
	watched map[Flow]core.BackendID     // guarded by mu; nil when table has it already
	woken   bool                        // guarded by mu; the deadline of events is past
	idle    map[core.BackendID]struct{} // guarded by mu; see SetIdle
	sweep   bool                        // guarded by mu; there are new ones in idle
}

// Stats are about the Reader itself, counted since it started.
type Stats struct {
	Events     uint64        // messages read
	Overruns   uint64        // times the kernel had to drop events
	Resyncs    uint64        // readings of the whole table
	Released   uint64        // connections removed from the kernel: see SetIdle
	LastResync time.Duration // how long the last one took
	Entries    int           // open watched connections in memory
}

// New opens the sockets in the network namespace of the calling thread; events
// collect from now on. Run reads them and closes the sockets; without Run, call
// Close.
func New(cfg Config) (*Reader, error) {
	r := &Reader{
		log: cmp.Or(cfg.Log, slog.New(slog.DiscardHandler)), resync: cmp.Or(cfg.Resync, DefaultResync),
		ready: make(chan struct{}), table: newTable(), idle: map[core.BackendID]struct{}{},
	}
	var err error
	if r.events, err = openEvents(cmp.Or(cfg.Buffer, DefaultBuffer)); err != nil {
		return nil, err
	}
	if r.dump, err = open(0); err != nil {
		return nil, errors.Join(err, r.events.Close())
	}
	if r.release, err = open(0); err != nil {
		return nil, errors.Join(err, r.events.Close(), unix.Close(r.dump))
	}
	return r, nil
}

// Close closes the sockets. Run does it when it ends; calling it again is safe.
func (r *Reader) Close() error {
	r.closing.Do(func() { r.closed = errors.Join(r.events.Close(), unix.Close(r.dump), unix.Close(r.release)) })
	return r.closed
}

// Watch replaces the flows that are counted, at most 16 million. Counts speaks
// of a new backend as soon as the table has been read for it.
func (r *Reader) Watch(flows map[Flow]core.BackendID) {
	flows = maps.Clone(flows)
	if flows == nil {
		flows = map[Flow]core.BackendID{}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watched = flows
	r.wakeLocked()
}

// Counts says how many connections each watched backend has, several flows of a
// backend added up. A backend that is missing was not counted yet.
func (r *Reader) Counts() map[core.BackendID]core.FlowCount {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.table.counts()
}

// Stats returns the numbers of the Reader itself.
func (r *Reader) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stats.Entries = len(r.table.open)
	return r.stats
}

// Ready is closed when the table has been read for the first time.
func (r *Reader) Ready() <-chan struct{} { return r.ready }

// wakeLocked ends the wait for events. The loop sets the deadline under the same
// lock under which it looks at what changed, so that no call is lost.
func (r *Reader) wakeLocked() {
	r.woken = true
	_ = r.events.SetReadDeadline(time.Unix(1, 0))
}
