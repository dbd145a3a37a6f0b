// SPDX-License-Identifier: Apache-2.0

package engine

import "github.com/steelyard-lb/steelyard/core"

// A paper is the memory that the record of a decision is written on. Nearly all
// decisions change nothing and nobody looks at them: each is written on the paper
// of the one before, lest thousands of services a second make work for the garbage
// collector.
type paper struct {
	backends []core.BackendDecision
	inputs   []core.Input
	policy   []float64
}

// sized is p for n backends and m inputs. Paper that is too small, or so large that
// a service would waste it, is left behind.
func (p paper) sized(n, m int) paper {
	if n > cap(p.backends) || cap(p.backends) > 2*n || m > cap(p.inputs) || cap(p.inputs) > 2*m {
		return paper{make([]core.BackendDecision, n), make([]core.Input, 0, m), make([]float64, n)}
	}
	return paper{p.backends[:n], p.inputs[:0], p.policy[:n]}
}

// keep makes d, on its paper, the latest decision of a service, and takes back the
// paper of the one before if nobody else holds it.
func (e *Engine) keep(s *service, d core.Decision, on paper) {
	if s.unseen {
		e.spare = s.paper
	}
	s.decision, s.paper, s.unseen = d, on, true
}

// seen is the latest decision for others to hold: its paper is not written on any
// more.
func (s *service) seen() core.Decision {
	s.unseen = false
	return s.decision
}
