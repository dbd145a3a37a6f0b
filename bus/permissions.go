// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
)

// A Role is what somebody does on the bus. A node has several of them.
type Role string

// The roles.
const (
	// ProberRole is a node that probes.
	ProberRole Role = "prober"
	// SchedulerRole is a node that may decide the shares of services.
	SchedulerRole Role = "scheduler"
	// BalancerRole is a node whose kernel carries traffic.
	BalancerRole Role = "balancer"
	// IngestRole is what a node needs beyond that to take metrics over HTTP or its
	// control socket: it publishes them in the name of the monitor that brought them.
	IngestRole Role = "ingest"
	// FollowerRole is what a node needs beyond that to take its services from the
	// bus: it reads the store of definitions.
	FollowerRole Role = "follower"
	// PusherRole writes definitions.
	PusherRole Role = "pusher"
	// MonitorRole feeds metrics under its own name, and reads nothing.
	MonitorRole Role = "monitor"
	// ViewerRole reads everything of steelyard's but the store, and publishes nothing.
	ViewerRole Role = "viewer"
)

// Roles are all of them, in the order of the documentation.
var Roles = []Role{ProberRole, SchedulerRole, BalancerRole, IngestRole, FollowerRole, PusherRole, MonitorRole, ViewerRole}

// A grant is what a role may do. In a subject, {node} is the name of the node or user,
// {group} that of the group, and {store} and {files} are the streams of the group's
// definitions. What contains {group} or one of the streams is left out without a group.
type grant struct {
	role               Role
	publish, subscribe []string
}

// ofNodes is what every node does, whatever its roles: say that it is there, judge
// health for itself, tell what happens, and read what the others do. It reads all of
// steelyard's, since its operators do so through it (steelyard monitor).
var ofNodes = grant{
	publish:   []string{"{v}.node.{group}.{node}", "{v}.health.*.*", "{v}.event.*.*"},
	subscribe: []string{"{v}.>", "{inbox}"},
}

// grants is the one table of who may do what. The documentation, the snippets of
// packaging/nats and the defaults of the embedded server are made from it.
var grants = []grant{
	{ProberRole, []string{"{v}.probe.*.*.*.{node}"}, nil},
	{SchedulerRole, []string{"{v}.weights.{group}.*.{node}", "{v}.decision.*"}, nil},
	// A balancer decides for itself what it makes of the shares it is given, and says so.
	{BalancerRole, []string{"{v}.decision.*", "{v}.commit.{node}", "{v}.flows.{group}.*.{node}"}, nil},
	{IngestRole, []string{"{v}.metric.*.*.*.*", "{v}.metric.*.*.*"}, nil},
	{FollowerRole, readsStore, []string{"$KV.{store}.>"}},
	{PusherRole, append(slices.Clone(readsStore),
		"$KV.{store}.>", "$O.{store}.>", "$JS.API.INFO",
		"$JS.API.STREAM.CREATE.KV_{store}", "$JS.API.STREAM.CREATE.OBJ_{store}",
		"$JS.API.STREAM.PURGE.OBJ_{store}"), []string{"{inbox}"}},
	{MonitorRole, []string{"{v}.metric.{node}.>"}, []string{"{inbox}"}},
	{ViewerRole, nil, []string{"{v}.>", "{inbox}"}},
}

// readsStore are the requests with which the store is read. There is no consumer among
// them: one would deliver to any subject that its maker names.
var readsStore = []string{
	"$JS.API.STREAM.INFO.KV_{store}", "$JS.API.STREAM.INFO.OBJ_{store}",
	"$JS.API.DIRECT.GET.KV_{store}", "$JS.API.DIRECT.GET.KV_{store}.>",
	"$JS.API.DIRECT.GET.OBJ_{store}", "$JS.API.DIRECT.GET.OBJ_{store}.>",
}

// RolePermissions are the subjects that somebody with a role may publish on and
// subscribe to, and nothing else. node is the name of the node, or of the user for
// roles that are no node's; without a group, what groups have in common is left out. An
// unknown role may do nothing.
func RolePermissions(role Role, node, group string) (publish, subscribe []string) {
	for _, g := range grants {
		if g.role != role {
			continue
		}
		if !role.alone() {
			publish, subscribe = append(publish, ofNodes.publish...), append(subscribe, ofNodes.subscribe...)
		}
		publish, subscribe = append(publish, g.publish...), append(subscribe, g.subscribe...)
	}
	return fill(publish, node, group), fill(subscribe, node, group)
}

// PermissionsOf is the union over several roles, sorted.
func PermissionsOf(roles []Role, node, group string) (publish, subscribe []string) {
	for _, r := range roles {
		p, s := RolePermissions(r, node, group)
		publish, subscribe = append(publish, p...), append(subscribe, s...)
	}
	slices.Sort(publish)
	slices.Sort(subscribe)
	return slices.Compact(publish), slices.Compact(subscribe)
}

// NodeRoles are those of a node with these roles in its configuration.
func NodeRoles(r core.Roles) []Role {
	var out []Role
	for _, does := range r.Names() {
		out = append(out, doers[does])
	}
	return out
}

// doers are the roles by the words of the configuration, which say what a node does:
// one that does it is called so on the bus.
var doers = map[string]Role{"probe": ProberRole, "schedule": SchedulerRole, "apply": BalancerRole}

// alone reports whether the role is not one of a node.
func (r Role) alone() bool {
	return r == MonitorRole || r == ViewerRole || r == PusherRole
}

func inbox(node string) string { return "_INBOX_" + Escape(node) + ".>" }

func fill(subjects []string, node, group string) []string {
	bucket := ""
	if group != "" {
		bucket = DefinitionsBucket(group)
	}
	values := strings.NewReplacer("{v}", Prefix, "{inbox}", inbox(node), "{node}", Escape(node), "{group}", Escape(group), "{store}", bucket)
	var out []string
	for _, s := range subjects {
		if group == "" && (strings.Contains(s, "{group}") || strings.Contains(s, "{store}") || s == "$JS.API.INFO") {
			continue
		}
		out = append(out, values.Replace(s))
	}
	return out
}
