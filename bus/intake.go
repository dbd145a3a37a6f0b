// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/steelyard-lb/steelyard/core"
)

// An intake is what a subscriber to samples remembers: of probes and of monitors
// apart, so that what monitors invent cannot crowd out the probes.
type intake struct {
	bus    *Bus
	fn     func(core.Sample)
	probes filter
	others monitors
	told   core.Seldom // of what the pump's goroutine drops
	gated  core.Seldom // of what the gate drops, on a goroutine of the connection
	gate   gate
}

// own takes a sample that came the short way.
func (in *intake) own(s *core.Sample) {
	in.bus.counters.received.Add(1)
	in.fn(*s)
}

// probe takes what the probes of another node say.
func (in *intake) probe(m *nats.Msg) {
	if s, ok := in.bus.admit(&in.probes, &in.told, m, time.Now()); ok {
		in.fn(s)
	}
}

// pass is the gate: it reports whether the message of a monitor goes on.
func (in *intake) pass(m *nats.Msg) bool {
	now := time.Now()
	if in.gate.allow(sourceToken(m.Subject), weight(m), now) {
		return true
	}
	in.bus.drop(&in.gated, m, reasonFlood, nil, now)
	return false
}

// metric takes a message of a monitor.
func (in *intake) metric(m *nats.Msg) {
	now := time.Now()
	n := 0
	take := func(r reading) {
		n++
		if why := in.others.judge(&r, now); why != "" {
			in.bus.drop(&in.told, m, why, nil, now)
			return
		}
		in.bus.counters.received.Add(1)
		in.fn(r.Sample)
	}
	refuse := func(err error) {
		n++
		in.bus.drop(&in.told, m, reasonOf(err), err, now)
	}
	decodeMetric(m.Subject, m.Header, m.Data, now, take, refuse)
	if more := n - weight(m); more > 0 {
		in.gate.charge(sourceToken(m.Subject), more)
	}
}

// weight is what a message counts for before it is read: one, and one for each kilobyte,
// since what is long and no use takes as long to read as what is.
func weight(m *nats.Msg) int { return 1 + len(m.Data)>>10 }

func reasonOf(err error) reason {
	if errors.Is(err, errMismatch) {
		return reasonMismatched
	}
	return reasonInvalid
}

// admit decodes one sample of a probe and asks the filter. Its times are told by the
// clock of this node: see translate.
func (b *Bus) admit(f *filter, told *core.Seldom, m *nats.Msg, arrived time.Time) (core.Sample, bool) {
	s, env, err := decodeSample(m.Subject, m.Data)
	// Our own come the short way, without a subscription: this one is forged, or
	// of a second node that was given our name.
	if err == nil && m.Sub != nil && s.Node == b.opts.Node {
		err = fmt.Errorf("sample on %s did not come from here: %w", m.Subject, errMismatch)
	}
	if err != nil {
		b.drop(told, m, reasonOf(err), err, arrived)
		return core.Sample{}, false
	}
	if env.ttl == 0 {
		env.ttl = b.opts.SampleTTL
	}
	v, base := f.judge(m.Subject, env, arrived)
	if r := v.reason(); r != "" {
		b.drop(told, m, r, nil, arrived)
		return core.Sample{}, false
	}
	translate(&s, base)
	b.counters.received.Add(1)
	return s, true
}

// translate moves the times of a sample by the least delay of its source: the fastest
// message counts as one that took no time, so that a node whose clock is minutes off
// is neither late nor early here. What a sample was under way longer than that one
// stays in its age.
func translate(s *core.Sample, base time.Duration) {
	s.TakenAt = s.TakenAt.Add(base)
	for i := range s.Metrics {
		if m := &s.Metrics[i]; !m.At.IsZero() {
			m.At = m.At.Add(base)
		}
	}
}
