// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with a file of testdata, or writes it under -update.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (-want +got):\n%s", path, d)
	}
}

func ptr[T any](v T) *T { return &v }

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// sampleView is a node with one of everything that show can print.
func sampleView() core.NodeView {
	health := func(ok bool, code core.Code, took float64) core.ProbeView {
		return core.ProbeView{Name: "alive", Type: core.ProbeHTTP, Role: core.HealthRole, OK: ok, Code: code, Took: took, At: noon}
	}
	cpu := func(ok bool, code core.Code) core.ProbeView {
		return core.ProbeView{Name: "cpu", Type: core.ProbeSNMPCPU, Role: core.MetricRole, OK: ok, Code: code, Took: 0.003, At: noon}
	}
	return core.NodeView{
		Node: "lb1", Version: "0.1.0", StartedAt: noon.Add(-49 * time.Hour), At: noon,
		ConfigPath: "/etc/steelyard/steelyard.yaml", ConfigHash: strings.Repeat("ab12", 16), ConfigAt: noon.Add(-3 * time.Minute),
		ReloadError: "steelyard.yaml:3:10: \"192.0.2.300\" is no address",
		Kernel: core.KernelView{Table: "inet steelyard", Owned: true, Adopted: true, Generation: 412, Commits: 37, P50Seconds: 0.00021, P99Seconds: 0.0013, Features: []core.Feature{
			{Name: "numgen", Present: true}, {Name: "sctp", Lost: "services of SCTP", Remedy: "a kernel with CONFIG_NF_CT_PROTO_SCTP"}}},
		Policies: []core.PolicyView{
			{Name: "least-cpu", Version: "builtin@3f2a9c", Calls: 1234, P50Seconds: 0.0000182},
			{Name: "fresh", Version: "fresh@5c1e00"},
			{Name: "mine", Version: "mine@77aa00", Calls: 12, Faults: 3, LastFault: "trap: unreachable", QuarantineSecond: 27, P50Seconds: 0.00004},
		},
		Services: []core.ServiceView{
			{
				Name: "web", VIP: "192.0.2.10:80", Protocol: core.TCP, Forwarding: core.DNAT, Policy: "least-cpu",
				Connections: ptr(uint64(325)), ConnectionsTotal: 10432, NewPerSecond: ptr(43.25), DecisionSeq: 812, DecidedAt: noon.Add(-800 * time.Millisecond),
				Settings: &core.Settings{Traffic: core.Traffic{Persistence: core.Persistence{Timeout: 5 * time.Minute}, Limits: core.Limits{Open: 5000}, Hairpin: true}, DenyPrefixes: 3, ConfigPins: 2},
				Offload:  true,
				Backends: []core.BackendView{
					{Name: "web1", Address: "10.0.0.11:8080", Health: core.Up, Configured: 100, Share: 0.1796, Slots: 11770, Why: "cpu 71% > mean 54%", Connections: ptr(uint64(310)), NewPerSecond: ptr(41.2), CPU: ptr(0.708), CPUAge: ptr(1.2), Response: ptr(0.0098), Probes: []core.ProbeView{cpu(true, core.SNMPOK), health(true, core.L7OK, 0.0061)}},
					{Name: "web2", Address: "10.0.0.12:8080", Health: core.Down, Configured: 100, Why: "down: HTTP 503", Connections: ptr(uint64(12)), NewPerSecond: ptr(0.0), Probes: []core.ProbeView{health(true, core.L7OK, 0.002), health(false, core.L7Status, 0.0004), cpu(false, core.SNMPTime)}},
					{Name: "web3", Address: "10.0.0.13:8080", Health: core.Up, Configured: 1000, Share: 0.8204, Slots: 53766, Why: "cpu unknown: holds its share", Connections: ptr(uint64(3)), NewPerSecond: ptr(2.05), Probes: []core.ProbeView{health(true, core.L7OK, 0.3211), cpu(false, core.SNMPAuth)}},
				},
			},
			{
				Name: "dns6", VIP: "[2001:db8::53]:53", Protocol: core.UDP, Forwarding: core.Masquerade, Policy: "mine",
				PolicyError: "trap: \x1b[31munreachable", Error: "service dns6: the kernel refused it: no buffer space available", RefusedTotal: 9, TurnedAway: "12 denied, 3 over 10 new/s",
				Backends: []core.BackendView{
					{Name: "a", Address: "[2001:db8:0:1::2001]:5353", Health: core.Unknown, Configured: 1, Share: 0.0001, Why: "first probe has not ended"},
				},
			},
			{Name: "empty", VIP: "192.0.2.11:80", Protocol: core.TCP, Forwarding: core.DNAT, Policy: "rr"},
		},
	}
}

