// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/plugins/abi"
	"github.com/steelyard-lb/steelyard/plugins/worker"
)

// A tally is what is counted of a policy, over all its versions.
type tally struct {
	calls, faults, restarts, swaps uint64
	lastFault                      string
	lastFaultAt                    time.Time
	took                           [256]time.Duration // a ring of the latest calls

	// The parameters of the latest call, and what they come to in the order of the
	// version's manifest: services of one policy mostly give the same.
	given  map[string]float64
	values []float64
	of     *version
}

// prepare finds the version that a call is for and holds it. It returns false
// after it wrote an error into the result.
func (h *Host) prepare(j *job) bool {
	p := h.find(j.call.Policy)
	if p == nil {
		j.result.Err = fmt.Errorf("run policy %s: no such policy is loaded", j.call.Policy)
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	v := p.now
	j.result.Version = v.label
	if j.result.Err = p.away(); j.result.Err != nil {
		return false
	}
	j.policy, j.frame = p, v.frame
	if err := p.params(j, v); err != nil {
		j.result.Err = fmt.Errorf("run policy %s: %w", p.name, err)
		return false
	}
	j.hold(v)
	return true
}

// away is an error while the policy is in quarantine. The caller holds mu.
func (p *policy) away() error {
	if p.quarantine.until.IsZero() {
		return nil
	}
	if wait := time.Until(p.quarantine.until); wait > 0 {
		return fmt.Errorf("run policy %s: quarantined for another %v after: %s", p.name, wait.Round(time.Millisecond), p.tally.lastFault)
	}
	return nil
}

// hold makes a job one of this version, until its lane is released.
func (j *job) hold(v *version) {
	v.lane.acquire()
	j.version = v
}

// params puts the call's parameters into the frame. The caller holds mu.
func (p *policy) params(j *job, v *version) error {
	given, t := j.call.Snapshot.Params, &p.tally
	if t.of == v && maps.Equal(given, t.given) {
		j.frame.Params = t.values
		return nil
	}
	values, err := v.info.Values(given)
	if err != nil {
		return err
	}
	t.of, t.given, t.values = v, maps.Clone(given), values
	j.frame.Params = values
	return nil
}

// answer checks what the worker said to a job. It returns the weights, or what is
// wrong.
func (j *job) answer(res worker.Result) ([]float64, string) {
	if res.Err != "" {
		return nil, res.Err
	}
	w, err := abi.DecodeWeights(res.Answer, &j.call.Snapshot, j.frame)
	if err != nil {
		return nil, err.Error()
	}
	return w, ""
}

// finish takes the worker's answer to a job: checks it, keeps its state, and
// counts.
func (h *Host) finish(j *job, res worker.Result, killed bool) {
	if len(res.Logs) > 0 {
		h.relay(j, res)
	}
	weights, fault := j.answer(res)
	now := time.Now()
	j.result.Took, j.result.Weights = res.Took, weights
	if fault != "" {
		j.result.Err = fmt.Errorf("run policy %s on %s: %s", j.policy.name, j.call.Snapshot.Service, fault)
	}
	h.record.add(core.Recorded{
		At: now, Policy: j.policy.name, Version: j.version.label, Shadow: j.call.Shadow,
		Snapshot: j.call.Snapshot, Weights: weights, Took: res.Took, Err: fault,
	})
	p := j.policy
	p.mu.Lock()
	p.tally.took[p.tally.calls%uint64(len(p.tally.took))] = res.Took
	p.tally.calls++
	if fault == "" {
		p.quarantine.good(now)
		p.commit(j, res.Answer)
		if !p.shipped {
			p.samples.keep(&j.call.Snapshot, now)
		}
		if p.now == j.version {
			p.trial.inARow = 0
		}
		p.mu.Unlock()
		return
	}
	tell := p.fault(j, fault, killed, now)
	p.mu.Unlock()
	tell(h)
}

// fault counts a fault and draws the consequences; the caller holds mu, and tells
// of them once it does no more.
func (p *policy) fault(j *job, fault string, killed bool, now time.Time) (tell func(*Host)) {
	tell = func(*Host) {}
	p.tally.faults++
	p.tally.lastFault, p.tally.lastFaultAt = fault, now
	if killed {
		p.tally.restarts++
	}
	if p.now != j.version {
		return tell // of a version that is not in force any more
	}
	p.trial.inARow++
	if back := p.trial.before; back != nil && (killed || p.trial.inARow >= trialFaults) {
		return p.rollBack(j, fault)
	}
	if !killed {
		return tell
	}
	p.quarantine.start(now)
	wait := p.quarantine.wait
	return func(h *Host) {
		h.log.Warn("policy quarantined", "policy", j.version.label, "service", j.call.Snapshot.Service, "cause", fault, "for", wait)
		h.tell(core.Warn, j.call.Snapshot.Service, fmt.Sprintf("policy %s is not called for %v: %s", j.version.label, wait, fault))
	}
}

// Views are the loaded policies, by name.
func (h *Host) Views() []core.PolicyView {
	all := h.all()
	slices.SortFunc(all, func(a, b *policy) int {
		if a.name < b.name {
			return -1
		}
		return 1
	})
	views := make([]core.PolicyView, len(all))
	for i, p := range all {
		views[i] = p.view()
	}
	return views
}

func (p *policy) view() core.PolicyView {
	p.mu.Lock()
	defer p.mu.Unlock()
	v, t := p.now, &p.tally
	view := core.PolicyView{
		Name: p.name, Version: v.label, Language: v.lane.module.language(), Path: v.path, SHA256: v.lane.module.sum,
		Bytes: len(v.lane.module.code), LoadedAt: v.loadedAt.UTC(), About: v.info.About,
		Calls: t.calls, MemoryBytes: v.lane.memory(), Faults: t.faults, LastFault: t.lastFault,
		QuarantineSecond: max(0, time.Until(p.quarantine.until).Seconds()), Restarts: t.restarts,
		Swaps: t.swaps, RolledBack: p.trial.rolledBack,
	}
	if p.shipped {
		view.Language = "shipped"
	}
	if !t.lastFaultAt.IsZero() {
		view.LastFaultAt = t.lastFaultAt.UTC()
	}
	if p.trial.before != nil {
		view.Previous = p.trial.before.label
	}
	if n := min(t.calls, uint64(len(t.took))); n > 0 {
		took := slices.Clone(t.took[:n])
		slices.Sort(took)
		view.P50Seconds, view.P99Seconds = took[n/2].Seconds(), took[n*99/100].Seconds()
	}
	return view
}
