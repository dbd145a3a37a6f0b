// SPDX-License-Identifier: Apache-2.0

package engine

import "github.com/steelyard-lb/steelyard/core"

// maxRingBackends is how many backends the decisions of a ring may have together: each
// is half a kilobyte.
const maxRingBackends = 1 << 14

// A ring keeps the latest decisions that changed something, of all services
// together: at most so many, and of maxRingBackends, but always the latest one.
type ring struct {
	buf      []core.Decision
	n        int // ever added
	first    int // the oldest that is kept, counted as n is
	backends int // of those kept
}

func newRing(size int) ring { return ring{buf: make([]core.Decision, size)} }

func (r *ring) at(k int) *core.Decision { return &r.buf[k%len(r.buf)] }

func (r *ring) add(d core.Decision) {
	for r.n > r.first && (r.n-r.first == len(r.buf) || r.backends+len(d.Backends) > maxRingBackends) {
		oldest := r.at(r.first)
		r.backends -= len(oldest.Backends)
		*oldest = core.Decision{}
		r.first++
	}
	*r.at(r.n) = d
	r.backends += len(d.Backends)
	r.n++
}

// last returns up to n decisions of a service, newest first; of all services
// if service is empty.
func (r *ring) last(service string, n int) []core.Decision {
	var out []core.Decision
	for k := r.n - 1; k >= r.first && len(out) < n; k-- {
		if d := r.at(k); service == "" || d.Service == service {
			out = append(out, *d)
		}
	}
	return out
}
