// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// Subscribe follows the bus. An error means that the pattern is wrong. The data may be
// used during the call only.
type Subscribe func(pattern string, fn func(subject string, data []byte)) (cancel func(), err error)

// underWay is how long a message that is being sent at the end may still take, and
// lastWords how long what is queued then may, the notice of the end among it.
const (
	underWay  = time.Second
	lastWords = 2 * time.Second
)

// A Sender sends what hooks ask for. A nil Sender has none.
type Sender struct {
	hooks     []*hook // sorted by name
	subscribe Subscribe
	log       *slog.Logger
}

// New checks the hooks, reads their files and subscribes to nothing yet. Its errors
// name the key of the configuration.
func New(hooks []Config, subscribe Subscribe, log *slog.Logger) (*Sender, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Sender{subscribe: subscribe, log: log}
	for _, cfg := range hooks {
		h, err := newHook(cfg)
		if err != nil {
			return nil, err
		}
		s.hooks = append(s.hooks, h)
	}
	slices.SortFunc(s.hooks, func(a, b *hook) int { return strings.Compare(a.cfg.Name, b.cfg.Name) })
	return s, nil
}

// Run sends until ctx is done, then what is under way and queued, at most for three
// seconds, and returns nil. A pattern that the bus refuses is logged and told by View.
func (s *Sender) Run(ctx context.Context) error {
	if s == nil {
		return nil
	}
	var wg sync.WaitGroup
	for _, h := range s.hooks {
		cancels := s.follow(h)
		wg.Go(func() {
			h.run(ctx, s.log.With("webhook", h.cfg.Name))
			for _, cancel := range cancels {
				cancel()
			}
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
			defer cancel()
			h.empty(end)
		})
	}
	wg.Wait()
	return nil
}

// follow subscribes a hook to its subjects.
func (s *Sender) follow(h *hook) (cancels []func()) {
	for _, p := range h.cfg.Patterns {
		cancel, err := s.subscribe(p, func(subject string, data []byte) {
			h.queue.put(message{subject, bytes.Clone(data), time.Now()})
		})
		if err != nil {
			s.log.Error("a webhook cannot follow its subject", "webhook", h.cfg.Name, "pattern", p, "err", err)
			h.stats.failing(fmt.Errorf("follow %s: %w", p, err))
			continue
		}
		cancels = append(cancels, cancel)
	}
	return cancels
}

// View tells what became of the messages, by hook, sorted by name.
func (s *Sender) View() []core.WebhookView {
	if s == nil {
		return nil
	}
	out := make([]core.WebhookView, len(s.hooks))
	for i, h := range s.hooks {
		out[i] = h.view()
	}
	return out
}
