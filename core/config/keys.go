// SPDX-License-Identifier: Apache-2.0

package config

import (
	"regexp"

	"github.com/steelyard-lb/steelyard/core"
)

// table is the whole configuration. See doc.go for what is made from it.
var table = key{kind: kObject, keys: []key{
	{name: "node", kind: kText, dynamic: "the host name", example: "lb1",
		pattern: regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`),
		hint:    "letters, digits, '.', '_' and '-', as in a host name",
		doc:     "name of this balancer, in every event and decision"},
	{name: "state_dir", kind: kText, def: "/var/lib/steelyard", pattern: absPattern, hint: absHint,
		doc: "directory for what must survive a restart"},
	{name: "control", kind: kObject, doc: "the control socket that show, explain and reload talk to", keys: []key{
		{name: "socket", kind: kText, def: "/run/steelyard/control.sock", pattern: absPattern, hint: absHint,
			doc: "path of the UNIX socket"},
		{name: "group", kind: kText, def: `""`, doc: "group that may use the socket; empty means only the daemon's own"},
	}},
	{name: "log", kind: kObject, doc: "logging, to standard error", keys: []key{
		{name: "level", kind: kWord, def: "info", enum: []string{"debug", "info", "warn", "error"}, doc: "least level that is logged"},
		{name: "format", kind: kWord, def: "auto", enum: []string{"auto", "text", "json"}, doc: "auto is text on a terminal, JSON elsewhere"},
	}},
	busKey,
	{name: "policies", kind: kMap, doc: "your own policies, each a WASM module", elem: &key{name: "mine", kind: kObject, keys: []key{
		{name: "path", kind: kText, required: true, file: true, example: "./mine.wasm",
			doc: "the module, relative to the file that names it"},
		{name: "sha256", kind: kText, def: `""`, pattern: regexp.MustCompile(`^([0-9a-f]{64})?$`),
			hint: "64 of 0-9 and a-f, as sha256sum prints it",
			doc:  "content hash that the module must have; empty takes any"},
	}}},
	{name: "probes", kind: kMap, doc: "what is asked of the backends; a service names the probes it wants", elem: &probeKey},
	{name: "services", kind: kMap, doc: "what clients connect to", elem: &key{name: "web", kind: kObject, keys: serviceKeys}},
}}

var absPattern = regexp.MustCompile(`^/`)

const absHint = "write the whole path, from /"

var busKey = key{name: "bus", kind: kObject, doc: "the event bus; without these keys it lives inside the process and listens nowhere", keys: []key{
	{name: "listen", kind: kText, def: `""`, doc: "address and port for NATS clients, such as 127.0.0.1:4222; empty: none"},
	{name: "servers", kind: kList, def: "[]", elem: &key{kind: kText},
		doc: "an external NATS cluster instead of the one inside, such as nats://192.0.2.53:4222"},
	{name: "users", kind: kMap, doc: "who may use bus.listen", elem: &key{name: "zabbix", kind: kObject, keys: []key{
		{name: "password", kind: kSecret, doc: "the password; give this one, or one of the next two"},
		{name: "password_file", kind: kText, file: true, either: "password", example: "./zabbix.password", doc: "file that holds the password"},
		{name: "password_env", kind: kText, either: "password", example: "ZABBIX_PASSWORD", doc: "environment variable that holds the password"},
		{name: "publish", kind: kList, dynamic: "metric.NAME.>", example: `[metric.zabbix.>]`, elem: &key{kind: kText},
			doc: "subjects the user may publish on, without steelyard.v1 in front"},
		{name: "subscribe", kind: kList, dynamic: "everything", example: `[">"]`, elem: &key{kind: kText},
			doc: "subjects the user may subscribe to"},
	}}},
	{name: "login", kind: kObject, doc: "how to join bus.servers", keys: []key{
		{name: "user", kind: kText, def: `""`, doc: "the user; empty: none"},
		{name: "password", kind: kSecret, doc: "the password; give this one, or one of the next two"},
		{name: "password_file", kind: kText, file: true, either: "password", example: "./nats.password", doc: "file that holds the password"},
		{name: "password_env", kind: kText, either: "password", example: "NATS_PASSWORD", doc: "environment variable that holds the password"},
		{name: "credentials", kind: kText, def: `""`, file: true, doc: "a .creds file, in place of user and password"},
		{name: "ca", kind: kText, def: `""`, file: true, doc: "authorities to trust, PEM; empty means the system's"},
	}},
	{name: "tls", kind: kObject, doc: "needed when bus.listen is not a loopback address", keys: []key{
		{name: "cert", kind: kText, def: `""`, file: true, doc: "certificate chain, PEM"},
		{name: "key", kind: kText, def: `""`, file: true, doc: "private key, PEM"},
	}},
}}

var serviceKeys = []key{
	{name: "vip", kind: kText, required: true, example: "192.0.2.10", doc: "address that clients connect to"},
	{name: "port", kind: kInt, required: true, min: 1, max: 65535, example: "80", doc: "port that clients connect to"},
	{name: "protocol", kind: kWord, def: "tcp", enum: []string{string(core.TCP), string(core.UDP)}, doc: "transport"},
	{name: "forwarding", kind: kWord, def: "dnat", enum: []string{string(core.DNAT), string(core.Masquerade)},
		doc: "dnat keeps the client's address, masquerade hides it so that answers come back through us"},
	{name: "on_empty", kind: kWord, def: "reject", enum: []string{string(core.Reject), string(core.Drop)},
		doc: "what clients get while no backend is left"},
	{name: "policy", kind: kText, def: "weighted", doc: "who computes the weights: a shipped policy, or one of policies"},
	{name: "params", kind: kNumbers, doc: "parameters of the policy, such as alpha: 0.3"},
	{name: "every", kind: kDuration, def: "1s", min: 0.1, max: 3600, doc: "time between two decisions"},
	{name: "probes", kind: kList, def: "[]", elem: &key{kind: kText}, doc: "names of probes, run against every backend"},
	{name: "shaping", kind: kObject, doc: "rules between the policy's answer and the shares; 0 switches a rule off", keys: shapingKeys},
	{name: "backends", kind: kMap, required: true, doc: "the servers behind the service", elem: &key{name: "web1", kind: kObject, keys: []key{
		{name: "address", kind: kText, required: true, example: "10.0.0.11", doc: "address of the server"},
		{name: "port", kind: kInt, min: 1, max: 65535, dynamic: "the port of the service", example: "80", doc: "port of the server"},
		{name: "weight", kind: kInt, def: "100", min: 0, max: core.MaxWeight, doc: "configured weight; 0 takes no new connections"},
	}}},
}

var shapingKeys = []key{
	{name: "stale_after", kind: kDuration, def: "30s", max: 86400, doc: "age past which a reading is unknown to the policy"},
	{name: "hold", kind: kDuration, def: "60s", max: 86400,
		doc: "how long a backend keeps its share when the policy has no opinion of it"},
	{name: "slow_start", kind: kDuration, def: "0s", max: 86400, doc: "time in which a backend that came up reaches its full share"},
	{name: "slow_start_min", kind: kNumber, def: "0.1", max: 1, doc: "ratio of the full share that slow start begins with"},
	{name: "floor", kind: kNumber, def: "0.05", max: 1, doc: "least share of an eligible backend, as a ratio of an equal share"},
	{name: "ceiling", kind: kNumber, def: "1", max: 1, doc: "largest share of one backend"},
	{name: "step", kind: kNumber, def: "0.25", max: 1, doc: "largest relative change of a share in one decision"},
	{name: "dead_band", kind: kNumber, def: "0.005", max: 1, doc: "largest change of a share that is not worth a commit"},
	{name: "panic", kind: kNumber, def: "0", max: 1,
		doc: "least ratio of backends that must be up; below it all of them share by configured weight"},
}
