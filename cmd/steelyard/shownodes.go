// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/core"
)

const showNodesLong = `Show the nodes of the group that this node works with.

  STATE     live; silent: not heard of for too long, others do its work; left: it said
            that it ends; suspects: itself, so that what its probes say counts for nothing;
            denied: this one, which the NATS does not let say that it is there
  CONFIG    the first digits of the hash of what the nodes of a group must have in common:
            services, probes, policies, maintenance, cluster; * marks another one than here
  REVISION  of the pushed definitions in force; * marks one that is not the newest of all
  HEARD     how long ago it was last heard of
  CLOCK     how far its clock is ahead of ours; steelyard does not depend on that, logs do
  LEADS     services whose shares it decides, as this node sees it
  TARGETS   that it probes, as this node sees it

Below the table stands what you have to see to.`

func newShowNodesCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:               "nodes",
		Short:             "Show the nodes of the group, how they are, and who does what",
		Long:              showNodesLong,
		Example:           "  steelyard show nodes\n  steelyard show nodes -o json",
		Args:              args(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			format, err := g.format("table", "json")
			if err != nil {
				return err
			}
			v, err := g.node(cmd.Context())
			if err != nil {
				return err
			}
			if format == "json" {
				return writeJSON(g.stdout, nodesAnswer{v.At, v.Node, v.Cluster})
			}
			renderNodes(g.stdout, v, g.color(g.stdout))
			return nil
		},
	}
}

// A nodesAnswer is what `show nodes -o json` prints; cluster is null of a node alone.
type nodesAnswer struct {
	At      time.Time         `json:"at"`
	Node    string            `json:"node"`
	Cluster *core.ClusterView `json:"cluster"`
}

// clockOff is the difference of clocks from which on logs of two nodes cannot be read
// side by side.
const clockOff = 1.0

var nodeColumns = []column{{title: "NODE"}, {title: "STATE"}, {title: "ROLES"}, {title: "VERSION"}, {title: "CONFIG"}, {"REVISION", true},
	{"HEARD", true}, {"CLOCK", true}, {"LEADS", true}, {"TARGETS", true}}

func renderNodes(w io.Writer, v core.NodeView, color bool) {
	p := painter(color)
	if v.Cluster == nil {
		fmt.Fprintf(w, "%s is alone: it has no cluster.group\n", clean(v.Node))
		return
	}
	c := v.Cluster
	fmt.Fprintln(w, clusterText(v))
	own, newest := memberOf(c, v.Node), newestRevision(c)
	t := &table{columns: slices.Clone(nodeColumns)}
	for _, m := range c.Members {
		t.add(nodeRow(m, own, newest, m.Node == v.Node)...)
	}
	t.write(w, "", t.widths(nil), p)
	if text := deniedText(v); text != "" {
		fmt.Fprintln(w, p.paint(red, clean(text)))
	}
	for _, n := range clusterNotes(v) {
		fmt.Fprintln(w, p.paint(yellow, clean(n)))
	}
}

func nodeRow(m, own core.MemberView, newest uint64, self bool) []any {
	config := cell{text: m.ConfigHash[:min(8, len(m.ConfigHash))]}
	if m.ConfigHash != own.ConfigHash {
		config = cell{config.text + "*", yellow}
	}
	revision := cell{text: unknown}
	if m.Revision > 0 {
		revision.text = fmt.Sprint(m.Revision)
	}
	if newest > 0 && m.Revision != newest && m.State != core.MemberLeft {
		revision = cell{revision.text + "*", yellow}
	}
	name, heard, clock := cell{text: m.Node}, cell{text: seconds(m.HeardSeconds)}, clockCell(m.ClockSeconds)
	if self {
		name.color, heard.text, clock = bold, "here", cell{text: unknown}
	}
	return []any{name, memberState(m.State), cmp.Or(strings.Join(m.Roles, ","), unknown), m.Version, config, revision, heard, clock, m.Leads, m.Probes}
}

func memberState(s core.MemberState) cell {
	switch s {
	case core.MemberLive:
		return cell{string(s), green}
	case core.MemberSilent, core.MemberDenied:
		return cell{string(s), red}
	case core.MemberSuspects:
		return cell{string(s), yellow}
	}
	return cell{string(s), dim}
}

