// SPDX-License-Identifier: Apache-2.0

package main

import (
	"log/slog"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/core"
)

// A publisher hands the engine's news to the bus. The bus counts what it
// drops, so an error needs no more than a debug line.
type publisher struct {
	bus *bus.Bus
	log *slog.Logger
}

func (p publisher) Health(h core.HealthChange) { p.note(p.bus.PublishHealth(h)) }
func (p publisher) Decision(d core.Decision)   { p.note(p.bus.PublishDecision(d)) }
func (p publisher) Event(e core.Event)         { p.note(p.bus.PublishEvent(e)) }
func (p publisher) Commit(c core.Commit)       { p.note(p.bus.PublishCommit(c)) }

func (p publisher) note(err error) {
	if err != nil {
		p.log.Debug("publish", "err", err)
	}
}
