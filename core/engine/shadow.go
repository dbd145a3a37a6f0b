// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A shadow is a second policy of a service. It sees the same snapshots, and its
// answers are shaped by the same rules from its own shares before, as if it had been
// in force all the time; nothing of it reaches the kernel or the service's policy.
type shadow struct {
	policy   string
	params   map[string]float64
	backends []shadowed // in the order of the service's

	lastCallAt  time.Time
	took        time.Duration
	version     string
	err         string
	failingFrom time.Time // zero while the policy is well
	failureTold time.Time
	snapshotSeq uint64 // of the snapshot that the opinions are of; 0 before the first
	free        bool   // as in a service
	freeFrom    uint64
	moving      bool
}

// A shadowed is what a shadow makes of one backend.
type shadowed struct {
	opinion float64
	from    time.Time // of the latest opinion that was not Hold
	share   float64   // negative: that in force
	held    float64   // as in a backend
}

// newShadow is the shadow of a service that takes the place of old; nil if it has
// none.
func newShadow(s *service, old *service) *shadow {
	if s.spec.Shadow == "" {
		return nil
	}
	sh := &shadow{free: true}
	var was *shadow
	if old != nil && old.shadow != nil && old.shadow.policy == s.spec.Shadow {
		was = old.shadow
		*sh = *was
		sh.free = was.free || s.free
	}
	sh.policy, sh.backends = s.spec.Shadow, make([]shadowed, len(s.backends))
	for i, b := range s.backends {
		sh.backends[i] = shadowed{opinion: core.Hold, from: b.since, share: -1}
		if was == nil {
			continue
		}
		if j := slices.IndexFunc(old.backends, func(o *backend) bool { return o.spec.Addr == b.spec.Addr }); j >= 0 {
			sh.backends[i] = was.backends[j]
		}
	}
	return sh
}

// call asks the shadow of the snapshot that its service's policy sees.
func (sh *shadow) call(snap core.Snapshot, now time.Time) core.Call {
	snap.Params, snap.Since = sh.params, 0
	if !sh.lastCallAt.IsZero() {
		snap.Since = now.Sub(sh.lastCallAt)
	}
	sh.lastCallAt = now
	return core.Call{Policy: sh.policy, Snapshot: snap, Shadow: true}
}

// takeShadow files a shadow's answer; the next decision shows it.
func (e *Engine) takeShadow(s *service, seq uint64, r core.Result, now time.Time) {
	sh := s.shadow
	sh.took = r.Took
	if r.Version != "" {
		sh.version = r.Version
	}
	if r.Err == nil && len(r.Weights) != len(s.backends) {
		r.Err = fmt.Errorf("policy %s: answered %d weights for %d backends", sh.policy, len(r.Weights), len(s.backends))
	}
	if r.Err != nil {
		e.shadowFailed(s, r.Err, now)
		return
	}
	sh.failingFrom, sh.err, sh.snapshotSeq = time.Time{}, "", seq
	for i, w := range r.Weights {
		b := &sh.backends[i]
		if b.opinion = w; w != core.Hold {
			b.from = now
		}
	}
}

// shadowFailed is policyFailed for a shadow, whose failure does not concern the
// service.
func (e *Engine) shadowFailed(s *service, err error, now time.Time) {
	sh := s.shadow
	if sh.failingFrom.IsZero() {
		sh.failingFrom = now
	}
	if now.Sub(sh.failureTold) > repeatEvery {
		sh.failureTold = now
		e.log.Warn("shadow policy failed; the service is not concerned", "service", s.spec.Name, "policy", sh.policy, "err", err)
	}
	sh.err = err.Error()
	if now.Sub(sh.failingFrom) > s.spec.Shaping.Hold {
		for i := range sh.backends {
			sh.backends[i].opinion = core.Hold
		}
	}
}

// compare adds to a decision what the shadow would have done. It may change in,
// which the shares of the decision came from.
func (sh *shadow) compare(s *service, d *core.Decision, in []core.ShapeBackend, now time.Time) {
	d.Shadow = &core.ShadowDecision{
		Policy: sh.policy, PolicyVersion: sh.version, PolicySeconds: sh.took.Seconds(),
		SnapshotSeq: sh.snapshotSeq, PolicyError: sh.err,
	}
	if sh.snapshotSeq == 0 {
		return // it has not answered yet
	}
	sum := sh.opinions(s, in, now)
	shaped := core.Shape(s.spec.Shaping, s.spec.MinUp, in, core.NextPace(sh.free, sh.moving))
	sh.free = sh.free && sh.snapshotSeq <= sh.freeFrom
	sh.moving = core.CutShort(shaped)
	shares, policy := make([]core.ShadowShare, len(in)), make([]float64, len(in))
	for i := range shaped {
		own := &sh.backends[i]
		own.share = shaped[i].Share
		own.held = core.HeldFrom(own.held, own.share, in[i].HeldFor, s.spec.Shaping)
		shares[i].Share = shaped[i].Share
		if in[i].Opinion != core.Hold && sum > 0 {
			policy[i] = in[i].Opinion / sum
			shares[i].Policy = &policy[i]
		}
		d.Backends[i].Shadow = &shares[i]
		d.Shadow.Moved += math.Abs(shaped[i].Share-d.Backends[i].Share) / 2
	}
}

// opinions replaces those of the policy in force by the shadow's, and adds them up.
func (sh *shadow) opinions(s *service, in []core.ShapeBackend, now time.Time) (sum float64) {
	for i, b := range s.backends {
		own := &sh.backends[i]
		if b.cameUp.After(own.from) {
			own.opinion, own.from = core.Hold, b.cameUp // what was learned before may not hold
		}
		in[i].Opinion, in[i].HeldFor, in[i].Held = own.opinion, now.Sub(own.from), own.held
		if own.share >= 0 {
			in[i].Prev = own.share
		}
		if own.opinion != core.Hold {
			sum += own.opinion
		}
	}
	return sum
}
