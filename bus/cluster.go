// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"cmp"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/steelyard-lb/steelyard/core"
)

// presenceTTL is by how much longer than usual a presence may take. What is older
// waited in some queue while the way was cut, and says nothing of now.
const presenceTTL = 2 * time.Second

// PublishPresence says that this node is there, and how. Node, Inst, Seq and At are
// filled in where they are empty. Nothing is sent while nobody could hear it.
func (b *Bus) PublishPresence(p core.Presence) error {
	p.Node, p.Inst = cmp.Or(p.Node, b.opts.Node), cmp.Or(p.Inst, b.inst)
	if p.Seq == 0 {
		p.Seq = b.presences.Add(1)
	}
	p.At = b.stamped(p.At)
	b.insts.Store(p.Inst, true)
	body := presenceToBody(&p, time.Since(b.started))
	subj := NodeSubject(p.Group, p.Node)
	if err := b.unfit(subj, &body); err != nil {
		return err
	}
	return b.publish(subj, nil, &body)
}

// PublishVector sends the shares of a service that this node leads.
func (b *Bus) PublishVector(v core.Vector) error {
	v.Node = cmp.Or(v.Node, b.opts.Node)
	v.At = b.stamped(v.At)
	body := vectorToBody(&v)
	subj := WeightsSubject(v.Group, v.Service, v.Node)
	if err := b.unfit(subj, &body); err != nil {
		return err
	}
	return b.publishRecord(WeightsClass, v.At, subj, &body)
}

// PublishFlows sends how many connections this node carries for a service.
func (b *Bus) PublishFlows(r core.FlowReport, group string) error {
	r.Node, r.Inst = cmp.Or(r.Node, b.opts.Node), cmp.Or(r.Inst, b.inst)
	r.At = b.stamped(r.At)
	body := flowsToBody(&r, group)
	subj := FlowsSubject(group, r.Service, r.Node)
	if err := b.unfit(subj, &body); err != nil {
		return err
	}
	return b.publish(subj, nil, &body)
}

// stamped is t, or now if it is zero.
func (b *Bus) stamped(t time.Time) time.Time {
	if t.IsZero() {
		return time.Now()
	}
	return t
}

// unfit holds a body against the limits that its readers will: nobody publishes what
// nobody would take.
func (b *Bus) unfit(subj string, body clusterBody) error {
	err := body.check()
	if err != nil {
		b.counters.unsent.Add(1)
		return fmt.Errorf("publish %s: %w", subj, err)
	}
	return nil
}

// SubscribePresences calls fn for what the other nodes of a group say of themselves, one
// that has the name of this node among them, on one goroutine. A presence that waited
// somewhere for long is dropped as late: by its arrival a node is alive. What
// SubscribeSamples says of dropped messages, of blocking and of cancel holds for all three.
func (b *Bus) SubscribePresences(group string, fn func(core.Presence)) (cancel func(), err error) {
	heard := &filter{}
	return b.subscribeCluster(subject(NodeClass, group)+".*", func(m *nats.Msg, where Subject, now time.Time) (reason, error) {
		var body presenceBody
		if err := decodeCluster(m.Subject, where, m.Data, &body); err != nil {
			return "", err
		}
		if b.sentHere(&body) {
			return "", nil
		}
		v, _ := heard.judge(m.Subject, b.presenceEnvelope(&body), now)
		if r := v.reason(); r != "" {
			return r, nil
		}
		fn(body.presence())
		return "", nil
	})
}

// sentHere reports whether a presence is one of our own.
func (b *Bus) sentHere(body *presenceBody) bool {
	_, ours := b.insts.Load(body.Inst)
	return ours && body.Node == b.opts.Node
}

// presenceEnvelope is what the filter wants to know of a presence. The time at which
// it was sent is told by clocks that nobody sets, ours and theirs, where it can be.
func (b *Bus) presenceEnvelope(body *presenceBody) envelope {
	e := envelope{source: source{body.Node, body.Inst}, seq: body.Seq, sent: time.Time(body.TS), ttl: presenceTTL}
	if body.Uptime > 0 {
		e.sent = b.started.Add(seconds(body.Uptime))
	}
	return e
}

// SubscribeVectors calls fn for the shares that other nodes of a group decide, in the
// order in which they come: core.Vector.Before tells which is newer.
func (b *Bus) SubscribeVectors(group string, fn func(core.Vector)) (cancel func(), err error) {
	return b.subscribeCluster(subject(WeightsClass, group)+".*.*", func(m *nats.Msg, where Subject, _ time.Time) (reason, error) {
		var body vectorBody
		if err := decodeCluster(m.Subject, where, m.Data, &body); err != nil {
			return "", err
		}
		if body.Node != b.opts.Node {
			fn(body.vector())
		}
		return "", nil
	})
}

// SubscribeFlows calls fn for the connections that other nodes of a group carry, of the
// services that hear was last given, or of all; before it is called, of none. What was on
// its way when hear was called may come all the same, or twice. hear does not wait for the
// server; its error means that not all is heard that was to be. It must not be called by two
// goroutines at a time.
func (b *Bus) SubscribeFlows(group string, fn func(core.FlowReport)) (hear func(services []string, all bool) error, cancel func(), err error) {
	c, err := b.choosing(b.control, messageQueue, b.clusterHandler(func(m *nats.Msg, where Subject, _ time.Time) (reason, error) {
		var body flowsBody
		if err := decodeCluster(m.Subject, where, m.Data, &body); err != nil {
			return "", err
		}
		if body.Node != b.opts.Node {
			fn(body.report())
		}
		return "", nil
	}))
	if err != nil {
		return nil, nil, fmt.Errorf("subscribe to connections of %s: %w", group, err)
	}
	hear = func(services []string, all bool) error {
		if all {
			return c.choose(subject(FlowsClass, group) + ".*.*")
		}
		patterns := make([]string, len(services))
		for i, svc := range services {
			patterns[i] = subject(FlowsClass, group, svc) + ".*"
		}
		return c.choose(patterns...)
	}
	return hear, c.cancel, nil
}

// subscribeCluster runs take for each message of a class by which nodes meet.
func (b *Bus) subscribeCluster(pattern string, take takeCluster) (cancel func(), err error) {
	cancel, err = b.pump(b.control, messageQueue, b.clusterHandler(take), pattern)
	if err != nil {
		return nil, fmt.Errorf("subscribe to %s: %w", pattern, err)
	}
	return cancel, nil
}

// A takeCluster takes a message by which nodes meet, or says why it is refused.
type takeCluster func(*nats.Msg, Subject, time.Time) (reason, error)

// clusterHandler counts and tells of what take refuses.
func (b *Bus) clusterHandler(take takeCluster) func(*nats.Msg) {
	told := &core.Seldom{}
	return func(m *nats.Msg) {
		now := time.Now()
		where, err := ParseSubject(m.Subject)
		var r reason
		if err == nil {
			r, err = take(m, where, now)
		}
		if err != nil {
			r = reasonOf(err)
		}
		if r != "" {
			b.drop(told, m, r, err, now)
		}
	}
}
