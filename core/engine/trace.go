// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A stage is what a tracer waits for.
type stage uint8

const (
	awaitsSample   stage = iota
	awaitsCall           // of the policy, with a snapshot that has the sample in it
	awaitsAnswer         // of the policy to that snapshot
	awaitsDecision       // the next of the service
	awaitsOutcome        // of that decision
)

// A tracer follows one sample. All but done belongs to the engine's goroutine.
type tracer struct {
	id    core.BackendID
	probe string // empty: any

	stage    stage
	trace    core.Trace
	end      time.Time // of the probe
	took     time.Time // when the engine took the sample
	by       origin
	idle     bool     // it has made nothing due, of a service that another node leads
	metric   bool     // a policy reads something that the sample brought
	newer    bool     // a newer sample had taken its place in the snapshot
	snapshot uint64   // Seq of it
	before   []uint32 // slots, in the order of the backends
	decision uint64   // Seq of it

	done   chan core.Trace    // capacity 1, so that the engine never waits
	steady chan time.Duration // capacity 1: when to ask whether the leader has moved anything
}

// Trace follows the next sample of a backend, of one probe if that is not empty, from its
// end to what the kernel makes of it. It returns when that is known; when ctx ends before,
// it returns what is known by then, or an error if no sample has come. Of a service that
// another node leads it ends when that has had the time to decide by the sample, and sent
// nothing. While nobody calls it, it costs nothing.
func (e *Engine) Trace(ctx context.Context, id core.BackendID, probe string) (core.Trace, error) {
	t := &tracer{id: id, probe: probe, done: make(chan core.Trace, 1), steady: make(chan time.Duration, 1)}
	var err error
	if ended := e.do(ctx, func() {
		if err = e.traceable(id, probe); err == nil {
			e.tracers = append(e.tracers, t)
		}
	}); ended != nil || err != nil {
		return core.Trace{}, cmp.Or(err, ended)
	}
	var steady <-chan time.Time
	for {
		select {
		case out := <-t.done:
			return out, nil
		case wait := <-t.steady:
			steady = time.After(wait)
		case <-steady:
			_ = e.do(ctx, func() { e.traceSteady(t) }) // an engine that ends has nothing to add
		case <-ctx.Done():
			return e.endTrace(t)
		}
	}
}

// endTrace takes a tracer away that has not come to its end, and returns what it has.
func (e *Engine) endTrace(t *tracer) (core.Trace, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commitPatience)
	defer cancel()
	var every time.Duration
	err := e.do(ctx, func() {
		e.traceSteady(t)
		e.tracers = slices.DeleteFunc(e.tracers, func(o *tracer) bool { return o == t })
		every = e.longest(t)
	})
	select {
	case out := <-t.done: // it came meanwhile
		return out, nil
	default:
	}
	switch {
	case err != nil:
		return core.Trace{}, fmt.Errorf("trace %s: the daemon ends", t.id)
	case t.stage == awaitsSample && every > 0:
		return core.Trace{}, fmt.Errorf("trace %s: no sample came in time; its probes run every %s at the longest: wait for longer (--timeout)", t.id, every)
	case t.stage == awaitsSample:
		return core.Trace{}, fmt.Errorf("trace %s: no sample came in time", t.id)
	}
	t.trace.Conclusion = "not known yet: the time was over while it waited for " + t.stage.String()
	return t.trace, nil
}

func (s stage) String() string {
	switch s {
	case awaitsCall:
		return "the policy to be asked"
	case awaitsAnswer:
		return "the policy's answer"
	case awaitsDecision:
		return "the next decision"
	case awaitsOutcome:
		return "the commit"
	}
	return "a sample"
}

// traceable says why a backend cannot be followed.
func (e *Engine) traceable(id core.BackendID, probe string) error {
	b := e.services[id.Service].find(id.Backend)
	if b == nil {
		return fmt.Errorf("backend %s %w", id, ErrUnknownBackend)
	}
	if probe != "" || len(b.probes) > 0 {
		return nil // of a name that no probe has, a monitor may send something
	}
	return fmt.Errorf("trace %s: %w", id, errNoProbes)
}

// longest is the longest interval of the probes that a tracer waits for.
func (e *Engine) longest(t *tracer) (every time.Duration) {
	b := e.services[t.id.Service].find(t.id.Backend)
	if b == nil {
		return 0
	}
	for _, p := range b.probes {
		if t.probe == "" || t.probe == p.spec.Name {
			every = max(every, p.spec.Every(p.state, p.streak > 0))
		}
	}
	return every
}

// tracing are the tracers of a service at a stage.
func (e *Engine) tracing(service string, at ...stage) (list []*tracer) {
	for _, t := range e.tracers {
		if t.id.Service == service && slices.Contains(at, t.stage) {
			list = append(list, t)
		}
	}
	return list
}

// awaiting are the tracers whose sample s is.
func (e *Engine) awaiting(b *backend, s core.Sample) []*tracer {
	return slices.DeleteFunc(e.tracing(b.id.Service, awaitsSample), func(t *tracer) bool {
		return t.id != b.id || t.probe != "" && t.probe != s.Probe
	})
}

// conclude ends a trace.
func (e *Engine) conclude(t *tracer, text string) {
	t.trace.Conclusion = text
	e.tracers = slices.DeleteFunc(e.tracers, func(o *tracer) bool { return o == t })
	t.done <- t.trace
}

var stepNames = [...]string{"", "probe", "bus", "health", "scheduler", "shaping", "plan", "apply"}

// step adds a step that was done at a time.
func (t *tracer) step(n int, at time.Time, format string, args ...any) {
	t.trace.Steps = append(t.trace.Steps, core.TraceStep{
		Step: n, Name: stepNames[n], At: at.UTC(), SinceSeconds: at.Sub(t.end).Seconds(), Text: fmt.Sprintf(format, args...),
	})
}
