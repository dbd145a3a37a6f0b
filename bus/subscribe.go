// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/steelyard-lb/steelyard/core"
)

// The queues between the bus and a subscriber. When one is full the newest
// message is lost and counted as overflowed; nobody waits.
const (
	sampleQueue  = 1 << 14 // one round of a probe of 16,000 backends at once
	messageQueue = 1 << 12
)

// SubscribeSamples calls fn for every sample that a node's probes or a monitor
// publish, this node's own included, on one goroutine. Repeated, reordered, late
// and malformed samples are dropped, counted, and told of now and then in the log
// and in an event of the topic bus. A sample of a monitor always
// has the metric role: what is published under metric says nothing about health.
//
// fn must not block for long, and must not call cancel: cancel waits for the
// call of fn that is running. Close waits for it too, but not for ever.
func (b *Bus) SubscribeSamples(fn func(core.Sample)) (cancel func(), err error) {
	// Two memories: what monitors invent cannot crowd out the probes.
	probes, metrics := &filter{}, &filter{maxSequences: metricSequences}
	told := &core.Seldom{}
	take := func(m *nats.Msg) {
		f := probes
		if isMetric(m.Subject) {
			f = metrics
		}
		if s, ok := b.admit(f, told, m, time.Now()); ok {
			fn(s)
		}
	}
	own := func(s *core.Sample) {
		b.counters.received.Add(1)
		fn(*s)
	}
	cancel, err = b.pump(b.data, sampleQueue, take, own,
		Prefix+"."+string(ProbeClass)+".*.*.*.*", Prefix+"."+string(MetricClass)+".*.*.*.*")
	if err != nil {
		return nil, fmt.Errorf("subscribe to samples: %w", err)
	}
	return cancel, nil
}

func isMetric(subject string) bool {
	return strings.HasPrefix(subject, Prefix+"."+string(MetricClass)+".")
}

// admit decodes one message and asks the filter.
func (b *Bus) admit(f *filter, told *core.Seldom, m *nats.Msg, arrived time.Time) (core.Sample, bool) {
	s, env, err := decodeSample(m.Subject, m.Data)
	// Our own come the short way, without a subscription: this one is forged, or
	// of a second node that was given our name.
	if err == nil && m.Sub != nil && s.Node == b.opts.Node && !isMetric(m.Subject) {
		err = fmt.Errorf("sample on %s did not come from here: %w", m.Subject, errMismatch)
	}
	if err != nil {
		r := reasonInvalid
		if errors.Is(err, errMismatch) {
			r = reasonMismatched
		}
		b.drop(told, m, r, err, arrived)
		return core.Sample{}, false
	}
	if env.ttl == 0 {
		env.ttl = b.opts.SampleTTL
	}
	if r := f.judge(m.Subject, env, arrived).reason(); r != "" {
		b.drop(told, m, r, nil, arrived)
		return core.Sample{}, false
	}
	if m.Sub != nil && isMetric(m.Subject) {
		s.Type, s.Code, s.Admin = "", "", "" // those are a probe's, and a monitor is none
	}
	b.counters.received.Add(1)
	return s, true
}

// Subscribe calls fn for every message that matches the pattern, on one
// goroutine, with the body as it came. The prefix may be left out: "health.>".
// fn may keep data. What SubscribeSamples says about blocking and cancel holds
// here too.
func (b *Bus) Subscribe(pattern string, fn func(subject string, data []byte)) (cancel func(), err error) {
	full, err := Pattern(pattern)
	if err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	cancel, err = b.pump(b.control, messageQueue, func(m *nats.Msg) { fn(m.Subject, m.Data) }, nil, full)
	if err != nil {
		return nil, fmt.Errorf("subscribe to %s: %w", full, err)
	}
	return cancel, nil
}

// A pump is a subscriber: a queue and the goroutine that empties it.
type pump struct {
	queue chan *nats.Msg // sampleQueue or messageQueue long; when full, messages are dropped
	// own are our own samples, taken first; sampleQueue long, when full they are
	// dropped; nil: none.
	own  chan *core.Sample
	deaf atomic.Int64  // its part of Bus.deaf
	stop chan struct{} // closed by endPump
	done chan struct{} // closed when the goroutine has ended
	once sync.Once
	subs []*nats.Subscription
}

// pump starts a subscriber. When it returns, the subscription is in force, so
// that what is published next is not missed. own takes our own samples; nil: they
// are not wanted.
func (b *Bus) pump(nc *nats.Conn, size int, take func(*nats.Msg), own func(*core.Sample), subjects ...string) (func(), error) {
	p := &pump{queue: make(chan *nats.Msg, size), stop: make(chan struct{}), done: make(chan struct{})}
	b.mu.Lock()
	if b.closed.Load() {
		b.mu.Unlock()
		return nil, ErrAway
	}
	b.pumps[p] = struct{}{}
	if own != nil {
		p.own = make(chan *core.Sample, sampleQueue)
		b.samples = append(b.samples, p)
	}
	b.mu.Unlock()

	go p.run(take, own)
	for _, s := range subjects {
		sub, err := nc.ChanSubscribe(s, p.queue)
		if err != nil {
			b.endPump(p)
			<-p.done
			return nil, err
		}
		b.mu.Lock()
		p.subs = append(p.subs, sub)
		b.mu.Unlock()
	}
	if nc.IsConnected() {
		// An error means reconnecting, which subscribes anew.
		if err := nc.FlushTimeout(flushTimeout); err == nil && nc == b.data {
			p.deaf.Store(int64(len(subjects)))
			b.deaf.Add(int64(len(subjects)))
		}
	}
	return func() {
		b.endPump(p)
		<-p.done
	}, nil
}

func (p *pump) run(take func(*nats.Msg), own func(*core.Sample)) {
	defer close(p.done)
	for {
		// However much others publish, what our own probes learned goes first.
		select {
		case <-p.stop:
			return
		case s := <-p.own:
			own(s)
			continue
		default:
		}
		select {
		case <-p.stop:
			return
		case s := <-p.own:
			own(s)
		case m := <-p.queue:
			take(m)
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
