// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"sync"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// stats count what became of messages.
type stats struct {
	mu   sync.Mutex
	view core.WebhookView // guarded by mu; without what the queue knows
}

func (s *stats) sent(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.view.Sent++
	s.view.LastError, s.view.LastAt = "", now.UTC()
}

// failing notes why an attempt failed that another may follow.
func (s *stats) failing(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.view.LastError = err.Error()
}

func (s *stats) retry() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.view.Retries++
}

// failed counts a message that was given up.
func (s *stats) failed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.view.Failed++
}

func (h *hook) view() core.WebhookView {
	h.stats.mu.Lock()
	v := h.stats.view
	h.stats.mu.Unlock()
	v.Name, v.Host = h.cfg.Name, h.host
	v.Queued, v.Dropped = h.queue.counts()
	return v
}
