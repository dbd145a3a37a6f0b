// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/plugins/builtin"
)

// maxModules bounds the modules of users, each of which has a worker.
const maxModules = 32

// A loaded is a policy and the version that a Load found of it, or made.
type loaded struct {
	policy  *policy
	version *version
	made    bool
}

// Load makes the shipped policies and those of specs the ones in force. It is
// all or nothing: on error, which tells every bad module, the policies loaded
// before stay. A module whose content did not change is not compiled again.
func (h *Host) Load(ctx context.Context, specs []core.PolicySpec) error {
	_, err := h.Replace(ctx, specs)
	return err
}

// Replace is Load, and returns how to bring back the policies that were in force
// before: from memory, since their files may have changed. The new version of a
// policy that stays is tried on its latest real snapshots first: see Refresh.
func (h *Host) Replace(ctx context.Context, specs []core.PolicySpec) (undo func(), err error) {
	h.loading.Lock()
	defer h.loading.Unlock()
	if err := h.loadShipped(ctx); err != nil {
		return nil, err
	}
	old := h.users()
	next, errs := map[string]loaded{}, []error(nil)
	for _, spec := range specs {
		if _, twice := next[spec.Name]; twice {
			errs = append(errs, fmt.Errorf("load policy %s: the name is there twice", spec.Name))
			continue
		}
		l, err := h.loadSpec(ctx, spec, old, next)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		next[spec.Name] = l
	}
	if n := modules(next); n > maxModules {
		errs = append(errs, fmt.Errorf("load policies: %d modules, at most %d are taken: each has a process of its own; "+
			"put several policies into one module", n, maxModules))
	}
	if len(errs) > 0 {
		for _, l := range next {
			if l.made {
				l.version.drop()
			}
		}
		return nil, errors.Join(errs...)
	}
	h.exchange(old, next)
	return func() {
		h.loading.Lock()
		defer h.loading.Unlock()
		h.restore(old, next)
	}, nil
}

// users are the policies of users in force.
func (h *Host) users() map[string]loaded {
	out := map[string]loaded{}
	for _, p := range h.all() {
		if !p.shipped {
			p.mu.Lock()
			out[p.name] = loaded{policy: p, version: p.now}
			p.mu.Unlock()
		}
	}
	return out
}

func modules(set map[string]loaded) int {
	lanes := map[*lane]bool{}
	for _, l := range set {
		lanes[l.version.lane] = true
	}
	return len(lanes)
}

// exchange puts next into force in place of old.
func (h *Host) exchange(old, next map[string]loaded) {
	for name, l := range next {
		if _, ok := old[name]; ok && l.made {
			l.policy.swap(h, l.version)
		}
	}
	h.publish(old, next)
	for name, l := range old {
		if _, ok := next[name]; !ok {
			l.policy.retire()
		}
	}
}

// restore undoes exchange. A worker that has ended meanwhile starts again when it
// is called.
func (h *Host) restore(old, next map[string]loaded) {
	for name, l := range old {
		if n, ok := next[name]; !ok {
			l.version.lane.acquire() // retire let go of it
		} else if n.made {
			l.policy.restore(l.version)
		}
	}
	h.publish(next, old)
	for name, l := range next {
		if _, ok := old[name]; !ok {
			l.policy.retire()
		}
	}
}

// publish makes the names of set those that services can give.
func (h *Host) publish(gone, set map[string]loaded) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name := range gone {
		delete(h.policies, name)
	}
	for name, l := range set {
		h.policies[name] = l.policy
	}
}

// loadShipped loads the shipped policies, once.
func (h *Host) loadShipped(ctx context.Context) error {
	if h.find(builtin.Policies()[0].Name) != nil {
		return nil
	}
	l := h.newLane("the shipped policies", newModule(builtin.Wasm))
	if err := l.load(ctx); err != nil {
		return fmt.Errorf("load shipped policies: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, info := range l.module.manifest.Policies {
		p := newPolicy(info.Name, true)
		p.now = newVersion(info.Name, "", l, i)
		h.policies[info.Name] = p
	}
	return nil
}

// loadSpec loads one user's policy, or takes over what is loaded of it. next are
// those loaded before it in a reload; nil in a refresh.
func (h *Host) loadSpec(ctx context.Context, spec core.PolicySpec, old, next map[string]loaded) (loaded, error) {
	fail := func(err error) (loaded, error) { return loaded{}, fmt.Errorf("load policy %s: %w", spec.Name, err) }
	if h.Shipped(spec.Name) {
		return fail(errors.New("steelyard ships a policy of that name; give yours another"))
	}
	m, err := readSpec(spec)
	if err != nil {
		return fail(err)
	}
	was, known := old[spec.Name]
	if known && was.policy.stays(m.sum) {
		return was, nil
	}
	v, err := h.build(ctx, spec, m, old, next)
	if err != nil {
		return fail(fmt.Errorf("%s: %w", where(spec), err))
	}
	if !known {
		p := newPolicy(spec.Name, false)
		p.now = v
		return loaded{p, v, true}, nil
	}
	reload := next != nil // a refresh makes nothing else
	if err := h.canary(ctx, was.policy, v, reload); err != nil {
		v.drop()
		return fail(fmt.Errorf("%s: %w", where(spec), err))
	}
	return loaded{was.policy, v, true}, nil
}

// build makes a version of a module. Several policies share the lane of a module
// that is the same.
func (h *Host) build(ctx context.Context, spec core.PolicySpec, m *module, sets ...map[string]loaded) (*version, error) {
	l := findLane(m.sum, sets...)
	if l == nil {
		l = h.newLane(spec.Name, m)
		if err := l.load(ctx); err != nil {
			return nil, err
		}
	}
	l.acquire()
	defer l.release()
	entry, err := l.module.entry(spec.Name)
	if err != nil {
		return nil, err
	}
	return newVersion(spec.Name, spec.Path, l, entry), nil
}

// findLane is the lane of a loaded module with this sum.
func findLane(sum string, sets ...map[string]loaded) *lane {
	for _, set := range sets {
		for _, l := range set {
			if l.version.lane.module.sum == sum {
				return l.version.lane
			}
		}
	}
	return nil
}

// stays reports whether a module with this sum changes nothing: it is in force,
// or it was, and had to be rolled back.
func (p *policy) stays(sum string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now.lane.module.sum == sum || p.trial.failed == sum
}

// retire ends the versions of a policy that is taken out of force.
func (p *policy) retire() {
	p.mu.Lock()
	now, before := p.now, p.trial.before
	p.trial.before = nil
	p.mu.Unlock()
	now.drop()
	before.drop()
}

// tend lets go of a version that has stood by for long enough, and of state and
// samples that nobody asks for.
func (p *policy) tend(now time.Time) {
	p.mu.Lock()
	var old *version
	if p.trial.before != nil && now.After(p.trial.until) {
		old, p.trial.before = p.trial.before, nil
	}
	p.prune()
	p.samples.prune(now)
	p.mu.Unlock()
	old.drop()
}
