// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"maps"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/plugins/abi"
)

// A stateKey names what a policy keeps about one service. A version that means
// something else by its slots begins with zeros; any other goes on where the one
// before it was.
type stateKey struct {
	version          int
	backend, service int // slots
	id               uint64
}

// A state is a policy's memory of a service.
type state struct {
	service []byte
	ids     []uint64 // of the backends, in the order of the latest answer
	slots   []byte   // of each of them, one behind the other
	stride  int
	at      time.Time // of the snapshot that wrote it

	next   int            // where lookup goes on: an encoder asks in order
	places map[uint64]int // index in ids; nil while nobody asked out of order
	lookup func(id uint64) []byte
}

// find is the memory of one backend, nil if there is none.
func (s *state) find(id uint64) []byte {
	i := s.next
	if i >= len(s.ids) || s.ids[i] != id {
		if s.places == nil {
			s.places = make(map[uint64]int, len(s.ids))
			for k, id := range s.ids {
				s.places[id] = k
			}
		}
		var ok bool
		if i, ok = s.places[id]; !ok {
			return nil
		}
	}
	s.next = i + 1
	return s.slots[i*s.stride:][:s.stride]
}

// stateLife is how long the state of a service that is no longer scheduled is
// kept.
const stateLife = time.Hour

func (j *job) stateKey() stateKey { return j.version.stateKey(j.call.Snapshot.ID) }

func (v *version) stateKey(service uint64) stateKey {
	return stateKey{v.info.StateVersion, v.frame.BackendSlots, v.frame.ServiceSlots, service}
}

// encode writes a job's snapshot, with the policy's state in it.
func (p *policy) encode(dst []byte, j *job) ([]byte, error) {
	if j.frame.BackendSlots == 0 && j.frame.ServiceSlots == 0 {
		return abi.Encode(dst, &j.call.Snapshot, j.frame)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.states[j.stateKey()]; s != nil {
		s.next = 0
		j.frame.Service, j.frame.Backend = s.service, s.lookup
	}
	return abi.Encode(dst, &j.call.Snapshot, j.frame)
}

// commit keeps the state in a good answer. The caller holds mu.
func (p *policy) commit(j *job, answer []byte) {
	f, snap := &j.frame, &j.call.Snapshot
	if f.BackendSlots == 0 && f.ServiceSlots == 0 {
		return
	}
	s := p.states[j.stateKey()]
	if s == nil {
		s = &state{stride: f.BackendSlots * 8}
		s.lookup = s.find
		p.states[j.stateKey()] = s
	}
	s.at = snap.Now
	service, backends := f.ServiceSlots*8, len(snap.Backends)*s.stride
	s.service = append(s.service[:0], answer[:service]...)
	s.slots = append(s.slots[:0], answer[service:][:backends]...)
	same := len(s.ids) == len(snap.Backends)
	for i := 0; same && i < len(s.ids); i++ {
		same = s.ids[i] == snap.Backends[i].ID
	}
	if same {
		return
	}
	s.ids, s.places = slices.Grow(s.ids[:0], len(snap.Backends)), nil
	for i := range snap.Backends {
		s.ids = append(s.ids, snap.Backends[i].ID)
	}
}

// forget drops the state that neither the version in force nor the one that stands
// by knows how to read. The caller holds mu.
func (p *policy) forget() {
	maps.DeleteFunc(p.states, func(key stateKey, _ *state) bool {
		return key != p.now.stateKey(key.id) && (p.trial.before == nil || key != p.trial.before.stateKey(key.id))
	})
}

// prune drops the state of services that are gone. The caller holds mu.
func (p *policy) prune() {
	var newest time.Time
	for _, s := range p.states {
		if s.at.After(newest) {
			newest = s.at
		}
	}
	for key, s := range p.states {
		if newest.Sub(s.at) > stateLife {
			delete(p.states, key)
		}
	}
}
