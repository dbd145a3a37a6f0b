// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"slices"
	"sync"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A mailbox holds the vectors of other nodes until the engine takes them: of each
// service that is configured the newest, so that no flood of them fills the memory.
type mailbox struct {
	news chan struct{} // holds one: something is unread

	mu     sync.Mutex
	boxes  map[string]*letterbox // guarded by mu; by service
	unread []*letterbox          // guarded by mu; each at most once
}

// A letterbox is the mailbox of one service.
type letterbox struct {
	newest core.Vector // once it was taken without Backends: it orders those to come
	heard  time.Time
	unread bool
	led    bool   // this node leads the service
	floor  uint64 // with led: the highest epoch before its own
}

// A letter is a vector that the engine takes.
type letter struct {
	core.Vector
	heard time.Time
}

// newMailbox returns one that takes nothing yet.
func newMailbox() *mailbox { return &mailbox{news: make(chan struct{}, 1)} }

// only has the mailbox take vectors of these services, and of no others.
func (m *mailbox) only(services []core.Service) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.boxes
	m.boxes = make(map[string]*letterbox, len(services))
	for i := range services {
		name := services[i].Name
		if m.boxes[name] = before[name]; m.boxes[name] == nil {
			m.boxes[name] = &letterbox{}
		}
	}
	m.unread = slices.DeleteFunc(m.unread, func(b *letterbox) bool { return m.boxes[b.newest.Service] == nil })
}

// put files a vector, and drops one of a service that is not ours or no newer than the
// newest.
func (m *mailbox) put(v core.Vector, now time.Time) {
	m.mu.Lock()
	b := m.boxes[v.Service]
	taken := b != nil && b.takes(&v)
	if taken {
		b.newest, b.heard = v, now
		if !b.unread {
			b.unread = true
			m.unread = append(m.unread, b)
		}
	}
	m.mu.Unlock()
	if !taken {
		return
	}
	select {
	case m.news <- struct{}{}:
	default: // the engine will look anyway
	}
}

// takes reports whether a vector counts. Whoever takes over from this node has an epoch
// above all before it: what comes under an old one was long under way.
func (b *letterbox) takes(v *core.Vector) bool {
	return b.newest.Before(v) && !(b.led && v.Epoch <= b.floor)
}

// take empties the mailbox.
func (m *mailbox) take() (out []letter) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range m.unread {
		out = append(out, letter{b.newest, b.heard})
		b.newest.Backends, b.unread = nil, false
	}
	m.unread = nil
	return out
}

// leads says whether this node leads a service.
func (m *mailbox) leads(service string, leads bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if b := m.boxes[service]; b != nil && b.led != leads {
		b.led, b.floor = leads, b.newest.Epoch
	}
}

// OfferVector hands the engine the shares that another node has decided for a service.
// It never blocks: of each service the newest vector counts, an older one is dropped, and
// so is one of a service that is not configured. The caller changes Backends no more.
func (e *Engine) OfferVector(v core.Vector) {
	if v.Node != e.cfg.Node {
		e.vectors.put(v, time.Now())
	}
}
