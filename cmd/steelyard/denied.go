// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/core"
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
	command := "steelyard bus permissions --role " + cmp.Or(strings.Join(natsRoles(v.Roles), ","), "ROLES") + " --node " + v.Node
	if c := v.Cluster; c != nil {
		command += " --group " + c.Group
		if memberOf(c, v.Node).State == core.MemberDenied {
			text += ", so that no other node knows of it"
		}
	}
	return text + ": give its user what `" + command + "` prints"
}

// natsRoles are the roles of a node by the names of those of its user.
func natsRoles(roles []string) (out []string) {
	names := map[string]bus.Role{"probe": bus.ProberRole, "schedule": bus.SchedulerRole, "apply": bus.BalancerRole}
	for _, r := range roles {
		if name, known := names[r]; known {
			out = append(out, string(name))
		}
	}
	return out
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
