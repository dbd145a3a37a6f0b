// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"sync"
	"time"
)

// A message is one of the bus, as it came.
type message struct {
	subject string
	data    []byte
	at      time.Time // of arrival
}

// A queue holds the messages that wait for their turn.
type queue struct {
	most int
	more chan struct{} // capacity 1: a token says that there may be something

	mu      sync.Mutex
	list    []message // guarded by mu
	bytes   int       // guarded by mu
	dropped uint64    // guarded by mu
}

func newQueue(most int) *queue { return &queue{most: most, more: make(chan struct{}, 1)} }

// put never waits. Of a full queue the oldest goes: what is new says more of now.
func (q *queue) put(m message) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.list = append(q.list, m)
	q.bytes += len(m.data)
	for len(q.list) > q.most || q.bytes > maxQueueBytes && len(q.list) > 1 {
		q.shift()
		q.dropped++
	}
	select {
	case q.more <- struct{}{}:
	default:
	}
}

func (q *queue) shift() message {
	m := q.list[0]
	q.list[0] = message{} // or the array would keep its data
	q.list = q.list[1:]
	q.bytes -= len(m.data)
	return m
}

// take is the oldest message; false without one.
func (q *queue) take() (message, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.list) == 0 {
		return message{}, false
	}
	return q.shift(), true
}

// next waits for a message; false once ctx is done.
func (q *queue) next(ctx context.Context) (message, bool) {
	for {
		if ctx.Err() != nil {
			return message{}, false
		}
		if m, ok := q.take(); ok {
			return m, true
		}
		select {
		case <-ctx.Done():
		case <-q.more:
		}
	}
}

func (q *queue) counts() (waiting int, dropped uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.list), q.dropped
}

// putBack returns the message that was taken last to its place.
func (q *queue) putBack(m message) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.list = append([]message{m}, q.list...)
	q.bytes += len(m.data)
}
