// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// shadowDecision is one with a shadow that has an opinion of some backends, and
// with custom metrics.
func shadowDecision() core.Decision {
	d := sampleDecision()
	d.Shadow = &core.ShadowDecision{Policy: "mine", PolicyVersion: "mine@77aa00", PolicySeconds: 0.00004, SnapshotSeq: 811, Moved: 0.1,
		PolicyError: "run policy mine: quarantined for another 3s"}
	d.Backends[0].Shadow = &core.ShadowShare{Policy: ptr(0.3), Share: 0.35}
	d.Backends[1].Shadow = &core.ShadowShare{}
	d.Backends[2].Shadow = &core.ShadowShare{Share: 0.65}
	d.Backends[0].Inputs = append(d.Backends[0].Inputs,
		core.Input{Metric: "disk_free", Unit: "ratio"},
		core.Input{Metric: "queue_depth", Value: 7, Unit: "jobs", AgeSeconds: 2.5, Known: true},
		core.Input{Metric: "users", Value: 1200, Unit: "count", AgeSeconds: 300})
	return d
}

// shadowView are services with a shadow that is well, that fails, and that is new.
func shadowView() core.NodeView {
	v := commandView()
	web := v.Services[0]
	web.Backends = web.Backends[:1]
	v.Services = nil
	for name, s := range map[string]*core.ShadowDecision{
		"a": {Policy: "least-cpu", SnapshotSeq: 7, Moved: 0.032}, "b": {Policy: "mine", SnapshotSeq: 7, PolicyError: "it fails"}, "c": {Policy: "mine"},
	} {
		web.Name, web.Shadow = name, s
		v.Services = append(v.Services, web)
	}
	slices.SortFunc(v.Services, func(x, y core.ServiceView) int { return strings.Compare(x.Name, y.Name) })
	return v
}

// pluginsView is a node with policies of every kind and in every state.
func pluginsView() core.NodeView {
	return core.NodeView{Node: "lb1", Version: "0.1.0", StartedAt: noon.Add(-time.Hour), At: noon, ConfigAt: noon, Kernel: core.KernelView{Table: "inet steelyard", Owned: true},
		Policies: []core.PolicyView{
			{Name: "fresh", Version: "fresh@5c1e00c0ffee", Language: "lua"},
			{Name: "least-cpu", Version: "least-cpu@3f2a9c3f2a9c", Language: "shipped", Calls: 123456, P50Seconds: 0.0000018, P99Seconds: 0.0000182, MemoryBytes: 21_400_000},
			{Name: "mine", Version: "mine@77aa0077aa00", Language: "lua", Path: "/etc/steelyard/mine.lua", Calls: 12, P50Seconds: 0.00004, P99Seconds: 0.00009, MemoryBytes: 6_100_000,
				Faults: 3, LastFault: "policy.lua:3: attempt to index a \x1b[31mnil value", LastFaultAt: noon.Add(-75 * time.Second), Previous: "mine@66bb0066bb00"},
			{Name: "old", Version: "old@010203040506", Language: "wasm", Path: "/etc/steelyard/old.wasm", Calls: 900, P50Seconds: 0.0000011, P99Seconds: 0.0000042, MemoryBytes: 2_700_000,
				FileRefused: "load policy old: /etc/steelyard/old.wasm: it exports no memory called memory"},
			{Name: "tried", Version: "tried@0a0b0c0d0e0f", Language: "lua", Path: "/etc/steelyard/tried.lua", Calls: 44, P50Seconds: 0.00003, P99Seconds: 0.00005, MemoryBytes: 3_300_000,
				Faults: 3, RolledBack: "tried@111213141516 was rolled back to tried@0a0b0c0d0e0f at 2026-11-20T11:59:00Z: the policy answered with an error: policy.lua:4: why not", FileRefused: "load policy tried: policy.lua:1: an 'end' is missing"},
			{Name: "wild", Version: "wild@aabbccddeeff", Language: "wasm", Path: "/etc/steelyard/wild.wasm", Calls: 1, Faults: 1, P50Seconds: 0.05, P99Seconds: 0.05,
				LastFault: "it took more than 50ms of CPU time", LastFaultAt: noon.Add(-2 * time.Second), QuarantineSecond: 27},
		}}
}
