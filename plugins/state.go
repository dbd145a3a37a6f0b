// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"bytes"
	"time"

	"github.com/steelyard-lb/steelyard/plugins/abi"
)

// A stateKey names what one version of a policy keeps about one service. Another
// version begins with zeros.
type stateKey struct {
	version string
	service uint64
}

// A state is a policy's memory of a service.
type state struct {
	service  []byte
	backends map[uint64][]byte
	at       time.Time // of the snapshot that wrote it
}

func (s *state) backend(id uint64) []byte { return s.backends[id] }

// stateLife is how long the state of a service that is no longer scheduled is
// kept.
const stateLife = time.Hour

// commit keeps the state in an answer. The caller holds mu.
func (h *Host) commit(j *job, a abi.Answer) {
	if j.frame.BackendSlots == 0 && j.frame.ServiceSlots == 0 {
		return
	}
	snap := &j.call.Snapshot
	key := stateKey{j.program.version, snap.ID}
	s := h.states[key]
	if s == nil {
		s = &state{backends: make(map[uint64][]byte, len(snap.Backends))}
		h.states[key] = s
	}
	s.at = snap.Now
	s.service = append(s.service[:0], a.Service...)
	for i, b := range snap.Backends {
		if old := s.backends[b.ID]; len(old) == len(a.Backend[i]) {
			copy(old, a.Backend[i])
		} else {
			s.backends[b.ID] = bytes.Clone(a.Backend[i])
		}
	}
	if len(s.backends) > len(snap.Backends) {
		s.forget(j)
	}
}

// forget drops the backends that are no longer in the service.
func (s *state) forget(j *job) {
	present := make(map[uint64]bool, len(j.call.Snapshot.Backends))
	for _, b := range j.call.Snapshot.Backends {
		present[b.ID] = true
	}
	for id := range s.backends {
		if !present[id] {
			delete(s.backends, id)
		}
	}
}

// prune drops the state of services that are gone. The caller holds mu.
func (h *Host) prune() {
	var newest time.Time
	for _, s := range h.states {
		if s.at.After(newest) {
			newest = s.at
		}
	}
	for key, s := range h.states {
		if newest.Sub(s.at) > stateLife {
			delete(h.states, key)
		}
	}
}