// commandView is a node whose operators have been at work.
func commandView() core.NodeView {
	up := func(name string, conns uint64) core.BackendView {
		return core.BackendView{Name: name, Address: "10.0.0.1:80", Health: core.Up, State: core.StateUp, Configured: 100, Connections: ptr(conns), Why: "weighted"}
	}
	v := core.NodeView{Node: "lb1", At: noon}
	web := core.ServiceView{Name: "web", VIP: "192.0.2.10:80", Protocol: core.TCP, Distribution: core.Hash, Forwarding: core.DNAT, Policy: "weighted", DecidedAt: noon,
		Frontends: []string{"192.0.2.10:80/tcp", "192.0.2.10:443/tcp", "[2001:db8::10]:80/tcp"}}
	drained, empty, heavy, full, dead := up("drained", 12), up("empty", 0), up("heavy", 7), up("full", 500), up("dead", 1)
	drained.State, drained.Override = core.StateDrain, &core.Override{Kind: core.OverrideDrain, Author: "alice", Reason: "kernel update", Since: noon.Add(-2 * time.Minute), Until: noon.Add(28 * time.Minute)}
	empty.State, empty.Override = core.StateDrain, &core.Override{Kind: core.OverrideDrain, Author: "bob", Since: noon.Add(-time.Hour)}
	heavy.Override = &core.Override{Kind: core.OverrideWeight, Weight: 20, Author: "bob", Reason: "half the disks are gone", Since: noon.Add(-time.Hour), Until: noon.Add(time.Hour)}
	heavy.Why = heavy.Override.String() + "; weighted"
	full.State, full.MaxConnections, full.Why = core.StateFull, 500, "full: 500 of 500 connections"
	dead.State, dead.Health, dead.Override, dead.Connections = core.StateDrain, core.Down, empty.Override, nil
	reserve, sorry := up("reserve", 0), up("sorry", 0)
	reserve.Priority, reserve.State, reserve.Why = 1, core.StateReserve, "in reserve: 3 of 5 backends of priority 0 are up"
	sorry.Sorry, sorry.State, sorry.Why = true, core.StateSorry, "sorry server: in wait"
	web.Backends = []core.BackendView{drained, empty, heavy, full, dead, reserve, sorry}
	v.Services = []core.ServiceView{web}
	return v
}

// drainedDecision is one about a drained backend and one with another weight.
func drainedDecision() core.Decision {
	d := sampleDecision()
	v := commandView().Services[0]
	d.Backends[0].Override, d.Backends[0].State, d.Backends[0].Share, d.Backends[0].Slots = v.Backends[0].Override, core.StateDrain, 0, 0
	d.Backends[0].Why, d.Backends[0].Inputs = "drain by alice: kernel update", nil
	d.Backends[0].Steps = []core.Step{{Name: "drain", Before: 0.25, Note: "drained: alice (kernel update)"}}
	d.Backends[2].Override, d.Backends[2].Why = v.Backends[2].Override, v.Backends[2].Why
	return d
}

// sampleDecision is a decision with one of everything that explain can print.
func sampleDecision() core.Decision {
	return core.Decision{
		Seq: 812, Service: "web", Node: "lb1", At: noon, Trigger: "interval",
		Policy: "least-cpu", PolicyVersion: "builtin@3f2a9c", PolicySeconds: 0.0000182,
		Outcome: core.Applied, Commit: &core.Commit{Generation: 412, At: noon.Add(2 * time.Millisecond), Changed: 4},
		CommitSeconds: 0.0018, TotalSeconds: 0.0023,
		Backends: []core.BackendDecision{
			{
				Backend: "web1", Health: core.Up, Configured: 100, Policy: ptr(0.2), Share: 0.25, Slots: 16384, Why: "cpu 71% > mean 54%, step limit",
				Inputs: []core.Input{
					{Metric: core.MetricCPU, Value: 0.708, Unit: "ratio", AgeSeconds: 1.2, WindowSeconds: 10, Known: true},
					{Metric: core.MetricResponse, Value: 0.0098, Unit: "seconds", AgeSeconds: 45, Known: false},
					{Metric: core.MetricConnections, Value: 310, Unit: "count", Known: true},
					{Metric: core.MetricDone, Value: 41.25, Unit: "per_second", AgeSeconds: 1.2, WindowSeconds: 10, Known: true},
					{Metric: core.MetricCores, Unit: "count"},
				},
				Steps: []core.Step{
					{Name: "policy", Before: 0.3333333, After: 0.2},
					{Name: "slow_start", Before: 0.2, After: 0.2, Note: "up for 3 min"},
					{Name: "step", Before: 0.2, After: 0.25, Note: "at most 25% from 33.3%"},
					{Name: "slots", Before: 0.25, After: 0.25},
				},
			},
			{Backend: "web2", Health: core.Down, Configured: 100, Why: "down: HTTP 503", Steps: []core.Step{{Name: "health", Before: 0.1, After: 0}}},
			{Backend: "web3", Health: core.Up, Configured: 100, Share: 0.75, Slots: 49152, Why: "holds its share", Steps: []core.Step{{Name: "freshness", Before: 0.3333333, After: 0.75, Note: "the policy has no opinion: share held"}}},
		},
	}
}

