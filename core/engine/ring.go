// SPDX-License-Identifier: Apache-2.0

package engine

import "github.com/steelyard-lb/steelyard/core"

// A ring keeps the latest decisions that changed something, of all services
// together.
type ring struct {
	buf []core.Decision
	n   int // ever added
}

func newRing(size int) ring { return ring{buf: make([]core.Decision, 0, size)} }

func (r *ring) add(d core.Decision) {
	if len(r.buf) < cap(r.buf) {
		r.buf = append(r.buf, d)
	} else {
		r.buf[r.n%cap(r.buf)] = d
	}
	r.n++
}

// last returns up to n decisions of a service, newest first; of all services
// if service is empty.
func (r *ring) last(service string, n int) []core.Decision {
	var out []core.Decision
	for k := r.n - 1; k >= max(0, r.n-len(r.buf)) && len(out) < n; k-- {
		if d := r.buf[k%cap(r.buf)]; service == "" || d.Service == service {
			out = append(out, d)
		}
	}
	return out
}
