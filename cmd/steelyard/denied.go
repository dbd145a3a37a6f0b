// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/config"
)

// mayPublish is a denial of the right to publish on a subject, as bus.Stats has it.
func mayPublish(subject string) string { return "publish " + subject }

// markDenied makes this node one that no other hears of, if its NATS does not let it say
// that it is there.
func markDenied(c *core.ClusterView, node string, denied []string) {
	if !slices.Contains(denied, mayPublish(bus.NodeSubject(c.Group, node))) {
		return
	}
	for i := range c.Members {
		if c.Members[i].Node == node {
			c.Members[i].State = core.MemberDenied
		}
	}
}

// deniedText says what the NATS does not let this node do, and what to do about it; empty
// if that is nothing.
func deniedText(v core.NodeView) string {
	if len(v.Bus.Denied) == 0 {
		return ""
	}
	text := "NATS denies this node what it needs (" + fewOf(v.Bus.Denied) + ")"
	if c := v.Cluster; c != nil && memberOf(c, v.Node).State == core.MemberDenied {
		text += ", so that no other node knows of it"
	}
	return text + ": give its user what `" + v.Bus.Permissions + "` prints"
}

// metricsDeniedText says that metrics are known to this node only, and what to do about it.
func metricsDeniedText(cfg *config.Config, denied string) string {
	return fmt.Sprintf("what was pushed is known to %s only: NATS denies this node to hand it on (%s); give its user what `%s` prints",
		cfg.Node, denied, permissionsCommand(cfg, []string{denied}))
}

// permissionsCommand prints all that the user of a node needs on its NATS, with what was
// denied.
func permissionsCommand(cfg *config.Config, denied []string) string {
	roles := natsRoles(cfg)
	handsOn := func(text string) bool {
		return strings.HasPrefix(text, mayPublish(bus.Prefix+"."+string(bus.MetricClass)+"."))
	}
	if slices.ContainsFunc(denied, handsOn) && !slices.Contains(roles, bus.IngestRole) {
		roles = append(roles, bus.IngestRole)
	}
	return bus.PermissionsCommand(roles, cfg.Node, cfg.Cluster.Group)
}

// natsRoles are those of the user of a node, as far as its configuration tells: whether a
// script hands in metrics over the control socket does not stand there.
func natsRoles(cfg *config.Config) []bus.Role {
	roles := bus.NodeRoles(cfg.Cluster.Roles)
	if slices.ContainsFunc(cfg.HTTP.Users, func(u config.HTTPUser) bool { return slices.Contains(u.Rights, config.RightPush) }) {
		roles = append(roles, bus.IngestRole)
	}
	if cfg.Definitions == config.DefinitionsBus {
		roles = append(roles, bus.FollowerRole)
	}
	return roles
}

// quorumText says how many nodes must find a target bad, of those that are there to ask it.
// The verdict of this node counts here, even where no other node hears it.
func quorumText(c *core.ClusterView) string {
	there := 0
	for _, m := range c.Members {
		if (m.State == core.MemberLive || m.State == core.MemberDenied) && slices.Contains(m.Roles, "probe") {
			there++
		}
	}
	probers := min(c.Probers, max(1, there))
	text := fmt.Sprintf("%d of %d to agree", min(c.Quorum, probers), probers)
	if probers < c.Probers {
		text += fmt.Sprintf(" (%d of %d with all nodes)", c.Quorum, c.Probers)
	}
	return text
}
