// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// outboxLen is how many messages wait for the connection at most. A second of a
// large fleet fits; what does not is dropped and counted.
const outboxLen = 16384

// An outbox publishes to an external server on a goroutine of its own. nats.go
// keeps a lock while it writes and while it joins anew, and Publish takes that
// lock: a server that is stopped, not dead, would hold the caller for seconds.
type outbox struct {
	nc       *nats.Conn
	online   atomic.Bool // by the connection's handlers, which take no lock
	counters *counters
	queue    chan outgoing
	stop     chan struct{}
	done     chan struct{}
}

type outgoing struct {
	subject string
	data    []byte
	header  nats.Header     // nil: none
	mark    chan<- struct{} // closed when its turn comes, in place of a message; nil: a message
}

// publish hands the message to a connection.
func (m outgoing) publish(nc *nats.Conn) error {
	if m.header == nil {
		return nc.Publish(m.subject, m.data)
	}
	return nc.PublishMsg(&nats.Msg{Subject: m.subject, Data: m.data, Header: m.header})
}

func newOutbox(c *counters) *outbox {
	return &outbox{counters: c, queue: make(chan outgoing, outboxLen), stop: make(chan struct{}), done: make(chan struct{})}
}

// start runs the outbox of a connection; a nil outbox is none.
func (o *outbox) start(nc *nats.Conn) {
	if o != nil {
		o.nc = nc
		go o.run()
	}
}

// setOnline is for the connection's handlers.
func (o *outbox) setOnline(yes bool) {
	if o != nil {
		o.online.Store(yes)
	}
}

// send hands a message over and never waits.
func (o *outbox) send(m outgoing) error {
	if o.online.Load() {
		select {
		case o.queue <- m:
			return nil
		default:
		}
	}
	o.counters.unsent.Add(1)
	return fmt.Errorf("publish %s: %w", m.subject, ErrAway)
}

// run publishes until stop is closed and the queue is empty. It is owned by
// Bus.Close.
func (o *outbox) run() {
	defer close(o.done)
	for {
		select {
		case m := <-o.queue:
			o.publish(m)
		case <-o.stop:
			for {
				select {
				case m := <-o.queue:
					o.publish(m)
				default:
					return
				}
			}
		}
	}
}

func (o *outbox) publish(m outgoing) {
	if m.mark != nil {
		close(m.mark)
		return
	}
	if err := m.publish(o.nc); err != nil {
		o.counters.unsent.Add(1)
		return
	}
	o.counters.published.Add(1)
}

// close ends run and waits for it, but not for long.
func (o *outbox) close() error {
	if o == nil || o.nc == nil {
		return nil
	}
	close(o.stop)
	select {
	case <-o.done:
		return nil
	case <-time.After(flushTimeout):
		return errors.New("the server takes nothing; what waits for it is dropped")
	}
}
