// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"slices"

	"github.com/steelyard-lb/steelyard/core"
)

// A PinKeeper keeps the pins by command over a restart, by the names of services.
// It is to Pin what Keeper is to Override.
type PinKeeper interface {
	Save(version uint64, all map[string][]core.PinState) error
}

// inheritedPins are the pins by command of the service that spec takes the place
// of. A backend that has another name now is known by its address. At a start they
// are those of an earlier life.
func (e *Engine) inheritedPins(old *service, s *service) (pins []core.PinState) {
	if old == nil {
		return pinsFrom(e.keptPins[s.spec.Name], nil, s)
	}
	return pinsFrom(old.pins, old, s)
}

// pinsFrom are those of before, which were old's, that s can have.
func pinsFrom(before []core.PinState, old, s *service) (pins []core.PinState) {
	for _, p := range before {
		if o := old.find(p.Backend); o != nil && s.at(o.spec.Addr) != nil {
			p.Backend = s.at(o.spec.Addr).spec.Name
		}
		if s.pinnable(p.Pin) == nil {
			pins = append(pins, p)
		}
	}
	return pins
}

// installPins brings in what commands changed while a reload was under way, and
// tells of the pins that have nowhere to go any more.
func (e *Engine) installPins(before map[string]*service) []core.Dropped {
	left := make(map[string][]core.PinState, len(before)) // by the name of the service before
	for name, s := range before {
		if len(s.pins) > 0 {
			left[name] = s.pins
		}
	}
	if len(before) == 0 {
		left = e.keptPins
	}
	for _, s := range e.services {
		if s.from == nil {
			continue
		}
		if pins := e.inheritedPins(s.from, s); !slices.Equal(pins, s.pins) {
			s.setPins(pins)
			e.resync()
		}
	}
	dropped := droppedPins(left, e.services, (*service).was)
	e.tellDropped("session", dropped)
	e.keptPins = nil
	e.pinDue = e.nextPin()
	if len(left) > 0 && (len(dropped) > 0 || e.pinsThere()) { // names may have changed
		e.savePinsLater()
	}
	return dropped
}

// was is the name of the service that s takes the place of; its own if there is
// none.
func (s *service) was() string {
	if s.from == nil {
		return s.spec.Name
	}
	return s.from.spec.Name
}

func (e *Engine) pinsThere() bool {
	for _, s := range e.services {
		if len(s.pins) > 0 {
			return true
		}
	}
	return false
}

// pinSaver returns what saves the pins as they are now.
func (e *Engine) pinSaver() func() error {
	if e.cfg.PinKeeper == nil {
		return func() error { return nil }
	}
	e.pinVersion++
	version, all := e.pinVersion, map[string][]core.PinState{}
	for name, s := range e.services {
		for _, p := range s.pins {
			all[name] = append(all[name], *shownPin(p))
		}
	}
	return func() error { return e.cfg.PinKeeper.Save(version, all) }
}

// savePinsLater saves off the engine's goroutine, which waits for no disk.
func (e *Engine) savePinsLater() {
	save := e.pinSaver()
	e.wg.Go(func() {
		if err := save(); err != nil {
			e.log.Error("the pins could not be saved: a restart will bring back those before", "err", err)
			e.event(core.Error, "session", "", "", fmt.Sprintf("the pins could not be saved: %v", err))
		}
	})
}

// shownPin is a pin as it leaves the engine: a copy, in UTC.
func shownPin(p core.PinState) *core.PinState {
	p.Since = p.Since.UTC()
	if !p.Until.IsZero() {
		p.Until = p.Until.UTC()
	}
	return &p
}
