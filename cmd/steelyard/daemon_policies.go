// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/config"
	"github.com/steelyard-lb/steelyard/core/engine"
)

// loadPolicies loads the policies of a configuration and asks them whether they
// take the parameters that its services give. It returns how to bring back those
// before; on error they are in force already.
func (d *daemon) loadPolicies(ctx context.Context, cfg *config.Config) (undo func(), err error) {
	undo, err = d.host.Replace(ctx, cfg.Policies)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, s := range cfg.Services {
		for _, p := range paramErrors(d.host, s) {
			errs = append(errs, fmt.Errorf("service %s: params.%s: %w", s.Name, p.param, p.err))
		}
	}
	if len(errs) > 0 {
		undo()
		return nil, invalidConfig{errors.Join(errs...)}
	}
	return undo, nil
}

// setup is a configuration for the engine, with what its policies say of
// themselves: they must be loaded.
func (d *daemon) setup(cfg *config.Config) engine.Setup {
	s := setup(cfg)
	s.Metrics, s.Params, s.Reads = d.policyNeeds(cfg)
	return s
}

// policyNeeds are the custom metrics that the policies of a configuration read, the
// parameters that they take, and all metrics that they go by.
func (d *daemon) policyNeeds(cfg *config.Config) (metrics, params, reads map[string][]string) {
	metrics, params, reads = map[string][]string{}, map[string][]string{}, map[string][]string{}
	for _, s := range cfg.Services {
		for _, name := range []string{s.Policy, s.Shadow} {
			if _, done := params[name]; done || name == "" {
				continue
			}
			params[name] = d.host.ParamNames(name)
			if custom := d.host.CustomMetrics(name); len(custom) > 0 {
				metrics[name] = custom
			}
			if r := d.host.Reads(name); r != nil {
				reads[name] = r
			}
		}
	}
	return metrics, params, reads
}

// policyEvent passes on what the host tells of: a policy that was swapped, rolled
// back or put into quarantine. It does not block.
func (d *daemon) policyEvent(e core.Event) {
	d.tell(e)
	select {
	case d.swapped <- struct{}{}:
	default: // one waiting is enough
	}
}

// followPolicies makes the engine and the connection counts follow policies that
// are others than at the last reload.
func (d *daemon) followPolicies(ctx context.Context) {
	d.mu.Lock()
	cfg := d.cfg
	d.mu.Unlock()
	metrics, params, reads := d.policyNeeds(cfg)
	if err := d.engine.SetPolicies(ctx, metrics, params, reads); err != nil {
		return // it ends
	}
	d.parts.watch(watched(cfg, d.host))
}

// lookAtPolicies loads the policies anew whose files have changed.
func (d *daemon) lookAtPolicies(ctx context.Context) {
	d.mu.Lock()
	policies := d.cfg.Policies
	d.mu.Unlock()
	for _, name := range d.policyFiles.changed() {
		i := slices.IndexFunc(policies, func(p core.PolicySpec) bool { return p.Name == name })
		if i < 0 {
			continue
		}
		changed, err := d.host.Refresh(ctx, policies[i])
		if ctx.Err() != nil {
			return
		}
		d.tellRefresh(policies[i], changed, err)
		if changed {
			d.followPolicies(ctx)
		}
	}
}

// tellRefresh says what became of a policy whose file has changed. The host tells
// of a swap by itself.
func (d *daemon) tellRefresh(spec core.PolicySpec, changed bool, err error) {
	d.mu.Lock()
	before := d.refused[spec.Name]
	delete(d.refused, spec.Name)
	if err != nil {
		d.refused[spec.Name] = err.Error()
	}
	d.mu.Unlock()
	switch {
	case err != nil:
		d.log.Error("policy file refused; the version before stays in force", "policy", spec.Name, "path", spec.Path, "err", err)
		d.tellError("policy", d.node, fmt.Errorf("%w; the version before stays in force", err))
	case changed:
		d.log.Info("policy loaded anew", "policy", spec.Name, "path", spec.Path)
	case before != "":
		d.log.Info("policy file is the one in force again", "policy", spec.Name, "path", spec.Path)
		d.policyEvent(core.Event{Severity: core.Info, Topic: "policy", Message: fmt.Sprintf("policy %s: its file is the one in force again", spec.Name)})
	}
}

// Recordings are the latest calls of policies for a service, oldest first.
func (d *daemon) Recordings(service string, cursor uint64) ([]core.Recorded, uint64) {
	return d.host.RecordingsSince(service, cursor)
}

// FollowRecordings keeps the calls of a service until stop is called.
func (d *daemon) FollowRecordings(service string) (stop func()) {
	return d.host.FollowRecordings(service)
}

// policyViews are the policies as show prints them.
func (d *daemon) policyViews() []core.PolicyView {
	views := d.host.Views()
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range views {
		views[i].FileRefused = d.refused[views[i].Name]
	}
	return views
}
