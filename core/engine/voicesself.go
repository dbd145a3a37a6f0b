// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// What the suspicion of this node is to the others, and what they are to it.

// tellSuspects says to the others whether this node suspects itself. A suspicion that
// has lasted as long as it may is over for them, unless they contradict this node.
func (e *Engine) tellSuspects() {
	if e.cfg.Cluster == nil {
		return
	}
	if !e.suspecting() {
		e.disowned = false
	}
	if now := e.suspicion.Frozen() || e.disowned; now != e.suspects {
		e.suspects = now
		e.cfg.Cluster.Suspects(now)
	}
}

// suspecting reports whether this node suspects itself, however long that has lasted.
func (e *Engine) suspecting() bool { return !e.suspicion.Since().IsZero() }

// contradicted reports whether other nodes find most of the probes good that fail here.
func (e *Engine) contradicted() bool {
	if e.cfg.Cluster == nil {
		return false
	}
	well, now := 0, time.Now()
	for _, s := range e.order {
		for _, b := range s.backends {
			for _, p := range b.probes {
				if p.failing && e.saidWell(p, now) {
					well++
				}
			}
		}
	}
	return 2*well > e.suspicion.Failing
}

// saidWell reports whether another node has found a probe good of late.
func (e *Engine) saidWell(p *probe, now time.Time) bool {
	if !e.many() {
		recent := time.Duration(e.second(now)-p.others)*time.Second <= p.patience()
		return p.others != 0 && recent && p.from.node != e.cfg.Node && p.last.ok
	}
	return slices.ContainsFunc(e.votes[p], func(v voice) bool {
		return v.from.node != e.cfg.Node && v.ok && e.speaks(p, &v, now)
	})
}

// reopen makes a probe up again that went down by samples of this node, and reports
// whether it is. What another node has found dead stays so.
func (e *Engine) reopen(p *probe, now time.Time) bool {
	if !e.many() {
		if p.state != core.Down || p.from.node != e.cfg.Node && !p.last.ok {
			return false
		}
		p.state, p.streak = core.Up, int32(p.spec.Fall)
		return true
	}
	if v := e.voice(p, e.cfg.Node); v != nil && v.state == core.Down {
		v.state, v.streak = core.Up, int32(p.spec.Fall)
	}
	was := p.state
	return e.poll(p, now) && was == core.Down
}
