// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/admin"
	"github.com/steelyard-lb/steelyard/core/config"
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

// places is how many runs of each type may go on at one time, as text to compare.
func places(of map[string]int) string {
	var list []string
	for _, kind := range slices.Sorted(maps.Keys(of)) {
		list = append(list, fmt.Sprintf("%s %d", kind, of[kind]))
	}
	return strings.Join(list, ", ")
}

// settings are the parts of a configuration that take a restart, as text without
// secrets.
func settings(cfg *config.Config) map[string]string {
	users := make([]string, len(cfg.Bus.Users))
	for i, u := range cfg.Bus.Users {
		users[i] = fmt.Sprintf("%s (publish %v, subscribe %v)", u.Name, u.Publish, u.Subscribe)
	}
	l := cfg.Bus.Login
	return map[string]string{
		"node": cfg.Node, "state_dir": cfg.StateDir,
		"control.socket": cfg.Control.Socket, "control.group": cfg.Control.Group,
		"probing.concurrency": places(cfg.Probing.Concurrency),
		"log.level":           cfg.Log.Level, "log.format": cfg.Log.Format,
		"bus.listen": cfg.Bus.Listen, "bus.servers": strings.Join(cfg.Bus.Servers, " "), "bus.users": strings.Join(users, ", "),
		"bus.tls.cert": cfg.Bus.TLS.Cert, "bus.tls.key": cfg.Bus.TLS.Key,
		"bus.login.user": l.User, "bus.login.credentials": l.Credentials, "bus.login.ca": l.CA,
	}
}
