// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// clusterView is a node among others of which each has something wrong.
func clusterView() core.NodeView {
	v := sampleView()
	all := core.AllRoles.Names()
	v.Roles, v.Revision, v.Services, v.Policies = all, 42, v.Services[:1], nil
	member := func(name string, state core.MemberState, hash string, rev uint64, heard, clock float64, leads, targets int, roles ...string) core.MemberView {
		return core.MemberView{Node: name, State: state, Roles: roles, Version: "0.1.0", ConfigHash: strings.Repeat(hash, 32), Revision: rev,
			StartedAt: noon.Add(-time.Hour), HeardSeconds: heard, ClockSeconds: clock, Leads: leads, Probes: targets}
	}
	v.Cluster = &core.ClusterView{Group: "edge", Scheduling: core.ScheduleLeader, Probers: 3, Quorum: 2, Leads: 7, Probes: 120, Taken: 31, Takeovers: 2, Epoch: 5, Members: []core.MemberView{
		member("lb1", core.MemberLive, "ab", 42, 0, 0, 7, 120, all...),
		member("lb2", core.MemberLive, "ab", 42, 0.12, -0.004, 8, 118, all...),
		member("lb3", core.MemberSilent, "ab", 41, 12.5, 0.001, 0, 0, all...),
		member("lb4", core.MemberLive, "cd", 41, 0.2, 118.4, 0, 0, "apply"),
		member("probe\x1b[31m1", core.MemberSuspects, "ab", 42, 0.05, 0.0001, 0, 90, "probe"),
		member("probe2", core.MemberLeft, "ab", 40, 99, 0, 0, 0, "probe"),
	}}
	v.Cluster.Members[3].Version = "0.0.9"
	v.Bus.Connected = true
	v.Services[0].Leader = &core.LeaderView{Node: "lb2", Epoch: 5, Seq: 3, Decision: 812, At: noon.Add(-time.Second), HeardAt: noon.Add(-900 * time.Millisecond), Gated: []string{"web1"}}
	return v
}

// followedDecision is of a service that another node leads, with the samples that
// made it due.
func followedDecision() core.Decision {
	d := sampleDecision()
	d.Leader = clusterView().Services[0].Leader
	d.Causes = []core.SampleRef{{Backend: "web1", Probe: "alive", Node: "lb1", Seq: 90, At: noon}, {Backend: "web2", Probe: "queue", Node: "zabbix", At: noon}}
	in := &d.Backends[0].Inputs[0]
	in.Probe, in.Node, in.Seq = "cpu", "lb2", 77
	return d
}

func TestRenderCluster(t *testing.T) {
	d := followedDecision()
	local := clusterView()
	local.Cluster.Scheduling, local.Cluster.Probers, local.Revision = core.ScheduleLocal, 1, 0
	local.Roles = []string{"probe", "apply"}
	local.Bus.Connected = false
	for i := range local.Cluster.Members {
		local.Cluster.Members[i].Roles, local.Cluster.Members[i].Revision = []string{"probe"}, 0
	}
	for name, render := range map[string]func(b *bytes.Buffer){
		"nodes.txt":           func(b *bytes.Buffer) { renderNodes(b, clusterView(), false) },
		"nodes-colour.txt":    func(b *bytes.Buffer) { renderNodes(b, clusterView(), true) },
		"nodes-local.txt":     func(b *bytes.Buffer) { renderNodes(b, local, false) },
		"nodes-alone.txt":     func(b *bytes.Buffer) { renderNodes(b, sampleView(), false) },
		"show-cluster.txt":    func(b *bytes.Buffer) { renderShow(b, clusterView(), showOptions{}) },
		"status-cluster.txt":  func(b *bytes.Buffer) { renderStatus(b, local, false) },
		"explain-cluster.txt": func(b *bytes.Buffer) { renderExplain(b, d, d.Backends[0], nil, false) },
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			render(&b)
			golden(t, name, b.Bytes())
		})
	}
}

func TestShowNodesJSON(t *testing.T) {
	out, errs, code := runAll(t, &fixedControl{view: clusterView()}, "", "show", "nodes", "-o", "json")
	var a nodesAnswer
	if err := json.Unmarshal([]byte(out), &a); err != nil || code != 0 || a.Node != "lb1" || len(a.Cluster.Members) != 6 {
		t.Errorf("code %d, %v, %s%s", code, err, out, errs)
	}
	out, _, _ = runAll(t, &fixedControl{view: sampleView()}, "", "show", "nodes", "-o", "json")
	if !strings.Contains(out, `"cluster": null`) {
		t.Errorf("alone: %s", out)
	}
}

// A node without the role apply has no table that others could change.
func TestStatusWithoutTraffic(t *testing.T) {
	v := clusterView()
	v.Roles, v.Kernel = []string{"probe", "schedule"}, core.KernelView{Table: "inet steelyard"}
	var out strings.Builder
	renderStatus(&out, v, false)
	if text := out.String(); !strings.Contains(text, "none: this node carries no traffic\n") || strings.Contains(text, "inet steelyard") {
		t.Errorf("the kernel of a node without traffic:\n%s", text)
	}
}

