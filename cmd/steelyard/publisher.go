// SPDX-License-Identifier: Apache-2.0

package main

import (
	"log/slog"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/ops"
)

// A publisher hands the engine's news to the bus, and to who counts them for /metrics.
// The bus counts what it drops, so an error needs no more than a debug line.
type publisher struct {
	bus  *bus.Bus
	http *ops.Server // nil without http.listen
	log  *slog.Logger
}

func (p publisher) Health(h core.HealthChange) {
	p.http.ObserveHealth(h)
	p.note(p.bus.PublishHealth(h))
}

func (p publisher) Decision(d core.Decision) {
	p.http.Observe(d)
	p.note(p.bus.PublishDecision(d))
}

// Commit leaves out what noKernel says: generations of a ruleset begin at 1, and a node
// without one may not publish on commit.<node>.
func (p publisher) Commit(c core.Commit) {
	if c.Generation == 0 {
		return
	}
	p.http.ObserveCommit(c)
	p.note(p.bus.PublishCommit(c))
}

func (p publisher) Event(e core.Event) { p.note(p.bus.PublishEvent(e)) }

func (p publisher) note(err error) {
	if err != nil {
		p.log.Debug("publish", "err", err)
	}
}
