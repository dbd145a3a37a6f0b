// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"context"
	"fmt"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A version that took another's place is on trial for so long: when so many of
// its calls in a row fail, or one costs the worker its life, the version before
// comes back.
const (
	trialTime   = 10 * time.Minute
	trialFaults = 3
)

// A trial is about the version of a policy that is in force.
type trial struct {
	before *version // stands by with its worker; nil if none does
	until  time.Time
	inARow int // faults, since the last good answer

	rolledBack string // why the version loaded last is not in force; empty if it is
	failed     string // its sha256
}

// Refresh loads one user's policy anew and puts it in the place of the version in
// force, if it is another: changed says so. It is compiled, checked, and tried on
// the latest real snapshots of up to 32 services of this policy before anybody
// depends on it; on error the version in force stays. Calls under way end with
// the version they began with.
func (h *Host) Refresh(ctx context.Context, spec core.PolicySpec) (changed bool, err error) {
	h.loading.Lock()
	defer h.loading.Unlock()
	old := h.users()
	was, ok := old[spec.Name]
	if !ok {
		return false, fmt.Errorf("refresh policy %s: no such policy of a user is loaded; name it in the configuration and reload", spec.Name)
	}
	l, err := h.loadSpec(ctx, spec, old, nil)
	if err != nil {
		return false, err
	}
	if !l.made {
		return false, was.policy.refusal(spec)
	}
	l.policy.swap(h, l.version)
	return true, nil
}

// refusal is an error if the content of spec is not in force although nobody can
// see why.
func (p *policy) refusal(spec core.PolicySpec) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.trial.rolledBack == "" {
		return nil
	}
	m, err := readSpec(spec)
	if err != nil || m.sum != p.trial.failed {
		return err
	}
	return fmt.Errorf("refresh policy %s: %s; change %s", p.name, p.trial.rolledBack, where(spec))
}

// swap puts v into force; the version before stands by.
func (p *policy) swap(h *Host, v *version) {
	p.mu.Lock()
	old, gone := p.now, p.trial.before
	p.now, p.quarantine = v, quarantine{}
	p.trial = trial{before: old, until: time.Now().Add(trialTime)}
	p.tally.swaps++
	p.forget()
	p.mu.Unlock()
	gone.drop()
	h.log.Info("policy swapped", "policy", v.label, "before", old.label)
	h.tell(core.Info, "", fmt.Sprintf("policy %s took the place of %s", v.label, old.label))
}

// restore puts a version back into force that a swap had put out of it.
func (p *policy) restore(v *version) {
	p.mu.Lock()
	bad, other := p.now, p.trial.before
	if bad == v {
		p.mu.Unlock() // it was rolled back meanwhile
		return
	}
	if other == v {
		other = nil
	} else {
		v.lane.acquire() // it stood by for long enough
	}
	p.now, p.trial, p.quarantine = v, trial{}, quarantine{}
	p.mu.Unlock()
	bad.drop()
	other.drop()
}

// rollBack brings the version before back; the caller holds mu.
func (p *policy) rollBack(j *job, fault string) (tell func(*Host)) {
	bad, good := p.now, p.trial.before
	why := fmt.Sprintf("%s was rolled back to %s at %s: %s", bad.label, good.label, time.Now().UTC().Format(time.RFC3339), fault)
	p.now, p.quarantine = good, quarantine{}
	p.trial = trial{rolledBack: why, failed: bad.lane.module.sum}
	return func(h *Host) {
		bad.drop() // the job still holds its lane, so that nobody waits here
		h.log.Error("policy rolled back", "policy", bad.label, "to", good.label, "service", j.call.Snapshot.Service, "cause", fault)
		h.tell(core.Error, j.call.Snapshot.Service, "policy "+why)
	}
}
