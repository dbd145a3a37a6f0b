// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"net/netip"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// An Orphan is a probe of a backend that no other node speaks of.
type Orphan struct {
	Backend core.BackendID
	Probe   string
}

// Orphans are the probes of backends that no other node has spoken of for long enough by
// adopts, which is called on the engine's goroutine: the node that should ask may not have
// the backend in its configuration. What this node itself asks counts as silence, too.
func (e *Engine) Orphans(ctx context.Context, adopts func(addr netip.AddrPort, p *core.ProbeSpec, silent time.Duration) bool) ([]Orphan, error) {
	var out []Orphan
	err := e.do(ctx, func() {
		now := time.Now()
		begin := e.second(e.installedAt)
		for _, s := range e.order {
			for _, b := range s.backends {
				for _, p := range b.probes {
					silent := time.Duration(e.second(now)-max(begin, p.others)) * time.Second
					if adopts(b.spec.ProbeAddr(&s.spec), p.spec, silent) {
						out = append(out, Orphan{b.id, p.spec.Name})
					}
				}
			}
		}
	})
	return out, err
}
