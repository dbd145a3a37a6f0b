// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/steelyard-lb/steelyard/core"
)

// ErrAway means that the message was dropped and counted because the server is
// not there now, or the bus is closed. There is nothing to do about it: the next
// message says more than this one would.
var ErrAway = errors.New("bus is away")

// PublishSample sends what a probe of this node learned, and hands it to the
// subscribers in this process. s.Node must be a name. Step 2 of 7.
func (b *Bus) PublishSample(s core.Sample) error {
	s.Detail = cut(s.Detail, MaxDetailBytes)
	metrics := byName(s.Metrics)
	if err := checkSample(&s, b.inst, b.opts.SampleTTL, metrics); err != nil {
		return b.unsent(&s, err)
	}
	// The server does not echo to this connection. The short way keeps the node
	// able to see while the server is away, and while others flood it.
	b.loopback(&s)
	if !b.heard() {
		b.counters.published.Add(1)
		return nil
	}
	data, err := appendSample(&s, b.inst, b.opts.SampleTTL, metrics)
	if err != nil {
		return b.unsent(&s, err)
	}
	return b.send(b.data, b.dataOut, outgoing{subject: ProbeSubject(s.Backend, s.Probe, s.Node), data: data})
}

func (b *Bus) unsent(s *core.Sample, err error) error {
	b.counters.unsent.Add(1)
	return fmt.Errorf("publish sample %d of %s by %s: %w", s.Seq, s.Backend, s.Probe, err)
}

// heard reports whether there is any subscription but our own to samples, which the
// short way serves: what nobody takes is not even encoded, and the embedded server is
// spared thousands of messages a second to throw away. Of an external server nobody
// here can know. A closed bus has an error to tell.
func (b *Bus) heard() bool {
	return b.server == nil || b.closed.Load() || int64(b.server.srv.NumSubscriptions()) > b.deaf.Load()
}

// PublishHealth sends a change of a backend's health.
func (b *Bus) PublishHealth(h core.HealthChange) error {
	return b.publishRecord(HealthClass, h.At, HealthSubject(h.Backend), HealthBody{
		V: WireVersion, Src: cmp.Or(h.Node, b.opts.Node), TS: h.At.UTC(), Service: h.Backend.Service, Backend: h.Backend.Backend,
		From: h.From, To: h.To, Probe: h.Probe, Code: h.Code, Detail: cut(h.Detail, MaxDetailBytes),
	})
}

// PublishDecision sends a decision record.
func (b *Bus) PublishDecision(d core.Decision) error {
	return b.publishRecord(DecisionClass, d.At, DecisionSubject(d.Service), DecisionBody{V: WireVersion, ID: DecisionID(cmp.Or(d.Node, b.opts.Node), d.Seq), Decision: d})
}

// PublishCommit says that the kernel took a transaction.
func (b *Bus) PublishCommit(c core.Commit) error {
	return b.publishRecord(CommitClass, c.At, CommitSubject(b.opts.Node), CommitBody{
		V: WireVersion, ID: CommitID(b.opts.Node, c.Generation), Node: b.opts.Node, TS: c.At.UTC(), Commit: c, Took: c.Took.Seconds(),
	})
}

// PublishEvent sends something that an operator should see.
func (b *Bus) PublishEvent(e core.Event) error {
	return b.publishRecord(EventClass, e.At, EventSubject(e.Severity, e.Topic), EventBody{
		V: WireVersion, TS: e.At.UTC(), Node: cmp.Or(e.Node, b.opts.Node), Severity: e.Severity, Topic: e.Topic,
		Service: e.Service, Backend: e.Backend, Message: e.Message,
	})
}

// publishRecord is publish for what happens seldom, and is worth an envelope that other
// systems know, where Options.CloudEvents asks for it.
func (b *Bus) publishRecord(c Class, at time.Time, subj string, body any) error {
	if !b.opts.CloudEvents {
		return b.publish(subj, nil, body)
	}
	id := b.inst + "-" + strconv.FormatUint(b.events.Add(1), 10)
	return b.publish(subj, eventHeader(id, b.opts.Node, c, at), body)
}

func (b *Bus) publish(subj string, h nats.Header, body any) error {
	if !b.heard() {
		b.counters.published.Add(1)
		return nil
	}
	data, err := json.Marshal(body)
	if err != nil {
		b.counters.unsent.Add(1)
		return fmt.Errorf("publish %s: %w", subj, err)
	}
	return b.send(b.control, b.controlOut, outgoing{subject: subj, data: data, header: h})
}

// send never waits: with an external server there is an outbox between, and the
// embedded one reads what nats.go's flusher goroutine writes.
func (b *Bus) send(nc *nats.Conn, out *outbox, m outgoing) error {
	if out != nil {
		return out.send(m)
	}
	err := m.publish(nc)
	if err == nil {
		b.counters.published.Add(1)
		return nil
	}
	b.counters.unsent.Add(1)
	if errors.Is(err, nats.ErrReconnectBufExceeded) || errors.Is(err, nats.ErrConnectionClosed) {
		err = ErrAway
	}
	return fmt.Errorf("publish %s: %w", m.subject, err)
}
