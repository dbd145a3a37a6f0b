// SPDX-License-Identifier: Apache-2.0

package config

import (
	"regexp"

	"github.com/steelyard-lb/steelyard/core"
)

// maxProbers is more than any quorum needs: each prober asks every target of its own.
const maxProbers = 15

var rolesKey = key{name: "roles", kind: kList, one: true, def: "[probe, schedule, apply]", elem: &key{kind: kWord, enum: core.AllRoles.Names()},
	doc: "what this node does of the work that the nodes of cluster.group share: probe asks the backends, schedule decides shares, apply carries traffic"}

var clusterKey = key{name: "cluster", kind: kObject, alone: "{group: %s}", doc: "several nodes that serve the same services and meet over bus.servers", keys: []key{
	{name: "group", kind: kText, def: `""`, pattern: regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9_-]{0,30}[A-Za-z0-9])?)?$`),
		hint: "1 to 32 letters, digits, _ and -", doc: "name that the nodes have in common; empty: this node is alone"},
	{name: "probers", kind: kInt, def: "1", min: 1, max: maxProbers, doc: "how many nodes probe each target"},
	{name: "quorum", kind: kInt, min: 1, max: maxProbers, dynamic: "more than half of probers", example: "1",
		doc: "how many of these must find a target bad until it is down"},
	{name: "scheduling", kind: kWord, def: string(core.ScheduleLeader), enum: []string{string(core.ScheduleLeader), string(core.ScheduleLocal)},
		doc: "leader: one node decides the shares of a service and the others follow; local: each decides for itself"},
	{name: "definitions", kind: kWord, def: DefinitionsFile, enum: []string{DefinitionsFile, DefinitionsBus},
		doc: "where services, probes and policies come from; bus: from what `steelyard push` stored, over what the files say"},
	{name: "definitions_exec", kind: kWord, def: execDeny, enum: []string{execDeny, execAllow},
		doc: "probes of type exec in pushed definitions, whose commands run here; deny: refuse definitions with one that the files of this node do not have"},
}}
