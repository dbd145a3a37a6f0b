// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/steelyard-lb/steelyard/core"
)

// A reason is why a message was dropped, in one word of a closed list.
type reason string

const (
	reasonInvalid    reason = "invalid"
	reasonMismatched reason = "mismatched"
	reasonRepeated   reason = "repeated"
	reasonLate       reason = "late"
	reasonCrowded    reason = "crowded"
	reasonFlood      reason = "flood"
)

// reasonText is what to tell the operator where no error says more.
var reasonText = map[reason]string{
	reasonRepeated: "its seq and ts are not above the last ones of the same subject",
	reasonLate:     "it came later than its time to live allows; is its ts the time at which it was made?",
	reasonCrowded:  "there are too many sources or subjects to keep apart",
}

func (c *counters) of(r reason) *atomic.Uint64 {
	switch r {
	case reasonMismatched:
		return &c.mismatched
	case reasonRepeated:
		return &c.repeated
	case reasonLate:
		return &c.late
	case reasonCrowded:
		return &c.crowded
	case reasonFlood:
		return &c.flooded
	default:
		return &c.invalid
	}
}

// drop counts a sample that goes no further. Of one from outside it tells the log
// and the bus now and then: its publisher has no other way to learn what is wrong.
func (b *Bus) drop(told *core.Seldom, m *nats.Msg, r reason, err error, now time.Time) {
	b.counters.of(r).Add(1)
	if m.Sub == nil {
		return // our own, see admit
	}
	subject := m.Subject
	source := publisherOf(subject)
	untold, due := told.Due(source, string(r), now)
	if !due {
		return
	}
	text := reasonText[r]
	if err != nil {
		text = err.Error()
	}
	text = cut(text, 2*MaxDetailBytes)
	b.opts.Log.Warn("message dropped", "source", source, "reason", string(r), "subject", subject, "why", text, "dropped_before", untold)
	// An error means that nobody listens; the log has it.
	_ = b.PublishEvent(core.Event{At: now, Severity: core.Warn, Topic: "bus",
		Message: fmt.Sprintf("message of %q dropped on %s: %s: %s", source, subject, r, text)})
}

// publisherOf is who may publish on the subject of a sample, by its place in it.
func publisherOf(subject string) string {
	s, err := ParseSubject(subject)
	switch {
	case err != nil || len(s.Names) == 0:
		return "unknown"
	case s.Class == MetricClass:
		return s.Names[0]
	}
	return s.Names[len(s.Names)-1]
}