// A node that is cut off does not blame the others, and one with another configuration is
// named.
func TestClusterNotes(t *testing.T) {
	v := clusterView()
	v.Revision, v.Cluster.Members = 0, v.Cluster.Members[:3]
	for i := range v.Cluster.Members {
		v.Cluster.Members[i].Revision = 0
	}
	v.Cluster.Members[0].Twin, v.Cluster.Members[1].ConfigHash = true, "another"
	want := []string{
		"two nodes have the name lb1 and undo each other's work: give each its own (`node:` in its configuration)",
		"lb2 has another configuration than this node of what a group has in common: reload the one that is behind",
		"lb3 has not been heard of for 12 s: see that it runs and reaches the NATS",
	}
	if got := clusterNotes(v); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	v.Bus.Connected, v.Cluster.Members[0].Twin = false, false
	v.Cluster.Members[1].State = core.MemberSilent
	want = []string{"lb1 does not reach the NATS and goes on by itself with what it knows: its log says why"}
	if got := clusterNotes(v); !slices.Equal(got, want) {
		t.Errorf("cut off: got %q, want %q", got, want)
	}
}

// deniedView is a node whose NATS lets nobody hear that it is there, beside one that it hears.
func deniedView() core.NodeView {
	v := clusterView()
	v.Revision, v.Cluster.Probers, v.Cluster.Quorum, v.Cluster.Members = 0, 2, 2, v.Cluster.Members[:2]
	for i := range v.Cluster.Members {
		v.Cluster.Members[i].Revision = 0
	}
	v.Bus.Denied = []string{"publish steelyard.v1.node.edge.lb1", "publish steelyard.v1.weights.edge.web.lb1"}
	v.Bus.Permissions = "steelyard bus permissions --role prober,scheduler,balancer --node lb1 --group edge"
	markDenied(v.Cluster, v.Node, v.Bus.Denied)
	return v
}

// A node that is not heard says so, with the remedy, and does not count itself as live.
func TestDeniedNode(t *testing.T) {
	const remedy = "NATS denies this node what it needs (publish steelyard.v1.node.edge.lb1, publish steelyard.v1.weights.edge.web.lb1), so that no other node knows of it: " +
		"give its user what `steelyard bus permissions --role prober,scheduler,balancer --node lb1 --group edge` prints\n"
	var nodes, status bytes.Buffer
	renderNodes(&nodes, deniedView(), false)
	renderStatus(&status, deniedView(), false)
	for _, want := range []string{"group edge: 1 of 2 nodes live, 1 denied;", "lb1   denied  ", "\n" + remedy} {
		if !strings.Contains(nodes.String(), want) {
			t.Errorf("show nodes lacks %q:\n%s", want, nodes.String())
		}
	}
	for _, want := range []string{"1 of 2 nodes live, 1 denied;", "! " + remedy} {
		if !strings.Contains(status.String(), want) {
			t.Errorf("status lacks %q:\n%s", want, status.String())
		}
	}
	other := deniedView() // may say that it is there, and not send its shares
	other.Bus.Denied = other.Bus.Denied[1:]
	other.Cluster.Members[0].State = core.MemberLive
	markDenied(other.Cluster, other.Node, other.Bus.Denied)
	if text := clusterText(other) + deniedText(other); !strings.Contains(text, "2 of 2 nodes live") || strings.Contains(text, "no other node") || !strings.Contains(text, "weights.edge.web.lb1): give its user") {
		t.Errorf("another denial: %s", text)
	}
	alone := core.NodeView{Node: "lb1", Bus: core.BusView{Denied: []string{"publish steelyard.v1.decision.web"}, Permissions: "steelyard bus permissions --role prober --node lb1"}}
	if got, want := deniedText(alone), "NATS denies this node what it needs (publish steelyard.v1.decision.web): give its user what `steelyard bus permissions --role prober --node lb1` prints"; got != want {
		t.Errorf("alone: %q, want %q", got, want)
	}
}

// Who must agree are those that are there to ask.
func TestQuorumOfThoseThatLive(t *testing.T) {
	const live, silent, suspects, denied = core.MemberLive, core.MemberSilent, core.MemberSuspects, core.MemberDenied
	for _, tt := range []struct {
		name            string
		probers, quorum int
		states          []core.MemberState
		want            string
	}{
		{"all live", 2, 2, []core.MemberState{live, live}, "2 of 2 to agree"},
		{"more than needed", 2, 2, []core.MemberState{live, live, live}, "2 of 2 to agree"},
		{"one left", 2, 2, []core.MemberState{live, silent}, "1 of 1 to agree (2 of 2 with all nodes)"},
		{"one suspects itself", 3, 2, []core.MemberState{live, suspects, live}, "2 of 2 to agree (2 of 3 with all nodes)"},
		{"one was never heard", 2, 2, []core.MemberState{live}, "1 of 1 to agree (2 of 2 with all nodes)"},
		{"denied here, and counts here", 2, 2, []core.MemberState{denied, live}, "2 of 2 to agree"},
		{"denied and alone", 2, 2, []core.MemberState{denied, silent}, "1 of 1 to agree (2 of 2 with all nodes)"},
		{"alone and suspects itself", 2, 1, []core.MemberState{suspects}, "1 of 1 to agree (1 of 2 with all nodes)"},
	} {
		c := &core.ClusterView{Probers: tt.probers, Quorum: tt.quorum}
		for _, st := range tt.states {
			c.Members = append(c.Members, core.MemberView{State: st, Roles: []string{"probe"}})
		}
		c.Members = append(c.Members, core.MemberView{State: live, Roles: []string{"schedule"}})
		if got := quorumText(c); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
