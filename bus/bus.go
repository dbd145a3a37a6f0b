// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	dataConn    = "data"
	controlConn = "control"
)

// flushTimeout bounds how long a start or a stop waits for the server's answer.
const flushTimeout = time.Second

// A Bus is one node's connection to the others, or to itself alone. Its methods
// may be called from any goroutine.
type Bus struct {
	opts Options
	inst string // random per start: sequence numbers begin again
	// started is when the bus was made; it has a reading of the monotonic clock.
	started time.Time

	lock   *os.File  // nil without a state directory
	server *embedded // nil with an external NATS

	data, control *nats.Conn
	// dataOut and controlOut stand before the connections to an external server;
	// nil with the embedded one, which never stalls.
	dataOut, controlOut *outbox
	counters            counters
	denials             denials
	closed              atomic.Bool
	// deaf is how many subscriptions there are on the data connection, which gets nothing
	// of what we publish. The server knows of so many at least.
	deaf atomic.Int64
	once sync.Once

	metricGate gate // of PublishMetric

	presences atomic.Uint64 // the last Seq given to one
	events    atomic.Uint64 // the last number of a CloudEvent
	insts     sync.Map      // those under which presences were sent from here

	mu      sync.Mutex
	pumps   map[*pump]struct{} // guarded by mu
	samples []*pump            // guarded by mu; those that take our own samples the short way
}

// Start locks the state directory, starts the embedded server or connects to
// the external one, and returns a bus that works. With an external server it
// does not wait for it to be there. ctx bounds the start only; Close ends the
// bus.
func Start(ctx context.Context, o Options) (*Bus, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("start bus: %w", err)
	}
	b := &Bus{opts: o, inst: rand.Text(), started: time.Now(), pumps: make(map[*pump]struct{})}
	if err := b.start(ctx); err != nil {
		b.Close()
		return nil, fmt.Errorf("start bus: %w", err)
	}
	return b, nil
}

func (b *Bus) start(ctx context.Context) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	if b.opts.StateDir != "" {
		if b.lock, err = lockDir(b.opts.StateDir); err != nil {
			return err
		}
	}
	if len(b.opts.Servers) == 0 {
		if b.server, err = startEmbedded(ctx, b.opts); err != nil {
			return err
		}
		if b.server.listenErr != nil {
			b.opts.Log.Error("bus has no TCP listener", "err", b.server.listenErr)
		}
	}
	if b.server == nil {
		b.dataOut, b.controlOut = newOutbox(&b.counters), newOutbox(&b.counters)
	}
	if b.data, err = b.connect(dataConn, b.dataOut); err != nil {
		return err
	}
	b.control, err = b.connect(controlConn, b.controlOut)
	return err
}

// ListenAddr is the TCP address of the embedded server; nil if it has none.
func (b *Bus) ListenAddr() net.Addr {
	if b.server == nil || b.opts.Listen == "" || b.server.listenErr != nil {
		return nil
	}
	return b.server.srv.Addr()
}

// ListenErr says why the bus is not reachable over TCP although Options.Listen
// is set; nil if it is, or if it was not asked to be.
func (b *Bus) ListenErr() error {
	if b.server == nil {
		return nil
	}
	return b.server.listenErr
}

// Close ends the bus: what was published is sent, subscribers finish the call
// they are in and get no other, the server stops, the state directory is free.
// It takes at most 6 s, whatever hangs, and may be called twice.
func (b *Bus) Close() {
	b.once.Do(b.close)
}

func (b *Bus) close() {
	b.closed.Store(true)
	for _, out := range []*outbox{b.dataOut, b.controlOut} {
		if err := out.close(); err != nil {
			b.opts.Log.Warn("close the bus", "err", err)
		}
	}
	for _, nc := range []*nats.Conn{b.data, b.control} {
		if nc != nil && nc.IsConnected() {
			_ = nc.FlushTimeout(flushTimeout) // the last events are the interesting ones
		}
	}
	b.mu.Lock()
	pumps := make([]*pump, 0, len(b.pumps))
	for p := range b.pumps {
		pumps = append(pumps, p)
	}
	b.mu.Unlock()
	for _, p := range pumps {
		b.endPump(p)
	}
	late := time.After(stopTimeout)
wait:
	for _, p := range pumps {
		select {
		case <-p.done:
		case <-late:
			b.opts.Log.Warn("a subscriber of the bus does not return; left behind")
			break wait
		}
	}
	for _, nc := range []*nats.Conn{b.data, b.control} {
		if nc != nil {
			nc.Close()
		}
	}
	if b.server != nil {
		stopServer(b.server.srv)
	}
	if b.lock != nil {
		_ = b.lock.Close() // lets go of the lock
	}
}
