// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A batchKey names what has at most one batch in flight: a policy for the services
// that it is in force for, and for those that it is a shadow of.
type batchKey struct {
	policy string
	shadow bool
}

// A batch is calls to one policy.
type batch struct {
	batchKey
	services []*service
	calls    []core.Call
}

// A policyResult is what a batch came to.
type policyResult struct {
	batch
	results []core.Result
}

// schedule starts a batch for each policy that is not busy and has services
// due. A policy that takes long only ever holds up its own services, and a shadow
// none: while it is busy it is left out.
func (e *Engine) schedule(ctx context.Context, now time.Time) {
	var due map[batchKey]*batch
	add := func(s *service, c core.Call) {
		key := batchKey{c.Policy, c.Shadow}
		if due[key] == nil {
			if due == nil {
				due = map[batchKey]*batch{}
			}
			due[key] = &batch{batchKey: key}
		}
		due[key].services, due[key].calls = append(due[key].services, s), append(due[key].calls, c)
	}
	for _, s := range e.order {
		if s.follows || s.inFlight || now.Before(s.nextAt) || e.busy[batchKey{s.spec.Policy, false}] {
			continue
		}
		c := e.call(s, now)
		add(s, c)
		if s.shadow != nil && !e.busy[batchKey{s.shadow.policy, true}] {
			add(s, s.shadow.call(c.Snapshot, now))
		}
	}
	for _, shadow := range []bool{false, true} { // should both ask one worker, the services come first
		for key, b := range due {
			if key.shadow == shadow {
				e.send(ctx, *b)
			}
		}
	}
}

// call is that of a service which is due.
func (e *Engine) call(s *service, now time.Time) core.Call {
	e.seq++
	c := core.Call{Policy: s.spec.Policy, Snapshot: s.snapshot(e.seq, now)}
	s.inFlight = true
	s.lastCallAt = now
	s.nextAt = nextDue(s, now)
	e.traceCall(s, e.seq)
	return c
}

func (e *Engine) send(ctx context.Context, b batch) {
	e.busy[b.batchKey] = true
	e.wg.Go(func() {
		r := policyResult{b, e.cfg.Scheduler.Schedule(ctx, b.calls)}
		select {
		case e.results <- r:
		case <-ctx.Done():
		}
	})
}

// nextDue spreads services of the same interval over it by their name, so that
// a tick has a small batch and a node with many services works evenly.
func nextDue(s *service, now time.Time) time.Time {
	every := s.spec.Every
	phase := time.Duration(core.BackendID{Service: s.spec.Name}.Hash() % uint64(every))
	next := now.Truncate(every).Add(phase)
	if !next.After(now) {
		next = next.Add(every)
	}
	if next.Sub(now) < every/2 {
		next = next.Add(every)
	}
	// Truncate has left the monotonic clock behind; without it a clock that is
	// set back would end all decisions until it is there again.
	return now.Add(next.Sub(now))
}

// snapshot is what the policy of a service sees.
func (s *service) snapshot(seq uint64, now time.Time) core.Snapshot {
	snap := core.Snapshot{
		Service: s.spec.Name, ID: core.BackendID{Service: s.spec.Name}.Hash(), Seq: seq, Now: now.Local(),
		Params: s.params, Backends: make([]core.BackendInput, len(s.backends)),
	}
	if !s.lastCallAt.IsZero() {
		snap.Since = now.Sub(s.lastCallAt)
	}
	if len(s.backends) > 0 && s.backends[0].custom != nil {
		snap.Metrics = s.backends[0].custom.names
	}
	stale := s.spec.Shaping.StaleAfter
	for i, b := range s.backends {
		snap.Backends[i] = core.BackendInput{
			ID: b.hash, Name: b.spec.Name, Weight: b.weight(), Health: b.health,
			Since: now.Sub(b.since), Share: b.share, CPUSeq: b.cpuSeq,
			CPU: b.cpu.seen(now, stale), Cores: b.cores.seen(now, stale), Response: b.response.seen(now, stale),
			Conns: b.open.seen(now, stale), New: b.fresh.seen(now, stale), Done: b.done.seen(now, stale),
			Custom: b.custom.seen(now, stale),
		}
	}
	return snap
}

// takeResult files a policy's answers and decides their services. Step 4 of 7
// ends here.
func (e *Engine) takeResult(r policyResult) {
	delete(e.busy, r.batchKey)
	now := time.Now()
	for i, s := range r.services {
		current := e.services[s.spec.Name] == s // else a reload replaced it meanwhile
		if r.shadow {
			if current && !s.follows {
				e.takeShadow(s, r.calls[i].Snapshot.Seq, r.results[i], now)
			}
			continue
		}
		s.inFlight = false
		if !current || s.follows {
			continue
		}
		seq, pace := r.calls[i].Snapshot.Seq, s.pace()
		if e.takeOpinions(s, r.results[i], now) {
			s.free, s.snapshotSeq = s.free && seq <= s.freeFrom, seq
		}
		e.traceAnswer(s, seq, r.results[i])
		e.decide(s, cause{trigger: "interval", at: now}, pace)
		s.policyAnswered(seq)
	}
}

// takeOpinions files the answer and reports whether it could be used.
func (e *Engine) takeOpinions(s *service, r core.Result, now time.Time) bool {
	s.policyTook = r.Took
	if r.Version != "" {
		s.version = r.Version
	}
	if r.Err == nil && len(r.Weights) != len(s.backends) {
		r.Err = fmt.Errorf("policy %s: answered %d weights for %d backends", s.spec.Policy, len(r.Weights), len(s.backends))
	}
	if r.Err != nil {
		e.policyFailed(s, r.Err, now)
		return false
	}
	if !s.failingFrom.IsZero() {
		e.event(core.Info, "policy", s.spec.Name, "", fmt.Sprintf("policy %s answers again", s.spec.Policy))
		s.failingFrom, s.policyErr = time.Time{}, ""
	}
	for i, b := range s.backends {
		b.opinion = r.Weights[i]
		if b.opinion != core.Hold {
			b.opinionFrom = now
		}
	}
	return true
}

// policyFailed keeps the last good opinions; once the failure has lasted for
// the service's Hold they count for nothing any more.
func (e *Engine) policyFailed(s *service, err error, now time.Time) {
	if s.failingFrom.IsZero() || now.Sub(s.failureTold) > repeatEvery {
		s.failureTold = now
		e.event(core.Error, "policy", s.spec.Name, "", err.Error())
		e.log.Error("policy failed; the last good weights hold", "service", s.spec.Name, "policy", s.spec.Policy, "err", err)
	}
	if s.failingFrom.IsZero() {
		s.failingFrom = now
	}
	s.policyErr = err.Error()
	if now.Sub(s.failingFrom) > s.spec.Shaping.Hold {
		for _, b := range s.backends {
			b.opinion = core.Hold
		}
	}
}
