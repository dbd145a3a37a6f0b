// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A Keeper keeps the overrides over a restart. Save returns when they are safe.
// Calls may overlap; one with a lower version than another before it is late,
// and does nothing.
type Keeper interface {
	Save(version uint64, all map[core.BackendID]core.Override) error
}

// inherited is the override of the backend that b takes the place of. At a start
// it is that of an earlier life.
func (e *Engine) inherited(old *service, spec core.Service, b core.Backend) *core.Override {
	if old == nil {
		return e.kept[core.BackendID{Service: spec.Name, Backend: b.Name}]
	}
	return inheritedFrom(old, spec, b)
}

// inheritedFrom is the override of the backend at the address of b, or of the one
// of its name if the address of that is gone.
func inheritedFrom(old *service, spec core.Service, b core.Backend) *core.Override {
	if o := old.at(b.Addr); o != nil {
		return o.override
	}
	o := old.find(b.Name)
	if o == nil || slices.ContainsFunc(spec.Backends, func(x core.Backend) bool { return x.Addr == o.spec.Addr }) {
		return nil
	}
	return o.override
}

// dropOverrides tells of the overrides that no backend has any more, and saves
// the others if there are any.
func (e *Engine) dropOverrides(before map[string]*service) []core.Dropped {
	left := maps.Clone(e.kept)
	if left == nil {
		left = map[core.BackendID]*core.Override{}
	}
	e.kept = nil
	maps.Copy(left, overridesOf(before))
	if len(left) == 0 {
		return nil
	}
	dropped := droppedOverrides(left, e.services)
	e.tellDropped("override", dropped)
	e.overrideDue = e.nextOverride()
	e.saveLater() // names may have changed too
	return dropped
}

// overridesOf are the overrides of services.
func overridesOf(services map[string]*service) map[core.BackendID]*core.Override {
	all := map[core.BackendID]*core.Override{}
	for _, s := range services {
		for _, b := range s.backends {
			if b.override != nil {
				all[b.id] = b.override
			}
		}
	}
	return all
}

// endOverrides ends those whose time is up.
func (e *Engine) endOverrides(now time.Time) {
	if e.overrideDue.IsZero() || now.Before(e.overrideDue) {
		return
	}
	for _, s := range e.order {
		for _, b := range s.backends {
			if b.override == nil || !b.override.Over(now) {
				continue
			}
			was := *b.override
			e.setOverride(s, b, nil, fmt.Sprintf("%s of %s ended: its time is up", describe(&was), b.spec.Name))
			e.tellCommand("override", s.spec.Name, b.spec.Name, fmt.Sprintf("%s ended: its time is up", was))
		}
	}
	e.decideTipped()
	e.overrideDue = e.nextOverride()
	e.saveLater()
}

// nextOverride is when the next override ends; zero if none does by itself.
func (e *Engine) nextOverride() time.Time {
	var next time.Time
	for _, s := range e.services {
		for _, b := range s.backends {
			if o := b.override; o != nil && !o.Until.IsZero() && (next.IsZero() || o.Until.Before(next)) {
				next = o.Until
			}
		}
	}
	return next
}

// saver returns what saves the overrides as they are now.
func (e *Engine) saver() func() error {
	if e.cfg.Keeper == nil {
		return func() error { return nil }
	}
	e.overrideVersion++
	version, all := e.overrideVersion, map[core.BackendID]core.Override{}
	for id, o := range overridesOf(e.services) {
		all[id] = *shown(o)
	}
	return func() error { return e.cfg.Keeper.Save(version, all) }
}

// saveLater saves off the engine's goroutine, which waits for no disk.
func (e *Engine) saveLater() {
	save := e.saver()
	e.wg.Go(func() {
		if err := save(); err != nil {
			e.log.Error("the overrides could not be saved: a restart will bring back those before", "err", err)
			e.event(core.Error, "override", "", "", fmt.Sprintf("the overrides could not be saved: %v", err))
		}
	})
}

func compareIDs(a, b core.BackendID) int {
	switch x, y := a.String(), b.String(); {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}
