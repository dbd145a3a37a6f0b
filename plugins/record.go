// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"sync"
	"unsafe"

	"github.com/steelyard-lb/steelyard/core"
)

// recordBytes bounds what the recordings of a host hold on to.
const recordBytes = 4 << 20

// A recorder keeps the latest calls. It copies no snapshot: it holds on to those
// that the callers made.
type recorder struct {
	mu    sync.Mutex // guards what follows
	ring  []core.Recorded
	first int // the oldest
	n     int
	bytes int
	added uint64 // since the start
}

func (r *recorder) add(c core.Recorded) {
	size := recordedBytes(&c)
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.n > 0 && r.bytes+size > recordBytes {
		old := &r.ring[r.first]
		r.bytes -= recordedBytes(old)
		*old = core.Recorded{}
		r.first = (r.first + 1) % len(r.ring)
		r.n--
	}
	if size > recordBytes {
		return
	}
	if r.n == len(r.ring) {
		r.grow()
	}
	r.ring[(r.first+r.n)%len(r.ring)] = c
	r.n++
	r.added++
	r.bytes += size
}

func (r *recorder) grow() {
	larger := make([]core.Recorded, max(64, 2*len(r.ring)))
	for i := range r.n {
		larger[i] = r.ring[(r.first+i)%len(r.ring)]
	}
	r.ring, r.first = larger, 0
}

// Recordings are the latest calls of a service's policies, and their answers,
// oldest first; of all services if service is empty. How far back they go is
// bounded by memory: 4 MiB, which is about 950 calls of 16 backends. They share
// it with the host: do not change them.
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
	var out []core.Recorded
	oldest := r.added - uint64(r.n)
	for i := int(max(cursor, oldest) - oldest); i < r.n; i++ {
		c := &r.ring[(r.first+i)%len(r.ring)]
		if service == "" || c.Snapshot.Service == service {
			out = append(out, *c)
		}
	}
	return out, r.added
}

// recordedBytes is about the memory that a recorded call holds on to, with its
// place in the ring, which may be twice as long as it is full.
func recordedBytes(c *core.Recorded) int {
	return 2*int(unsafe.Sizeof(*c)) + snapshotBytes(&c.Snapshot) + 8*len(c.Weights) + len(c.Err)
}

func snapshotBytes(s *core.Snapshot) int {
	const backend, reading = int(unsafe.Sizeof(core.BackendInput{})), int(unsafe.Sizeof(core.Reading{}))
	return int(unsafe.Sizeof(*s)) + len(s.Backends)*(backend+len(s.Metrics)*reading)
}
