// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A syncWaiter is told what became of the first full sync that carried a change.
type syncWaiter struct {
	change  uint64
	service string
	answer  chan error // capacity 1, so that the engine never waits
}

// traffic is what the kernel does with the service: the configuration with the
// pins by command over its own.
func (s *service) traffic() *core.Traffic {
	if s.merged != nil {
		return s.merged
	}
	return &s.spec.Traffic
}

// setPins replaces the pins by command. A Traffic is never changed once made: a
// plan on its way to the kernel may share it.
func (s *service) setPins(pins []core.PinState) {
	s.pins, s.merged = pins, nil
	if len(pins) > 0 {
		t := s.spec.Traffic
		t.Pins = core.MergePins(t.Pins, pins)
		s.merged = &t
	}
}

// Pin pins clients to a backend by command, or ends that, and returns when the
// kernel has followed and it is kept for a restart. An error means that nothing
// was changed.
func (e *Engine) Pin(ctx context.Context, service string, r core.PinRequest) (core.PinResult, error) {
	w := syncWaiter{service: service, answer: make(chan error, 1)}
	var res core.PinResult
	var bad error
	var save func() error
	if err := e.do(ctx, func() { res, save, bad = e.takePin(service, r, w) }); err != nil {
		return res, err
	}
	if bad != nil || save == nil {
		return res, bad
	}
	if err := save(); err != nil {
		res.Warning = fmt.Sprintf("in force, but a restart of the daemon will forget it: %v", err)
	}
	err, in := patiently(ctx, w.answer)
	switch {
	case !in:
		res.NotInForce = notFollowed
	case err != nil:
		res.NotInForce = kernelRefused + err.Error()
	}
	return res, nil
}

// takePin is Pin on the engine's goroutine. It returns how to save what it has
// changed; nil if it has changed nothing.
func (e *Engine) takePin(service string, r core.PinRequest, w syncWaiter) (core.PinResult, func() error, error) {
	p, set, err := r.Pin(time.Now())
	if err != nil {
		return core.PinResult{}, nil, fmt.Errorf("pin clients of %s: %w", service, err)
	}
	s := e.services[service]
	if s == nil {
		return core.PinResult{}, nil, fmt.Errorf("service %s %w", service, ErrUnknownBackend)
	}
	if set {
		if err := s.pinnable(p.Pin); err != nil {
			return core.PinResult{}, nil, err
		}
	}
	res := core.PinResult{Service: service}
	pins := slices.Clone(s.pins)
	i := slices.IndexFunc(pins, func(o core.PinState) bool { return o.Client == r.Client })
	if i >= 0 {
		res.Before = shownPin(pins[i])
		pins = slices.Delete(pins, i, i+1)
	}
	if k := slices.IndexFunc(s.spec.Pins, func(o core.Pin) bool { return o.Client == r.Client }); k >= 0 {
		res.Configured = s.spec.Pins[k].Backend
	}
	switch {
	case set:
		pins = append(pins, p)
		res.Pin = shownPin(p)
		e.tellCommand("session", service, p.Backend, p.String()+lasting(core.Override{Since: p.Since, Until: p.Until}))
	case i < 0:
		return res, nil, nil
	default:
		e.tellCommand("session", service, res.Before.Backend, fmt.Sprintf("%s ended by %s%s", res.Before, r.Author, because(r.Reason)))
	}
	s.setPins(pins)
	w.change = e.resync()
	e.committer.syncWaiters = append(e.committer.syncWaiters, w)
	e.pinDue = e.nextPin()
	return res, e.pinSaver(), nil
}

// pinnable says why a pin cannot be.
func (s *service) pinnable(p core.Pin) error {
	b := s.find(p.Backend)
	switch {
	case b == nil:
		return fmt.Errorf("backend %s/%s %w", s.spec.Name, p.Backend, ErrUnknownBackend)
	case b.spec.Sorry:
		return fmt.Errorf("backend %s is the sorry server: no client can be pinned to it", b.id)
	case !s.spec.Forwarding.Tracked():
		return fmt.Errorf("service %s: no client can be pinned with forwarding %s", s.spec.Name, s.spec.Forwarding)
	case s.spec.Forwarding == core.Local:
		return nil
	}
	for _, a := range b.addrs() {
		if a.addr.IsValid() && is6(a.addr) == p.Client.Addr().Is6() {
			return nil
		}
	}
	return fmt.Errorf("backend %s has no address of the family of client %s", b.id, core.ClientText(p.Client))
}

// endPins ends those whose time is up.
func (e *Engine) endPins(now time.Time) {
	if e.pinDue.IsZero() || now.Before(e.pinDue) {
		return
	}
	for _, s := range e.order {
		var stay []core.PinState
		for _, p := range s.pins {
			if !p.Over(now) {
				stay = append(stay, p)
				continue
			}
			e.tellCommand("session", s.spec.Name, p.Backend, fmt.Sprintf("%s ended: its time is up", p))
		}
		if len(stay) != len(s.pins) {
			s.setPins(stay)
		}
	}
	e.resync()
	e.pinDue = e.nextPin()
	e.savePinsLater()
}

// nextPin is when the next pin ends; zero if none does by itself.
func (e *Engine) nextPin() (next time.Time) {
	for _, s := range e.services {
		for _, p := range s.pins {
			if !p.Until.IsZero() && (next.IsZero() || p.Until.Before(next)) {
				next = p.Until
			}
		}
	}
	return next
}

// tellWaiters answers those whose change a full sync has carried.
func (c *committer) tellWaiters(changes uint64, o syncOutcome) {
	c.syncWaiters = slices.DeleteFunc(c.syncWaiters, func(w syncWaiter) bool {
		if w.change > changes {
			return false
		}
		err := o.err
		if err == nil {
			err = o.refused[w.service]
		}
		w.answer <- err
		return true
	})
}

// resync asks for a full sync, which alone can change more than weights, and
// returns the number of the change that it will carry.
func (e *Engine) resync() uint64 {
	e.committer.changes++
	e.committer.needSync, e.committer.retryAt = true, time.Now()
	return e.committer.changes
}

// Pins are the pins of a service that count, the longest prefix first, and its
// plan in force.
func (e *Engine) Pins(ctx context.Context, service string) (core.ServicePlan, []core.PinState, error) {
	var plan core.ServicePlan
	var pins []core.PinState
	var bad error
	err := e.do(ctx, func() {
		s := e.services[service]
		if s == nil {
			bad = fmt.Errorf("service %s %w", service, ErrUnknownBackend)
			return
		}
		plan = s.plan()
		for _, p := range s.traffic().Pins {
			state := core.PinState{Pin: p}
			if i := slices.IndexFunc(s.pins, func(o core.PinState) bool { return o.Client == p.Client }); i >= 0 {
				state = *shownPin(s.pins[i])
			}
			pins = append(pins, state)
		}
	})
	return plan, pins, errors.Join(err, bad)
}
