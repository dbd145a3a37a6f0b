// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/plugins/worker"
)

// What is kept for canaries of one policy: so many services, in so much memory.
const (
	sampleServices = 32
	sampleBytes    = 1 << 20
)

// sampleLife is how long the snapshot of a service that is no longer scheduled is
// kept.
const sampleLife = 10 * time.Minute

// samples are the latest snapshots of some services that a policy answered.
type samples struct {
	latest map[string]*sample
	bytes  int
}

// A sample is a snapshot, and when it was taken.
type sample struct {
	core.Snapshot
	at time.Time
}

// keep takes the latest snapshot of a service.
func (s *samples) keep(snap *core.Snapshot, now time.Time) {
	old, ok := s.latest[snap.Service]
	if !ok && len(s.latest) >= sampleServices {
		return
	}
	grown := s.bytes + snapshotBytes(snap)
	if ok {
		grown -= snapshotBytes(&old.Snapshot)
	}
	if grown > sampleBytes && len(s.latest) > 0 {
		return
	}
	if !ok {
		if s.latest == nil {
			s.latest = map[string]*sample{}
		}
		old = &sample{}
		s.latest[snap.Service] = old
	}
	*old, s.bytes = sample{*snap, now}, grown
}

// prune lets go of services that are gone: no version should fail for them, and
// others want their place.
func (s *samples) prune(now time.Time) {
	for service, old := range s.latest {
		if now.Sub(old.at) > sampleLife {
			s.bytes -= snapshotBytes(&old.Snapshot)
			delete(s.latest, service)
		}
	}
}

// canary tries a version on the latest real snapshots of its policy, with the
// policy's state, and keeps nothing of it. The error says what is wrong on which
// services; nobody's calls wait meanwhile. A reload brings the services' parameters
// with the version, and its caller checks those: what v does not take of the old
// ones is left out then.
func (h *Host) canary(ctx context.Context, p *policy, v *version, reload bool) error {
	p.mu.Lock()
	calls := make([]core.Call, 0, len(p.samples.latest))
	for _, s := range p.samples.latest {
		calls = append(calls, core.Call{Policy: p.name, Snapshot: s.Snapshot})
	}
	p.mu.Unlock()
	results := make([]core.Result, len(calls))
	b := &batch{jobs: make([]job, len(calls))}
	for i := range calls {
		j := &b.jobs[i]
		j.call, j.result, j.policy, j.frame = &calls[i], &results[i], p, v.frame
		given := calls[i].Snapshot.Params
		if reload {
			given = v.info.Fitting(given)
		}
		values, err := v.info.Values(given)
		if err != nil {
			results[i].Err = err
			continue
		}
		j.frame.Params = values
		j.hold(v)
		defer v.lane.release()
		b.add(j)
	}
	b.run(ctx, judge)
	return verdict(calls, results)
}

// judge is the finisher of a canary: it only looks.
func judge(j *job, res worker.Result, _ bool) {
	weights, fault := j.answer(res)
	if fault == "" && deadOnly(&j.call.Snapshot, weights) {
		fault = "all weight goes to backends that are not up"
	}
	if fault != "" {
		j.result.Err = errors.New(fault)
	}
}

// deadOnly reports whether an answer leaves every backend that is up without new
// connections, although there is one.
func deadOnly(s *core.Snapshot, weights []float64) bool {
	up := false
	for i := range s.Backends {
		if b := &s.Backends[i]; b.Health == core.Up && b.Weight > 0 {
			if weights[i] != 0 {
				return false
			}
			up = true
		}
	}
	return up
}

// maxTold bounds the services that an error names.
const maxTold = 3

func verdict(calls []core.Call, results []core.Result) error {
	var told []string
	failed := 0
	for i := range results {
		if results[i].Err == nil {
			continue
		}
		if failed++; failed <= maxTold {
			told = append(told, fmt.Sprintf("service %s: %v", calls[i].Snapshot.Service, results[i].Err))
		}
	}
	if failed == 0 {
		return nil
	}
	return fmt.Errorf("it fails on %d of the %d latest real snapshots: %s", failed, len(results), strings.Join(told, "; "))
}
