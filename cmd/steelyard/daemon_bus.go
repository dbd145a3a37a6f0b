// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/config"
	"github.com/steelyard-lb/steelyard/core/engine"
	"github.com/steelyard-lb/steelyard/core/ops"
)

func busOptions(cfg *config.Config, log *slog.Logger) bus.Options {
	c := cfg.Bus
	o := bus.Options{
		Node: cfg.Node, StateDir: filepath.Join(cfg.StateDir, "bus"), Listen: c.Listen, Servers: c.Servers,
		TLS:   bus.TLSFiles{Cert: c.TLS.Cert, Key: c.TLS.Key, CA: c.TLS.CA},
		Login: busLogin(c.Login), CloudEvents: c.CloudEvents, Log: log,
		Roles: natsRoles(cfg), Group: cfg.Cluster.Group,
	}
	for _, u := range c.Users {
		o.Users = append(o.Users, bus.User{
			Name: u.Name, Password: u.Password, NKey: u.NKey, Certificate: u.Certificate,
			Publish: u.Publish, Subscribe: u.Subscribe,
		})
	}
	return o
}

func busLogin(l config.BusLogin) bus.Login {
	return bus.Login{
		User: l.User, Password: l.Password, NKey: core.Secret(l.NKeyFile), Credentials: l.Credentials, CA: l.CA,
		TLS: bus.TLSFiles{Cert: l.Cert, Key: l.Key},
	}
}

// Push takes what a monitor knows of a backend, or of all that match a target, and that
// did not come over the bus. Source is its name. What is about nobody here is published
// all the same: another node on the bus may have such a backend.
func (d *daemon) Push(source string, s core.Sample) error {
	for _, m := range s.Metrics {
		if err := engine.CheckMetric(m); err != nil {
			return err
		}
	}
	err := d.bus.PublishMetric(source, s)
	switch {
	case errors.Is(err, bus.ErrFlood):
		return fmt.Errorf("%w: %w", ops.ErrBusy, err)
	case err != nil && !errors.Is(err, bus.ErrAway): // away: this node has it; others will hear the next one
		return err
	}
	d.mu.Lock()
	cfg := d.cfg
	d.mu.Unlock()
	return d.targets.look(cfg, s.Backend)
}

// Pushed says that what was pushed before did not get beyond this node.
func (d *daemon) Pushed(ctx context.Context) string {
	denied := d.bus.MetricsDenied(ctx)
	if denied == "" {
		return ""
	}
	d.mu.Lock()
	cfg := d.cfg
	d.mu.Unlock()
	return metricsDeniedText(cfg, denied)
}

// Ready tells whether this node should get traffic.
func (d *daemon) Ready(ctx context.Context) []ops.Check {
	v, err := d.View(ctx)
	if err != nil {
		return []ops.Check{{Name: "engine", Detail: err.Error()}}
	}
	return ops.Checks(v)
}
