// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"

	"github.com/steelyard-lb/steelyard/core"
)

// The queues between the bus and a subscriber. When one is full the newest
// message is lost and counted as overflowed; nobody waits.
const (
	sampleQueue  = 1 << 14 // one round of a probe of 16,000 backends at once
	messageQueue = 1 << 12
	metricQueue  = 2 * metricBurst // room for others while one uses up all that it may
)

// A pump is a subscriber: a queue and the goroutine that empties it.
type pump struct {
	queue chan *nats.Msg // sampleQueue or messageQueue long; when full, messages are dropped
	// own are our own samples, taken first; sampleQueue long, when full they are
	// dropped; nil: none.
	own chan *core.Sample
	// metrics are of monitors, metricQueue long; nil: none. One of them alone cannot fill
	// it: see gate.
	metrics chan metricIn
	deaf    atomic.Int64  // its part of Bus.deaf
	stop    chan struct{} // closed by endPump
	done    chan struct{} // closed when the goroutine has ended
	once    sync.Once
	subs    []*nats.Subscription
}

// A metricIn is what a monitor sent over the bus, or what was sent in its name by this
// process.
type metricIn struct {
	msg *nats.Msg    // nil: own
	own *core.Sample // decoded and checked
}

// pump starts a subscriber. When it returns, the subscription is in force, so
// that what is published next is not missed.
func (b *Bus) pump(nc *nats.Conn, size int, take func(*nats.Msg), subjects ...string) (func(), error) {
	p := newPump(size)
	if err := b.startPump(p, func() { p.run(take) }); err != nil {
		return nil, err
	}
	for _, s := range subjects {
		sub, err := nc.ChanSubscribe(s, p.queue)
		if err = b.joined(p, sub, err); err != nil {
			return nil, err
		}
	}
	b.settled(p, nc)
	return b.canceler(p), nil
}

// pumpSamples starts a subscriber to samples, our own included.
func (b *Bus) pumpSamples(in *intake) (func(), error) {
	p := newPump(sampleQueue)
	p.own, p.metrics = make(chan *core.Sample, sampleQueue), make(chan metricIn, metricQueue)
	if err := b.startPump(p, func() { p.runSamples(in) }); err != nil {
		return nil, err
	}
	sub, err := b.data.ChanSubscribe(Prefix+"."+string(ProbeClass)+".*.*.*.*", p.queue)
	if err = b.joined(p, sub, err); err != nil {
		return nil, err
	}
	sub, err = b.data.Subscribe(Prefix+"."+string(MetricClass)+".>", func(m *nats.Msg) {
		if in.pass(m) {
			b.queueMetric(p, metricIn{msg: m})
		}
	})
	if err = b.joined(p, sub, err); err != nil {
		return nil, err
	}
	b.settled(p, b.data)
	return b.canceler(p), nil
}

func newPump(size int) *pump {
	return &pump{queue: make(chan *nats.Msg, size), stop: make(chan struct{}), done: make(chan struct{})}
}

// startPump makes a pump known and runs its goroutine, which Close ends.
func (b *Bus) startPump(p *pump, run func()) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed.Load() {
		return ErrAway
	}
	b.pumps[p] = struct{}{}
	if p.own != nil {
		b.samples = append(b.samples, p)
	}
	go run()
	return nil
}

// joined notes a subscription of a pump, or ends the pump if there is none.
func (b *Bus) joined(p *pump, sub *nats.Subscription, err error) error {
	if err != nil {
		b.endPump(p)
		<-p.done
		return err
	}
	b.mu.Lock()
	p.subs = append(p.subs, sub)
	b.mu.Unlock()
	return nil
}

// settled waits until the server knows of the subscriptions.
func (b *Bus) settled(p *pump, nc *nats.Conn) {
	if !nc.IsConnected() {
		return // reconnecting, which subscribes anew
	}
	if err := nc.FlushTimeout(flushTimeout); err == nil && nc == b.data {
		n := int64(len(p.subs))
		p.deaf.Store(n)
		b.deaf.Add(n)
	}
}

func (b *Bus) canceler(p *pump) func() {
	return func() {
		b.endPump(p)
		<-p.done
	}
}

func (p *pump) run(take func(*nats.Msg)) {
	defer close(p.done)
	for {
		select {
		case <-p.stop:
			return
		case m := <-p.queue:
			take(m)
		}
	}
}

func (p *pump) runSamples(in *intake) {
	defer close(p.done)
	for {
		// However much others publish, what our own probes learned goes first.
		select {
		case <-p.stop:
			return
		case s := <-p.own:
			in.own(s)
			continue
		default:
		}
		select {
		case <-p.stop:
			return
		case s := <-p.own:
			in.own(s)
		case m := <-p.queue:
			in.probe(m)
		case m := <-p.metrics:
			if m.own != nil {
				in.own(m.own)
			} else {
				in.metric(m.msg)
			}
		}
	}
}

// endPump takes a subscriber off the bus. Its goroutine may still be in a call.
func (b *Bus) endPump(p *pump) {
	p.once.Do(func() {
		b.mu.Lock()
		delete(b.pumps, p)
		b.samples = slices.DeleteFunc(b.samples, func(q *pump) bool { return q == p })
		subs := p.subs
		b.mu.Unlock()
		b.deaf.Add(-p.deaf.Load()) // before the server forgets them
		for _, s := range subs {
			b.counters.overflowed.Add(dropped(s))
			_ = s.Unsubscribe() // the connection may be closed: then it is done already
		}
		close(p.stop)
	})
}

func dropped(s *nats.Subscription) uint64 {
	n, err := s.Dropped()
	if err != nil || n < 0 {
		return 0
	}
	return uint64(n)
}

// loopback hands one of our own samples to our own subscribers, as it is: nobody
// can have forged or repeated it on the way.
func (b *Bus) loopback(s *core.Sample) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.samples {
		select {
		case p.own <- s:
		default:
			b.counters.overflowed.Add(1)
		}
	}
}

// offer hands a metric that this process sent in a monitor's name to our own
// subscribers.
func (b *Bus) offer(s *core.Sample) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.samples {
		b.queueMetric(p, metricIn{own: s})
	}
}

func (b *Bus) queueMetric(p *pump, m metricIn) {
	select {
	case p.metrics <- m:
	default:
		b.counters.overflowed.Add(1)
	}
}