func clockCell(ahead float64) cell {
	switch sign := "+"; {
	case math.Abs(ahead) < 0.0005:
		return cell{text: "0s"}
	default:
		if ahead < 0 {
			sign = "-"
		}
		c := cell{text: sign + seconds(math.Abs(ahead))}
		if math.Abs(ahead) >= clockOff {
			c.color = yellow
		}
		return c
	}
}

// memberOf is the node of that name; the zero one if it is not there.
func memberOf(c *core.ClusterView, name string) core.MemberView {
	for _, m := range c.Members {
		if m.Node == name {
			return m
		}
	}
	return core.MemberView{}
}

// newestRevision is the newest that any node has; 0 where definitions are in files.
func newestRevision(c *core.ClusterView) uint64 {
	newest := uint64(0)
	for _, m := range c.Members {
		newest = max(newest, m.Revision)
	}
	return newest
}

// clusterText is the cluster in one line.
func clusterText(v core.NodeView) string {
	c := v.Cluster
	counts := map[core.MemberState]int{}
	for _, m := range c.Members {
		counts[m.State]++
	}
	text := fmt.Sprintf("group %s: %d of %s live", clean(c.Group), counts[core.MemberLive], plural(len(c.Members), "node"))
	for _, s := range []core.MemberState{core.MemberSilent, core.MemberDenied, core.MemberSuspects, core.MemberLeft} {
		if counts[s] > 0 {
			text += fmt.Sprintf(", %d %s", counts[s], s)
		}
	}
	if c.Scheduling == core.ScheduleLocal {
		text += "; each decides for itself"
	} else {
		text += fmt.Sprintf("; this node leads %s", plural(c.Leads, "service"))
	}
	text += fmt.Sprintf(", probes %s", plural(c.Probes, "target"))
	if c.Probers > 1 {
		text += ", " + quorumText(c)
	}
	if v.Revision > 0 {
		text += fmt.Sprintf("; revision %d", v.Revision)
	}
	return text
}

// clusterNotes are what an operator has to see to.
func clusterNotes(v core.NodeView) []string {
	c := v.Cluster
	var notes []string
	own, newest := memberOf(c, v.Node), newestRevision(c)
	roles := map[string]bool{}
	if !v.Bus.Connected {
		notes = append(notes, v.Node+" does not reach the NATS and goes on by itself with what it knows: its log says why")
	}
	for _, m := range c.Members {
		alive := m.State == core.MemberLive || m.State == core.MemberSuspects || m.State == core.MemberDenied
		if alive {
			for _, r := range m.Roles {
				roles[r] = true
			}
		}
		switch {
		case m.State == core.MemberSilent && !v.Bus.Connected: // it may be well
		case m.State == core.MemberSilent:
			notes = append(notes, fmt.Sprintf("%s has not been heard of for %s: see that it runs and reaches the NATS", m.Node, seconds(m.HeardSeconds)))
		case alive && newest > 0 && m.Revision < newest:
			notes = append(notes, fmt.Sprintf("%s has not revision %d in force: `steelyard status` there says why", m.Node, newest))
		case alive && m.Version != own.Version:
			notes = append(notes, fmt.Sprintf("%s runs version %s, this node %s", m.Node, m.Version, own.Version))
		case alive && m.ConfigHash != own.ConfigHash:
			notes = append(notes, fmt.Sprintf("%s has another configuration than this node of what a group has in common: reload the one that is behind", m.Node))
		}
		if m.Twin {
			notes = append(notes, fmt.Sprintf("two nodes have the name %s and undo each other's work: give each its own (`node:` in its configuration)", m.Node))
		}
		if alive && math.Abs(m.ClockSeconds) >= clockOff {
			notes = append(notes, fmt.Sprintf("the clock of %s is off by %s: logs and times of decisions do not compare; see NTP", m.Node, seconds(math.Abs(m.ClockSeconds))))
		}
	}
	for _, r := range core.AllRoles.Names() {
		if v.Bus.Connected && !roles[r] && !(r == "schedule" && c.Scheduling == core.ScheduleLocal) {
			notes = append(notes, fmt.Sprintf("no live node has the role %s", r))
		}
	}
	return notes
}
