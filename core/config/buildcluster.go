// SPDX-License-Identifier: Apache-2.0

package config

import (
	"slices"

	"github.com/steelyard-lb/steelyard/core"
)

// cluster is how this node works with others. What needs others and finds no group
// is an error where the work would be left undone, and else a warning.
func (b *builder) cluster() core.ClusterSpec {
	r := b.raw.Cluster
	roles := b.roles()
	b.checkQuorum(r)
	b.checkDefinitions(r)
	if r.Group == "" {
		b.checkAlone(roles)
		return core.ClusterSpec{Roles: core.AllRoles}
	}
	if len(b.raw.Bus.Servers) == 0 && !b.spoiltBelow("bus") {
		b.wrong("cluster.group", "set bus.servers, such as [nats://192.0.2.53:4222], the same on all nodes", "the nodes of a group meet over an external NATS, and there is no bus.servers")
	}
	spec := core.ClusterSpec{Group: r.Group, Roles: roles, Probers: r.Probers, Quorum: r.Quorum, Scheduling: core.Scheduling(r.Scheduling)}
	if spec.Quorum == 0 {
		spec.Quorum = r.Probers/2 + 1
	}
	return spec
}

func (b *builder) roles() core.Roles {
	r := core.Roles{
		Probe: slices.Contains(b.raw.Roles, "probe"), Schedule: slices.Contains(b.raw.Roles, "schedule"), Apply: slices.Contains(b.raw.Roles, "apply"),
	}
	if len(b.raw.Roles) == 0 {
		b.wrong("roles", "leave it out for all of them", "without a role the node would do nothing")
	}
	return r
}

// checkAlone: nobody else does what a node alone leaves out.
func (b *builder) checkAlone(roles core.Roles) {
	if b.spoiltBelow("roles") || b.spoilt["cluster.group"] {
		return
	}
	if roles != core.AllRoles {
		b.wrong("roles", "set cluster.group, or leave roles out", "without cluster.group there is no other node that would do the rest")
	}
	for _, key := range []string{"probers", "quorum", "scheduling"} {
		if at := join("cluster", key); b.written(at) {
			b.warnUnless(at, b.isDefault(at), "set cluster.group, or leave it out", "cluster.%s means nothing without cluster.group", key)
		}
	}
}

// isDefault reports whether what was written is what would be there anyway.
func (b *builder) isDefault(at string) bool {
	switch r := b.raw.Cluster; at {
	case "cluster.scheduling":
		return r.Scheduling == string(core.ScheduleLeader)
	case "cluster.probers":
		return r.Probers == 1
	default:
		return r.Quorum == 1
	}
}

func (b *builder) warnUnless(at string, fine bool, hint, format string, args ...any) {
	if !fine {
		b.warn(at, hint, format, args...)
	}
}

func (b *builder) checkQuorum(r rawCluster) {
	if r.Probers > 0 && r.Quorum > r.Probers {
		b.wrong("cluster.quorum", "at most cluster.probers, or raise that", "%d of %d probers can never agree", r.Quorum, r.Probers)
	}
}

func (b *builder) checkDefinitions(r rawCluster) {
	const at = "cluster.definitions"
	switch {
	case r.Definitions != DefinitionsBus:
		const exec = "cluster.definitions_exec"
		b.warnUnless(exec, r.DefinitionsExec != execAllow || b.spoilt[at], "set cluster.definitions: bus, or leave it out", "%s means nothing unless this node follows pushed definitions", exec)
	case len(b.raw.Bus.Servers) == 0 && !b.spoiltBelow("bus"):
		b.wrong(at, "set bus.servers, or definitions: file", "what is pushed is stored in an external NATS with JetStream, and there is no bus.servers")
	case r.Group == "" && !b.spoilt["cluster.group"]:
		b.wrong(at, "set cluster.group, or definitions: file", "definitions are pushed to a group, and there is no cluster.group")
	}
}