func TestRenderGolden(t *testing.T) {
	failed := sampleDecision()
	failed.Outcome, failed.Error, failed.Commit, failed.PolicyError = core.Failed, "no buffer space available", nil, "deadline passed"
	rows := []probeRow{
		{core.ProbeView{Name: "alive", Role: core.HealthRole, OK: true, Code: core.L7OK, Detail: "HTTP status 200 in 1.25ms"}, 0.3},
		{core.ProbeView{Name: "old", Role: core.HealthRole, Code: core.L4Refused, Detail: "10.0.0.11:8081 refused the connection"}, 1.5},
		{core.ProbeView{Name: "cpu", Role: core.MetricRole, Code: core.SNMPTime, Detail: "no answer from the agent:\n10.0.0.11:161"}, 45},
		{core.ProbeView{Name: "late", Role: core.MetricRole}, -1},
	}
	tests := []struct {
		name   string
		render func(b *bytes.Buffer)
	}{
		{"show.txt", func(b *bytes.Buffer) { renderShow(b, sampleView(), showOptions{}) }},
		{"show-colour.txt", func(b *bytes.Buffer) { renderShow(b, sampleView(), showOptions{Color: true}) }},
		{"show-one.txt", func(b *bytes.Buffer) { renderShow(b, sampleView(), showOptions{Service: "dns6"}) }},
		{"show-suspect.txt", func(b *bytes.Buffer) {
			v := sampleView()
			v.Probing = core.ProbingView{Suspect: core.SuspectText(9, 10, core.L4Timeout, "no answer from 10.0.0.11:80 in 1s"), SuspectSince: v.At.Add(-3 * time.Second)}
			renderShow(b, v, showOptions{Service: "dns6"})
		}},
		{"show-none.txt", func(b *bytes.Buffer) { renderShow(b, core.NodeView{}, showOptions{}) }},
		{"explain.txt", func(b *bytes.Buffer) { d := sampleDecision(); renderExplain(b, d, d.Backends[0], rows, false) }},
		{"explain-colour.txt", func(b *bytes.Buffer) { d := sampleDecision(); renderExplain(b, d, d.Backends[0], rows, true) }},
		{"explain-follower.txt", func(b *bytes.Buffer) {
			d := sampleDecision()
			d.Leader, d.Causes = &core.LeaderView{Node: "lb2", Epoch: 5, Seq: 3, Decision: 812, At: noon.Add(-time.Second), HeardAt: noon}, nil
			d.Backends[0].Inputs = nil
			renderExplain(b, d, d.Backends[0], nil, false)
		}},
		{"explain-failed.txt", func(b *bytes.Buffer) { renderExplain(b, failed, failed.Backends[2], nil, false) }},
		{"explain-service.txt", func(b *bytes.Buffer) { renderExplainService(b, sampleDecision(), false) }},
		{"show-commands.txt", func(b *bytes.Buffer) { renderShow(b, commandView(), showOptions{}) }},
		{"explain-drain.txt", func(b *bytes.Buffer) {
			d := drainedDecision()
			renderExplain(b, d, d.Backends[0], nil, false)
		}},
		{"explain-weight.txt", func(b *bytes.Buffer) {
			d := drainedDecision()
			renderExplain(b, d, d.Backends[2], nil, false)
		}},
		{"explain-commands.txt", func(b *bytes.Buffer) { renderExplainService(b, drainedDecision(), false) }},
		{"backend-list.txt", func(b *bytes.Buffer) { renderOverrides(b, overrideRows(commandView()), noon, false) }},
		{"show-shadow.txt", func(b *bytes.Buffer) { renderShow(b, shadowView(), showOptions{}) }},
		{"explain-shadow.txt", func(b *bytes.Buffer) { renderExplainService(b, shadowDecision(), false) }},
		{"explain-shadow-one.txt", func(b *bytes.Buffer) { d := shadowDecision(); renderExplain(b, d, d.Backends[0], nil, false) }},
		{"plugins.txt", func(b *bytes.Buffer) { renderPlugins(b, pluginsView(), false) }},
		{"status-plugins.txt", func(b *bytes.Buffer) { renderStatus(b, pluginsView(), false) }},
		{"status.txt", func(b *bytes.Buffer) { renderStatus(b, sampleView(), false) }},
		{"status-colour.txt", func(b *bytes.Buffer) { renderStatus(b, sampleView(), true) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			tt.render(&b)
			golden(t, tt.name, b.Bytes())
		})
	}
}

// TestColourIsOnlyColour strips the escapes and expects the plain text.
func TestColourIsOnlyColour(t *testing.T) {
	var with, without bytes.Buffer
	renderShow(&with, sampleView(), showOptions{Color: true})
	renderShow(&without, sampleView(), showOptions{})
	stripped := with.String()
	for _, c := range []color{bold, dim, red, green, yellow, plain} {
		stripped = strings.ReplaceAll(stripped, string(c), "")
	}
	if d := cmp.Diff(without.String(), stripped); d != "" {
		t.Errorf("colour changes more than colour (-plain +coloured):\n%s", d)
	}
	if strings.Contains(without.String(), "\x1b") {
		t.Error("an escape out of the data reached the output")
	}
}
