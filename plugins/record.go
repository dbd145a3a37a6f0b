// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"sync"
	"unsafe"

	"github.com/steelyard-lb/steelyard/core"
)

// recordBytes bounds what the recordings of a host hold on to, and again those of
// each service that is followed.
const recordBytes = 1 << 20

// A recorder keeps the latest calls. It copies no snapshot: it holds on to those
// that the callers made.
type recorder struct {
	mu       sync.Mutex // guards what follows
	latest   calls      // of all services
	followed map[string]*followed
	added    uint64 // since the start; the number of the next
}

// A followed service has room of its own, so that thousands of others do not
// drive it out before its follower looks again.
type followed struct {
	calls
	since     uint64 // from which number on it has all
	followers int
}

func (r *recorder) add(c core.Recorded) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := numbered{c, r.added, recordedBytes(&c)}
	r.latest.add(n)
	if f := r.followed[c.Snapshot.Service]; f != nil {
		f.add(n)
	}
	r.added++
}

// calls are a ring of the latest, within recordBytes, or the very latest.
type calls struct {
	ring  []numbered
	first int // the oldest
	n     int
	bytes int
}

type numbered struct {
	core.Recorded
	number uint64
	bytes  int
}

func (r *calls) add(c numbered) {
	for r.n > 0 && r.bytes+c.bytes > recordBytes {
		old := &r.ring[r.first]
		r.bytes -= old.bytes
		*old = numbered{}
		r.first = (r.first + 1) % len(r.ring)
		r.n--
	}
	if r.n == len(r.ring) {
		r.grow()
	}
	r.ring[(r.first+r.n)%len(r.ring)] = c
	r.n++
	r.bytes += c.bytes
}

func (r *calls) grow() {
	larger := make([]numbered, max(64, 2*len(r.ring)))
	for i := range r.n {
		larger[i] = r.ring[(r.first+i)%len(r.ring)]
	}
	r.ring, r.first = larger, 0
}

// between appends the calls of a service, of all if it is empty, whose numbers are
// from on, and below to.
func (r *calls) between(out []core.Recorded, service string, from, to uint64) []core.Recorded {
	for i := range r.n {
		c := &r.ring[(r.first+i)%len(r.ring)]
		if c.number >= from && c.number < to && (service == "" || c.Snapshot.Service == service) {
			out = append(out, c.Recorded)
		}
	}
	return out
}

// Recordings are the latest calls of a service's policies, and their answers,
// oldest first; of all services if service is empty. How far back they go is
// bounded by memory: 1 MiB for all services, which is about 240 calls of 16
// backends. They share it with the host: do not change them.
func (h *Host) Recordings(service string) []core.Recorded {
	list, _ := h.RecordingsSince(service, 0)
	return list
}

// RecordingsSince is Recordings without those before a cursor, and the cursor to
// go on from. 0 is before all.
func (h *Host) RecordingsSince(service string, cursor uint64) ([]core.Recorded, uint64) {
	r := &h.record
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.followed[service]
	if f == nil {
		return r.latest.between(nil, service, cursor, r.added), r.added
	}
	out := r.latest.between(nil, service, cursor, f.since)
	return f.between(out, service, max(cursor, f.since), r.added), r.added
}

// FollowRecordings gives the calls of a service 1 MiB of their own until stop is
// called, once, so that other services do not drive them out. For all services,
// the empty name, it does nothing.
func (h *Host) FollowRecordings(service string) (stop func()) {
	r := &h.record
	r.mu.Lock()
	defer r.mu.Unlock()
	if service == "" {
		return func() {}
	}
	f := r.followed[service]
	if f == nil {
		f = &followed{since: r.added}
		if r.followed == nil {
			r.followed = map[string]*followed{}
		}
		r.followed[service] = f
	}
	f.followers++
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if f.followers--; f.followers == 0 {
			delete(r.followed, service)
		}
	}
}

// recordedBytes is about the memory that a recorded call holds on to, with its
// place in the ring, which may be twice as long as it is full.
func recordedBytes(c *core.Recorded) int {
	return 2*int(unsafe.Sizeof(numbered{})) + snapshotBytes(&c.Snapshot) + 8*len(c.Weights) + len(c.Err)
}

func snapshotBytes(s *core.Snapshot) int {
	const backend, reading = int(unsafe.Sizeof(core.BackendInput{})), int(unsafe.Sizeof(core.Reading{}))
	return int(unsafe.Sizeof(*s)) + len(s.Backends)*(backend+len(s.Metrics)*reading)
}
