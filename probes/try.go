// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A patient is a prober whose first answers may not hold all that it is for: a
// rate needs two answers, a busy share a window of them. A prober without this
// method says all it can in each run.
//
// Only Try asks; a Runner goes by its interval.
type patient interface {
	// enough says, after a run with result r, how long to wait until one more run
	// can tell more than r does; 0 if r tells all there is. It is called between two
	// runs only, and not for an r that is not ok, which ends Try at once. The wait is a
	// hint: Try never waits for less than minAgain, and gives up when its ctx ends.
	enough(r result) (again time.Duration)
}

// minAgain keeps a prober that never has enough from asking without a pause.
const minAgain = 50 * time.Millisecond

// Try runs the probe of t now, outside of any Runner, and returns what it learned. It
// asks again where one answer is not enough for a number, until it is, an answer is
// bad, or ctx ends; the sample is that of the last run that came to its end, and Seq
// counts the runs. Each run has the Timeout of the spec.
//
// say is told each step of a run, in a word or two, and what came of it, in one line
// without secrets; nil is fine.
func Try(ctx context.Context, t Target, say func(step, text string)) core.Sample {
	return try(ctx, t, prepared(newProber, t), say)
}

func try(ctx context.Context, t Target, p prober, say func(step, text string)) core.Sample {
	if say != nil {
		ctx = traced(ctx, say, secretsOf(t.Spec)...)
	}
	note(ctx, "probe", "%s %s", t.Spec.Type, describe(t))
	last := sampleOf(t.Spec, time.Now(), bad(core.Internal, "broken off before the first answer"))
	last.Backend, last.Probe, last.Role = t.ID, t.Spec.Name, t.Spec.Role
	limit := cmp.Or(t.Spec.Timeout, defaultTimeout)
	for {
		s, again := tryOnce(ctx, t, p, limit)
		if ctx.Err() != nil && s.Took < limit*9/10 {
			return last // what the run came to is our doing
		}
		s.Backend, s.Probe, s.Role, s.Seq = last.Backend, last.Probe, last.Role, last.Seq+1
		last = s
		if again == 0 {
			return last
		}
		again = max(again, minAgain)
		note(ctx, "wait", "%s: %s; once more in %s", s.Code, s.Detail, short(again))
		select {
		case <-ctx.Done():
			return last
		case <-time.After(again):
		}
	}
}

// tryOnce makes one sample and says how long to wait for a better one, 0 if there is
// none.
func tryOnce(ctx context.Context, t Target, p prober, limit time.Duration) (s core.Sample, again time.Duration) {
	run, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	start := time.Now()
	defer func() {
		if crash := recover(); crash != nil {
			s, again = sampleOf(t.Spec, start, crashed(crash)), 0
		}
	}()
	r := p.probe(run)
	s = sampleOf(t.Spec, start, r)
	if p, ok := p.(patient); ok && r.ok {
		again = p.enough(r)
	}
	return s, again
}

// describe says for people whom a probe asks, for how long and from where.
func describe(t Target) string {
	text := fmt.Sprintf("of %s, time-out %s", Where(t), short(cmp.Or(t.Spec.Timeout, defaultTimeout)))
	w := t.Spec.Way
	if w.Source.IsValid() {
		text += ", from " + w.Source.String()
	}
	if w.Device != "" {
		text += ", through " + w.Device
	}
	if w.Mark != 0 {
		text += fmt.Sprintf(", mark %#x", w.Mark)
	}
	if w.Netns != "" {
		text += ", in network namespace " + w.Netns
	}
	return text
}
