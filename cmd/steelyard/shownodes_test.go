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
	v.Cluster.Members[1].ConfigHash = "another"
	want := []string{
		"lb2 has another configuration than this node of what a group has in common: reload the one that is behind",
		"lb3 has not been heard of for 12 s: see that it runs and reaches the NATS",
	}
	if got := clusterNotes(v); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	v.Bus.Connected = false
	v.Cluster.Members[1].State = core.MemberSilent
	want = []string{"lb1 does not reach the NATS and goes on by itself with what it knows: its log says why"}
	if got := clusterNotes(v); !slices.Equal(got, want) {
		t.Errorf("cut off: got %q, want %q", got, want)
	}
}
