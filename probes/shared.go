// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"runtime"
	"sync"
	"weak"
)

// A shared holds what is dear to make and the same for many probers: 16,000 of
// them may come from one spec. It lives as long as somebody holds it, so a reload
// of the configuration leaves nothing behind.
type shared[K comparable, V any] struct {
	mu sync.Mutex
	of map[K]weak.Pointer[V] // guarded by mu
}

// get is what fresh made for key, now or before. fits, unless nil, has the last word
// on what is there. An error is not kept.
func (s *shared[K, V]) get(key K, fits func(*V) bool, fresh func() (*V, error)) (*V, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.of[key].Value(); v != nil && (fits == nil || fits(v)) {
		return v, nil
	}
	v, err := fresh()
	if err != nil {
		return nil, err
	}
	if s.of == nil {
		s.of = make(map[K]weak.Pointer[V])
	}
	s.of[key] = weak.Make(v)
	runtime.AddCleanup(v, s.forget, key)
	return v, nil
}

// forget drops the entry of a value that nobody holds any more, unless another has
// taken its place.
func (s *shared[K, V]) forget(key K) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of[key].Value() == nil {
		delete(s.of, key)
	}
}
