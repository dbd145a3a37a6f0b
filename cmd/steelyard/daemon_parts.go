// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/cluster"
	"github.com/steelyard-lb/steelyard/core/config"
	"github.com/steelyard-lb/steelyard/core/conntrack"
	"github.com/steelyard-lb/steelyard/core/engine"
	"github.com/steelyard-lb/steelyard/core/neigh"
	"github.com/steelyard-lb/steelyard/core/nft"
	"github.com/steelyard-lb/steelyard/core/ops"
	"github.com/steelyard-lb/steelyard/core/webhook"
)

// parts are the adapters that a node has by its roles and its configuration. They do
// not change while it runs.
type parts struct {
	applier dataPlane
	flows   *conntrack.Reader // nil without the role apply
	hops    *neigh.Table      // the same
	bus     *bus.Bus

	member *cluster.Member // nil of a node alone, as are the next
	shared *cluster.Flows

	http  *ops.Server     // nil without http.listen
	hooks *webhook.Sender // nil without webhooks
}

// openKernel opens the netlink sockets, in the network namespace of the calling thread.
func (p *parts) openKernel(roles core.Roles, table nft.Config) error {
	if !roles.Apply {
		p.applier = noKernel{}
		return nil
	}
	applier, err := nft.Open(table)
	if err != nil {
		return err
	}
	p.applier = applier
	if p.flows, err = conntrack.New(conntrack.Config{Log: table.Log}); err != nil {
		return err
	}
	p.hops, err = neigh.Open(neigh.Config{Log: table.Log})
	return err
}

// joinGroup makes this node one of its group, if it has one.
func (p *parts) joinGroup(cfg *config.Config, event func(core.Event), log *slog.Logger) (err error) {
	if cfg.Cluster.Alone() {
		return nil
	}
	self := core.Presence{
		Node: cfg.Node, Inst: rand.Text(), Roles: cfg.Cluster.Roles,
		Version: version, ConfigHash: cfg.GroupHash, StartedAt: time.Now().UTC(),
	}
	p.member, err = cluster.New(cluster.Config{
		Spec: cfg.Cluster, Self: self, Bus: p.bus, Dir: cfg.StateDir, Log: log, Event: event,
	})
	if err != nil {
		return err
	}
	of := cluster.FlowsConfig{Group: cfg.Cluster.Group, Node: cfg.Node, Inst: self.Inst, Peers: p.member, Bus: p.bus, Log: log}
	if p.flows != nil {
		of.Own = p.flows
	}
	p.shared = cluster.NewFlows(of)
	return nil
}

// tellOutside makes the listener for metrics and health, and the webhooks.
func (p *parts) tellOutside(cfg *config.Config, node ops.Node, event func(core.Event), log *slog.Logger) (err error) {
	if cfg.HTTP.Listen != "" {
		if p.http, err = ops.New(httpOptions(cfg.HTTP, node, event, log)); err != nil {
			return err
		}
	}
	if len(cfg.Webhooks) > 0 {
		p.hooks, err = webhook.New(hookOptions(cfg), p.bus.Subscribe, log)
	}
	return err
}

func httpOptions(c config.HTTP, node ops.Node, event func(core.Event), log *slog.Logger) ops.Config {
	o := ops.Config{
		Listen: c.Listen, Cert: c.TLS.Cert, Key: c.TLS.Key, ClientCA: c.TLS.CA, MaxSeries: c.MaxSeries,
		Node: node, Version: version, Event: event, Log: log,
	}
	for _, u := range c.Users {
		o.Users = append(o.Users, ops.User{Name: u.Name, Password: u.Password, Token: u.Token, Rights: u.Rights})
	}
	return o
}

func hookOptions(cfg *config.Config) []webhook.Config {
	out := make([]webhook.Config, 0, len(cfg.Webhooks))
	for _, h := range cfg.Webhooks {
		out = append(out, webhook.Config{
			Name: h.Name, URL: h.URL, Patterns: h.Events, Secret: h.Secret, Headers: h.Headers,
			Timeout: h.Timeout, RetryFor: h.RetryFor, CA: h.CA, Template: h.Template, Node: cfg.Node,
		})
	}
	return out
}

// engineFlows are the connections that the engine goes by: those of all nodes of the
// group, those of this one, or none.
func (p *parts) engineFlows() engine.Flows {
	switch {
	case p.shared != nil:
		return p.shared
	case p.flows != nil:
		return p.flows
	}
	return nil
}

func (p *parts) neighbours() engine.Neighbours {
	if p.hops == nil {
		return farAway{}
	}
	return p.hops
}

// others are the rest of the group, as the engine asks them.
func (p *parts) others() engine.Cluster {
	if p.member == nil {
		return nil
	}
	return p.member
}

// run runs the parts until ctx is done.
func (p *parts) run(ctx context.Context, g *errgroup.Group) {
	if p.flows != nil {
		g.Go(func() error { return p.flows.Run(ctx) })
		g.Go(func() error { return p.hops.Run(ctx) })
	}
	if p.member != nil {
		g.Go(func() error { return p.member.Run(ctx) })
		g.Go(func() error { return p.shared.Run(ctx) })
	}
	if p.http != nil {
		g.Go(func() error { return p.http.Run(ctx) })
	}
	if p.hooks != nil {
		g.Go(func() error { return p.hooks.Run(ctx) })
	}
}

// watch points the connection counts, and what of them others are told, at a
// configuration.
func (p *parts) watch(list []conntrack.Watched) {
	if p.flows != nil {
		p.flows.Watch(list)
	}
	if p.shared != nil {
		p.shared.SetReported(reported(list))
	}
}

// reported are the services whose connections decide about shares, with their backends.
func reported(list []conntrack.Watched) map[string][]string {
	out := map[string][]string{}
	for _, w := range list {
		if w.Live || w.Passive {
			out[w.ID.Service] = append(out[w.ID.Service], w.ID.Backend)
		}
	}
	return out
}

// setDefinitions tells the group of a configuration that is in force.
func (p *parts) setDefinitions(cfg *config.Config, l layer, list []cluster.Target) {
	if p.member == nil {
		return
	}
	names := make([]string, 0, len(cfg.Services))
	for _, s := range cfg.Services {
		names = append(names, s.Name)
	}
	p.member.SetServices(names)
	p.member.SetTargets(list)
	p.member.SetSelf(func(self *core.Presence) { self.ConfigHash, self.Revision = cfg.GroupHash, l.revision })
}

// close closes what is open, in the order in which it can be missed.
func (p *parts) close() error {
	var errs []error
	if p.bus != nil {
		p.bus.Close()
	}
	for _, c := range p.sockets() {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

func (p *parts) sockets() []io.Closer {
	var out []io.Closer
	if p.hops != nil {
		out = append(out, p.hops)
	}
	if p.flows != nil {
		out = append(out, p.flows)
	}
	if p.applier != nil {
		out = append(out, p.applier)
	}
	return slices.Clip(out)
}
