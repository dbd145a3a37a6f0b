// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/admin"
	"github.com/steelyard-lb/steelyard/core/nft"
)

// Pin pins clients to a backend by command, or ends that.
func (d *daemon) Pin(ctx context.Context, service string, r core.PinRequest) (core.PinResult, error) {
	return d.engine.Pin(ctx, service, r)
}

// Forget has persistence forget clients and returns how many there were.
func (d *daemon) Forget(ctx context.Context, service string, f core.SessionFilter, author string) (int, error) {
	return d.engine.Forget(ctx, service, f, author)
}

// Sessions are the clients that persistence has bound: of one service, or of all
// that have persistence or pins. What cannot be read is said in its place.
func (d *daemon) Sessions(ctx context.Context, q admin.SessionsQuery) ([]core.SessionsView, error) {
	names := []string{q.Service}
	if q.Service == "" {
		v, err := d.engine.View(ctx)
		if err != nil {
			return nil, err
		}
		names = names[:0]
		for _, s := range v.Services {
			names = append(names, s.Name)
		}
	}
	var out []core.SessionsView
	for _, name := range names {
		plan, pins, err := d.engine.Pins(ctx, name)
		if err != nil {
			return nil, err
		}
		if q.Service == "" && len(pins) == 0 && plan.Persistence.Timeout == 0 {
			continue
		}
		list, err := d.applier.Sessions(ctx, plan, q.SessionFilter, q.Limit)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		out = append(out, sessionsView(plan, pins, list, err, q.SessionFilter))
	}
	return out, nil
}

func sessionsView(plan core.ServicePlan, pins []core.PinState, list core.Sessions, err error, f core.SessionFilter) core.SessionsView {
	v := core.SessionsView{
		Service: plan.Name, Timeout: plan.Persistence.Timeout.Seconds(), Counts: list.Counts, Matched: list.Matched,
		Sessions: list.List, Pins: []core.PinState{},
	}
	if v.Sessions == nil {
		v.Sessions = []core.Session{} // in JSON an empty list, not null
	}
	for _, p := range pins {
		if f.Matches(p.Client, p.Backend) {
			v.Pins = append(v.Pins, p)
		}
	}
	if err != nil {
		v.Error = err.Error()
	}
	return v
}

// InForce is what the daemon carries, to compare a configuration with.
func (d *daemon) InForce(ctx context.Context) (core.InForce, error) {
	f, err := d.engine.InForce(ctx)
	if err != nil {
		return f, err
	}
	d.mu.Lock()
	cfg := d.cfg
	d.mu.Unlock()
	f.ConfigHash, f.Policies, f.Settings, f.Features = cfg.Hash, cfg.Policies, settings(cfg), d.applier.Features()
	f.Interfaces = nft.Interfaces()
	return f, nil
}
