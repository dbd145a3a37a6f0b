// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"maps"
	"slices"

	"github.com/steelyard-lb/steelyard/core"
)

// Stats says how the runs of each probe type go, sorted by type. A type is in it from
// its first target on, with its counts since the start of Run.
func (r *Runner) Stats() []core.ProbeTypeView {
	p := &r.places
	p.mu.Lock()
	defer p.mu.Unlock()
	views := make([]core.ProbeTypeView, 0, len(p.gates))
	for _, kind := range slices.Sorted(maps.Keys(p.gates)) {
		g := p.gates[kind]
		views = append(views, core.ProbeTypeView{
			Type:    kind,
			Targets: g.targets,
			Shared:  g.shared,
			Limit:   g.room.limit,
			Running: g.room.taken,
			Waiting: len(g.quick) + len(g.slow),
			Runs:    g.runs.Load(),
			Failed:  g.failed.Load(),
			Skipped: g.skipped.Load(),
		})
	}
	return views
}
