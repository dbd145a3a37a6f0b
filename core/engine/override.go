// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// commitPatience is how long Override waits for the kernel.
const commitPatience = 5 * time.Second

// ErrUnknownBackend says that a command names what is not configured.
var ErrUnknownBackend = errors.New("is not configured")

// Override changes a backend by command, or ends such a change, and returns
// when the kernel has followed and the change is kept for a restart. An error
// means that nothing was changed.
func (e *Engine) Override(ctx context.Context, id core.BackendID, r core.OverrideRequest) (core.OverrideResult, error) {
	w := waiter{answer: make(chan core.Decision, 1)}
	var res core.OverrideResult
	var bad error
	var save func() error
	if err := e.do(ctx, func() { res, save, bad = e.takeOverride(id, r, w) }); err != nil {
		return res, err
	}
	if bad != nil {
		return res, bad
	}
	if err := save(); err != nil {
		res.Warning = fmt.Sprintf("in force, but a restart of the daemon will forget it: %v", err)
	}
	d, in := patiently(ctx, w.answer)
	if !in {
		res.Outcome = core.Pending
	} else {
		res.Decision, res.Outcome, res.At = max(res.Decision, d.Seq), d.Outcome, time.Now().UTC()
	}
	// An engine that ends meanwhile has nothing to add.
	_ = e.do(ctx, func() { e.judge(&res, id, r, d) })
	return res, nil
}

// takeOverride is Override on the engine's goroutine. It returns how to save
// what it has changed, which takes a disk.
func (e *Engine) takeOverride(id core.BackendID, r core.OverrideRequest, w waiter) (core.OverrideResult, func() error, error) {
	now := time.Now()
	o, set, err := r.Override(now)
	if err != nil {
		return core.OverrideResult{}, nil, fmt.Errorf("%s %s: %w", r.Kind, id, err)
	}
	s := e.services[id.Service]
	b := s.find(id.Backend)
	if b == nil {
		return core.OverrideResult{}, nil, fmt.Errorf("backend %s %w", id, ErrUnknownBackend)
	}
	if s.follows && set && o.Kind == core.OverrideWeight {
		return core.OverrideResult{}, nil, s.leadsElsewhere(id)
	}
	was := b.override
	res := core.OverrideResult{Backend: id.String(), Before: shown(was)}
	save := func() error { return nil }
	by := fmt.Sprintf("by %s", r.Author)
	switch {
	case set:
		e.setOverride(s, b, &o, fmt.Sprintf("%s of %s %s", describe(&o), b.spec.Name, by))
		e.tellCommand("override", id.Service, id.Backend, o.String()+lasting(o))
		save = e.saver()
	case was != nil:
		e.setOverride(s, b, nil, fmt.Sprintf("%s ready %s", b.spec.Name, by))
		e.tellCommand("override", id.Service, id.Backend, fmt.Sprintf("%s ended by %s%s", was, r.Author, because(r.Reason)))
		save = e.saver()
	}
	e.decideTipped()
	res.Override, res.Decision = shown(b.override), s.decision.Seq
	if !s.follows && b.follows(was) {
		w.after = e.seq
		s.waiters = append(s.waiters, w)
	} else {
		s.await(w)
	}
	return res, save, nil
}

// setOverride puts an override in force, or takes it away if o is nil, and makes
// the decision due that follows.
func (e *Engine) setOverride(s *service, b *backend, o *core.Override, trigger string) {
	now := time.Now()
	was, drained := b.override, b.drained()
	b.override = o
	if drained && !b.drained() {
		b.returns(now)
	}
	if b.idle && b.drained() && e.cfg.Flows != nil {
		e.cfg.Flows.SetIdle(b.id, true) // no commit will: whoever drains it wants the count of now
	}
	if weightOf(was) != weightOf(o) && !s.follows {
		s.setFree(e.seq) // the operator asked for new weights
	}
	e.tip(s, trigger, now)
	e.overrideDue = e.nextOverride()
}

// weightOf is the weight of an override; MaxWeight+1 if it has none.
func weightOf(o *core.Override) uint32 {
	if o == nil || o.Kind != core.OverrideWeight {
		return core.MaxWeight + 1
	}
	return o.Weight
}

// shown is an override as it leaves the engine: a copy, in UTC.
func shown(o *core.Override) *core.Override {
	if o == nil {
		return nil
	}
	out := *o
	out.Since = out.Since.UTC()
	if !out.Until.IsZero() {
		out.Until = out.Until.UTC()
	}
	return &out
}

func describe(o *core.Override) string {
	if o.Kind == core.OverrideWeight {
		return fmt.Sprintf("weight %d", o.Weight)
	}
	return string(o.Kind)
}

func lasting(o core.Override) string {
	if o.Until.IsZero() {
		return ", until it is ended"
	}
	return fmt.Sprintf(", for %s", o.Until.Sub(o.Since).Round(time.Second))
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}
