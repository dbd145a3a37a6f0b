// SPDX-License-Identifier: Apache-2.0

package config

import (
	"math"
	"regexp"
)

// table is the whole configuration. See doc.go for what is made from it.
var table = key{kind: kObject, foreign: foreignRoot, keys: []key{
	{name: "node", kind: kText, dynamic: "the host name", example: "lb1", apart: true,
		pattern: regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`),
		hint:    "letters, digits, '.', '_' and '-', as in a host name",
		doc:     "name of this balancer, in every event and decision"},
	{name: "state_dir", kind: kText, def: "/var/lib/steelyard", pattern: absPattern, hint: absHint,
		doc: "directory for what must survive a restart"},
	rolesKey,
	clusterKey,
	{name: "control", kind: kObject, doc: "the control socket that show, explain and reload talk to", keys: []key{
		{name: "socket", kind: kText, def: "/run/steelyard/control.sock", pattern: absPattern, hint: absHint,
			doc: "path of the UNIX socket"},
		{name: "group", kind: kText, def: `""`, doc: "group that may use the socket; empty means only the daemon's own"},
	}},
	{name: "log", kind: kObject, doc: "logging, to standard error", keys: []key{
		{name: "level", kind: kWord, def: "info", enum: []string{"debug", "info", "warn", "error"}, doc: "least level that is logged"},
		{name: "format", kind: kWord, def: "auto", enum: []string{"auto", "text", "json"}, doc: "auto is text on a terminal, JSON elsewhere"},
	}},
	{name: "kernel", kind: kObject, doc: "what holds for all services in the kernel", keys: []key{
		{name: "local_clients", kind: kBool, def: "false", doc: "balance the connections that this node itself makes, too"},
		{name: "hash_seed", kind: kInt, def: "1", min: 1, max: math.MaxUint32,
			doc: "of distribution hash; nodes with the same seed and backends choose the same backend for a client"},
		{name: "offload_devices", kind: kList, def: "[]",
			elem: &key{kind: kText, pattern: interfacePattern, hint: "an interface name has 1 to 15 characters, without spaces, /, : and *"},
			doc:  "interfaces on which offload works, clients' and backends'; empty is all that are up and have an address"},
	}},
	busKey,
	httpKey,
	webhooksKey,
	{name: "policies", kind: kMap, apart: true, doc: "your own policies, each a WASM module or a Lua script", elem: &key{name: "mine", kind: kObject, keys: policyKeys}},
	{name: "probes", kind: kMap, doc: "what is asked of the backends; a service names the probes it wants", elem: &probeKey},
	probingKey,
	maintenanceKey,
	{name: "services", kind: kMap, doc: "what clients connect to", elem: &key{name: "web", kind: kObject, keys: serviceKeys, foreign: foreignService}},
}}

var policyKeys = []key{
	{name: "path", kind: kText, file: true, example: "./mine.wasm",
		doc: "the module or script, relative to the file that names it; give this one, or the next"},
	{name: "lua", kind: kText, either: "path", example: "function schedule(s) return s.weight end", doc: "the script itself"},
	{name: "sha256", kind: kText, def: `""`, pattern: regexp.MustCompile(`^([0-9a-f]{64})?$`),
		hint: "64 of 0-9 and a-f, as sha256sum prints it",
		doc:  "content hash that the module or script must have; empty takes any"},
}

var absPattern = regexp.MustCompile(`^/`)

const absHint = "write the whole path, from /"
