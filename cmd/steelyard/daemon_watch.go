// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/cluster"
	"github.com/steelyard-lb/steelyard/core/config"
	"github.com/steelyard-lb/steelyard/core/conntrack"
	"github.com/steelyard-lb/steelyard/core/engine"
	"github.com/steelyard-lb/steelyard/probes"
)

// The engine asks for it at run time only.
var _ engine.Reaper = (*conntrack.Reader)(nil)

// watch points the probes, the connection counts and the group at a configuration.
func (d *daemon) watch(cfg *config.Config, l layer) {
	d.parts.watch(watched(cfg, d.host))
	list := targets(cfg)
	if d.member == nil {
		d.runner.SetTargets(list)
		return
	}
	d.setDefinitions(cfg, l, clusterTargets(list))
	d.runner.SetTargets(d.assigned(list))
}

// moved yields when other targets may fall to this node; never, for one alone.
func (d *daemon) moved() <-chan struct{} {
	if d.member == nil {
		return nil
	}
	return d.member.Moved()
}

// followMembers keeps the probes to those targets that fall to this node, as others of
// its group come and go.
func (d *daemon) followMembers() {
	d.mu.Lock()
	cfg := d.cfg
	d.mu.Unlock()
	d.runner.SetTargets(d.assigned(targets(cfg)))
}

// assigned are the targets that this node probes: its own part, and orphans.
func (d *daemon) assigned(list []probes.Target) []probes.Target {
	return slices.DeleteFunc(list, func(t probes.Target) bool {
		return !d.member.Probes(t.Addr, t.Spec.Name) && !d.orphans[engine.Orphan{Backend: t.ID, Probe: t.Spec.Name}]
	})
}

// lookForOrphans has this node probe targets, too, that nobody speaks of: whose part they
// are may have another configuration, as between two reloads of a group. Of several nodes
// the next in line begins, and the others hear it.
func (d *daemon) lookForOrphans(ctx context.Context) {
	list, err := d.engine.Orphans(ctx, func(addr netip.AddrPort, p *core.ProbeSpec, silent time.Duration) bool {
		if silent < orphanAfter || d.member.Probes(addr, p.Name) {
			return false
		}
		place := d.member.ProbesAfter(addr, p.Name)
		turn := max(p.Interval, p.DownInterval, p.FastInterval) + p.Timeout
		return place > 0 && silent >= orphanAfter+time.Duration(place)*turn
	})
	orphans := make(map[engine.Orphan]bool, len(list))
	for _, o := range list {
		orphans[o] = true
	}
	if err != nil || maps.Equal(orphans, d.orphans) {
		return
	}
	if len(orphans) > len(d.orphans) {
		d.log.Warn("nobody else probes some targets; this node does: are the configurations of the group the same?", "targets", len(orphans), "one", list[0].Backend)
	}
	d.orphans = orphans
	d.followMembers()
}

const (
	// orphanAfter is for how long a target is nobody's, beside the time between two runs
	// of its probe: longer than it takes until a node that is gone has lost its targets.
	orphanAfter = 6 * time.Second
	orphanLook  = 2 * time.Second
)

// orphanTicker yields when to look for orphans; never, for a node alone or one that does
// not probe.
func (d *daemon) orphanTicker() (c <-chan time.Time, stop func()) {
	if d.member == nil || !d.cfg.Cluster.Roles.Probe {
		return nil, func() {}
	}
	t := time.NewTicker(orphanLook)
	return t.C, t.Stop
}

func clusterTargets(list []probes.Target) []cluster.Target {
	seen := make(map[cluster.Target]bool, len(list))
	out := make([]cluster.Target, 0, len(list))
	for _, t := range list {
		one := cluster.Target{Addr: t.Addr, Probe: t.Spec.Name}
		if !seen[one] {
			seen[one] = true
			out = append(out, one)
		}
	}
	return out
}

// targets are the backends to be probed: all but sorry servers.
func targets(cfg *config.Config) []probes.Target {
	var out []probes.Target
	specs := make(map[string]*core.ProbeSpec, len(cfg.Probes)) // one for all targets: it is larger than all else of them
	for name, spec := range cfg.Probes {
		specs[name] = &spec
	}
	for _, s := range cfg.Services {
		for _, b := range s.Backends {
			if b.Sorry {
				continue
			}
			addr := b.ProbeAddr(&s)
			for _, name := range s.Probes {
				out = append(out, probes.Target{ID: core.BackendID{Service: s.Name, Backend: b.Name}, Addr: addr, Spec: specs[name]})
			}
		}
	}
	return out
}

// A policyReader knows what policies go by.
type policyReader interface {
	FollowsConnections(policy string) bool
	CustomMetrics(policy string) []string
}

// watched are the backends whose connections the kernel tracks. Their counts must
// be live where the policy goes by them or where a backend takes so many connections
// only, be it that its agent says so; passive health, and policies that read what goes
// wrong, ask for more. Drains and deaths conntrack knows by itself.
func watched(cfg *config.Config, policies policyReader) []conntrack.Watched {
	var out []conntrack.Watched
	for _, s := range cfg.Services {
		live := slices.ContainsFunc(s.Probes, func(name string) bool { return limitsConnections(cfg.Probes[name]) })
		passive := s.Passive.Active()
		for _, policy := range []string{s.Policy, s.Shadow} {
			if policy != "" {
				live = live || policies.FollowsConnections(policy)
				passive = passive || readsWrong(policies.CustomMetrics(policy))
			}
		}
		for _, b := range s.Backends {
			forwarding := cmp.Or(b.Forwarding, s.Forwarding)
			if !forwarding.Tracked() {
				continue
			}
			w := conntrack.Watched{
				ID: core.BackendID{Service: s.Name, Backend: b.Name}, Frontends: s.Frontends,
				Addrs: []netip.AddrPort{b.Addr}, Local: forwarding == core.Local,
				Live: live || b.MaxConnections > 0, Passive: passive,
			}
			if b.Alt.IsValid() {
				w.Addrs = append(w.Addrs, b.Alt)
			}
			out = append(out, w)
		}
	}
	return out
}

// limitsConnections reports whether what a probe hears may be how many connections a
// backend takes.
func limitsConnections(p core.ProbeSpec) bool {
	return p.Type == core.ProbeAgent || p.Type == core.ProbeExec &&
		slices.ContainsFunc(p.Metrics, func(m core.MetricSpec) bool { return m.Name == core.MetricMaxConnections })
}

// readsWrong reports whether metrics are about connections that came to nothing.
func readsWrong(metrics []string) bool {
	return slices.Contains(metrics, core.MetricUnanswered) || slices.Contains(metrics, core.MetricResets)
}

// Override changes a backend by command.
func (d *daemon) Override(ctx context.Context, id core.BackendID, r core.OverrideRequest) (core.OverrideResult, error) {
	return d.engine.Override(ctx, id, r)
}

// Cut ends the open connections of a backend on this node and returns how many there
// were at the latest count.
func (d *daemon) Cut(_ context.Context, id core.BackendID) (int, error) {
	if d.flows == nil {
		return 0, errNoKernel
	}
	n := int(d.flows.Counts()[id].Open)
	d.flows.Cut(id)
	d.log.Warn("open connections cut by command", "service", id.Service, "backend", id.Backend, "connections", n)
	d.tell(core.Event{
		Node: d.node, Severity: core.Warn, Topic: "override", Service: id.Service, Backend: id.Backend,
		Message: fmt.Sprintf("%s cut by command", plural(n, "open connection")),
	})
	return n, nil
}
