// SPDX-License-Identifier: Apache-2.0

package config

import (
	"math"
	"regexp"

	"github.com/steelyard-lb/steelyard/core"
)

var (
	portPattern = regexp.MustCompile(`^(any|[0-9]{1,5}(-[0-9]{1,5})?)$`)
	// An interface name is what the kernel takes, less what nft would read as
	// something else: * and quotes.
	interfacePattern = regexp.MustCompile(`^[!#-)+\-.0-9;-\[\]-~]{1,15}$`)
	logPattern       = regexp.MustCompile(`^[ !#%-\[\]-~]{0,60}$`)
	dscpPattern      = regexp.MustCompile(`^([0-9]|[1-5][0-9]|6[0-3]|be|le|ef|va|cs[0-7]|af[1-4][1-3])$`)
	classPattern     = regexp.MustCompile(`^[0-9a-fA-F]{1,4}:[0-9a-fA-F]{1,4}$`)
)

// The bounds of counts and rates are what no node reaches and the kernel's
// 32 bits hold.
const (
	maxRate  = 100_000_000
	maxCount = 1_000_000_000
)

var serviceKeys = []key{
	{name: "vip", kind: kList, one: true, required: true, example: "192.0.2.10", elem: &key{kind: kText},
		doc: "address or network that clients connect to; with both families the service is dual-stack"},
	{name: "port", kind: kList, one: true, required: true, example: "80", doc: "port that clients connect to, a range such as 8000-8999, or any; one address with one port goes before networks and ranges of other services",
		elem: &key{kind: kText, numeric: true, min: 1, max: 65535, pattern: portPattern, hint: "a port, a range such as 8000-8999, or any"}},
	{name: "protocol", kind: kList, one: true, def: "tcp", doc: "transport: tcp, udp or sctp",
		elem: &key{kind: kWord, enum: []string{string(core.TCP), string(core.UDP), string(core.SCTP)}}},
	{name: "distribution", kind: kWord, aliases: foreignDistribution, dynamic: "random; hash with forwarding dsr and stateless", example: "random",
		enum: []string{string(core.Random), string(core.RoundRobin), string(core.Hash), string(core.SymHash)},
		doc:  "how the kernel picks the backend of a connection, in proportion to the shares"},
	{name: "hash", kind: kWord, dynamic: "source; source_port with forwarding dsr and stateless", example: "source",
		enum: []string{string(core.BySource), string(core.BySourcePort)}, doc: "what distribution hash looks at: the client's address, or address and port"},
	{name: "forwarding", kind: kWord, def: "dnat", aliases: foreignForwarding,
		enum: []string{string(core.DNAT), string(core.Masquerade), string(core.SNAT), string(core.Local), string(core.DSR), string(core.Stateless)},
		doc: "how packets reach the backend. dnat keeps the client's address; masquerade and snat hide it, so that answers come back through us; " +
			"local: the backends are ports of this node; dsr and stateless: without connection tracking"},
	{name: "source", kind: kList, one: true, def: "[]", example: "192.0.2.1", elem: &key{kind: kText}, apart: true,
		doc: "forwarding snat: the address that replaces the client's, one per family"},
	{name: "hairpin", kind: kBool, def: "false", doc: "masquerade the connections that backends of the service make to it themselves"},
	{name: "masquerade_for", kind: kList, def: "[]", elem: &key{kind: kText},
		doc: "clients that are masqueraded, because their answers would not come through us: those on the backends' network"},
	{name: "interfaces", kind: kList, def: "[]", example: "[eth0]", apart: true,
		elem: &key{kind: kText, pattern: interfacePattern, hint: "an interface name has 1 to 15 characters, without spaces, /, : and *"},
		doc:  "forwarding dsr and stateless: where clients' packets arrive"},
	{name: "flow_timeout", kind: kDuration, dynamic: "10m", example: "10m", min: 1, max: 86400, apart: true,
		doc: "forwarding dsr and stateless: how long a flow keeps its backend after its last packet"},
	{name: "on_empty", kind: kWord, def: "reject", enum: []string{string(core.Reject), string(core.Drop)},
		doc: "what clients get while no backend is left"},
	{name: "on_down", kind: kWord, def: "keep", enum: []string{string(core.Keep), string(core.Reset)},
		doc: "what becomes of the open connections of a backend that went down; those of UDP always go"},
	{name: "min_up", kind: kInt, def: "1", min: 1, max: 65535, doc: "backends of a priority that must be up for the next priority to stay in reserve"},
	{name: "sorry", kind: kObject, apart: true, alone: "{address: %s}", doc: `a server for when no backend is left; it stands among the backends as "sorry"`, keys: []key{
		{name: "address", kind: kList, one: true, def: "[]", example: "10.0.0.99", elem: &key{kind: kText}, doc: "address of the server, one per family"},
		{name: "port", kind: kInt, max: 65535, dynamic: "as a backend's", example: "80", doc: "port of the server; 0 keeps the port that the client asked for"},
	}},
	{name: "persistence", kind: kObject, alone: "{timeout: %s}", doc: "keeps a client on the backend that it got first", keys: persistenceKeys},
	{name: "pins", kind: kPins, apart: true, example: "{10.1.0.0/16: web1}", doc: "clients that always get the same backend while it lives; the longest prefix counts"},
	{name: "allow", kind: kList, def: "[]", elem: &key{kind: kText}, doc: "who may connect: addresses and prefixes; empty means everybody"},
	{name: "allow_file", kind: kText, def: `""`, file: true, doc: "file with more of them, one a line, # begins a comment; read at each reload; at most 250,000 in all"},
	{name: "deny", kind: kList, def: "[]", elem: &key{kind: kText}, doc: "who may not connect, whatever allow says"},
	{name: "deny_file", kind: kText, def: `""`, file: true, doc: "file with more of them, likewise"},
	{name: "limits", kind: kObject, alone: "{new_per_second: %s}", doc: "turn new connections away; 0 switches a limit off", keys: limitKeys},
	{name: "log", kind: kObject, alone: "{per_second: %s}", doc: "kernel log of what allow, deny and limits turn away", keys: []key{
		{name: "per_second", kind: kInt, def: "0", max: 10_000, doc: "most lines a second; 0 logs nothing"},
		{name: "prefix", kind: kText, def: `""`, pattern: logPattern, hint: `at most 60 printable ASCII characters, without ", $ and \`, doc: "text before each line"},
	}},
	{name: "qos", kind: kObject, apart: true, alone: "{dscp: %s}", doc: "marks packets for tc and policy routing", keys: qosKeys},
	{name: "helper", kind: kWord, enum: []string{"ftp", "sip", "tftp"}, dynamic: "none", example: "ftp", apart: true,
		doc: "conntrack helper for connections that announce others: ftp (tcp, port 21), sip (5060), tftp (udp, port 69)"},
	{name: "offload", kind: kBool, def: "false", doc: "send established connections through a flowtable, where the kernel has them"},
	{name: "count_bytes", kind: kBool, def: "false", doc: "count packets and bytes, which costs a lookup per packet"},
	{name: "policy", kind: kText, def: "weighted", doc: "who computes the weights: a shipped policy, or one of policies"},
	{name: "shadow", kind: kText, apart: true, dynamic: "none", example: "least-cpu", doc: "a second policy, whose weights are computed and shown but never used"},
	{name: "params", kind: kNumbers, doc: "parameters of the policy, such as alpha: 0.3; with a shadow each of the two gets those that it has"},
	{name: "every", kind: kDuration, def: "1s", min: 0.1, max: 3600, doc: "time between two decisions"},
	{name: "probes", kind: kList, def: "[]", elem: &key{kind: kText}, doc: "names of probes, run against every backend"},
	{name: "health", kind: kObject, alone: "{need: %s}", foreign: foreignHealth, doc: "how the health probes of a backend make its health", keys: healthKeysOfService},
	{name: "passive", kind: kObject, alone: "{unanswered: %s}", foreign: foreignPassive, doc: "ejects a backend by what becomes of its clients' TCP connections; off unless unanswered or resets is set", keys: passiveKeys},
	{name: "shaping", kind: kObject, doc: "rules between the policy's answer and the shares; 0 switches a rule off", keys: shapingKeys},
	{name: "backends", kind: kMap, required: true, doc: "the servers behind the service", elem: &key{name: "web1", kind: kObject, keys: backendKeys, foreign: foreignBackend, alone: "{address: %s}"}},
}

var backendKeys = []key{
	{name: "address", kind: kList, one: true, def: "[]", example: "10.0.0.11", elem: &key{kind: kText},
		doc: "address of the server, of a dual-stack service one per family; with forwarding local none"},
	{name: "port", kind: kInt, max: 65535, dynamic: "the port of the service if it has one, else 0", example: "80",
		doc: "port of the server; 0 keeps the port that the client asked for, as all backends of the service must then"},
	{name: "weight", kind: kInt, def: "100", min: 0, max: core.MaxWeight, doc: "configured weight; 0 takes no new connections"},
	{name: "priority", kind: kInt, def: "0", max: 255, doc: "group: 0 serves first, 1 when fewer than min_up of 0 are up, and so on"},
	{name: "max_connections", kind: kInt, def: "0", max: maxCount, doc: "open connections at which it gets no more; 0 for no limit"},
	{name: "forwarding", kind: kWord, aliases: foreignForwarding, dynamic: "that of the service", example: "dnat", apart: true,
		enum: []string{string(core.DNAT), string(core.Masquerade), string(core.SNAT)}, doc: "of this backend, in a service that forwards in one of these ways"},
	{name: "source", kind: kText, dynamic: "that of the service", example: "10.0.0.1", apart: true, doc: "forwarding snat: the address that replaces the client's"},
	{name: "qos", kind: kObject, apart: true, alone: "{dscp: %s}", doc: "on top of the service's", keys: qosKeys},
}

var persistenceKeys = []key{
	{name: "timeout", kind: kDuration, def: "0s", max: 30 * 86400, doc: "since the client's latest new connection; 0 for no persistence"},
	{name: "prefix4", kind: kInt, def: "32", min: 1, max: 32, doc: "bits of an IPv4 address that make a client"},
	{name: "prefix6", kind: kInt, def: "128", min: 1, max: 128, doc: "bits of an IPv6 address that make a client"},
	{name: "size", kind: kInt, def: "65536", min: 1, max: 16 << 20, doc: "most clients remembered per family; the next ones are balanced at each connection"},
}

var limitKeys = []key{
	{name: "new_per_second", kind: kInt, def: "0", max: maxRate, doc: "new connections of the service"},
	{name: "new_burst", kind: kInt, def: "0", max: maxRate, doc: "as many of them at once; 0 means new_per_second"},
	{name: "new_per_second_per_client", kind: kInt, def: "0", max: maxRate, doc: "new connections of one address"},
	{name: "new_burst_per_client", kind: kInt, def: "0", max: maxRate, doc: "as many of them at once; 0 means new_per_second_per_client"},
	{name: "connections", kind: kInt, def: "0", max: maxCount, doc: "open connections of the service"},
	{name: "connections_per_client", kind: kInt, def: "0", max: maxCount, doc: "open connections of one address"},
	{name: "resets_per_second_per_client", kind: kInt, def: "0", max: maxRate, doc: "TCP resets that one address may send; more are dropped"},
	{name: "invalid", kind: kWord, def: "accept", enum: []string{"accept", "drop"}, doc: "what becomes of packets that connection tracking finds invalid"},
	{name: "clients", kind: kInt, def: "65536", min: 1, max: 16 << 20, doc: "most addresses that the limits per client remember, per family"},
	{name: "answer", kind: kWord, def: "drop", enum: []string{string(core.Drop), string(core.Reject)}, doc: "what a connection above a limit gets"},
}

var qosKeys = []key{
	{name: "dscp", kind: kText, numeric: true, max: 63, dynamic: "unchanged", example: "af41", apart: true, pattern: dscpPattern,
		hint: "a number from 0 to 63, or a name such as ef, af41 or cs5", doc: "DSCP of the packets to the backends: a number from 0 to 63 or a name"},
	{name: "priority", kind: kText, dynamic: "unchanged", example: "1:20", apart: true, pattern: classPattern,
		hint: `a handle of tc, in quotes: "1:20"`, doc: "class of tc, in hexadecimal as tc writes it"},
	{name: "mark", kind: kInt, def: "0", max: math.MaxUint32, apart: true, doc: "packet mark, of the bits in mask"},
	{name: "mask", kind: kInt, def: "0", max: math.MaxUint32, apart: true, doc: "bits of the packet mark that are set; 0 sets none"},
}

var shapingKeys = []key{
	{name: "stale_after", kind: kDuration, def: "30s", max: 86400, doc: "age past which a reading is unknown to the policy"},
	{name: "hold", kind: kDuration, def: "60s", max: 86400,
		doc: "how long a backend keeps its share when the policy has no opinion of it"},
	{name: "slow_start", kind: kDuration, def: "0s", max: 86400, doc: "time in which a backend that came up reaches its full share"},
	{name: "slow_start_min", kind: kNumber, def: "0.1", max: 1, doc: "ratio of the full share that slow start begins with"},
	{name: "floor", kind: kNumber, def: "0.05", max: 1, doc: "least share of an eligible backend, as a ratio of an equal share; with policy failover always 0"},
	{name: "ceiling", kind: kNumber, def: "1", max: 1, doc: "largest share of one backend"},
	{name: "step", kind: kNumber, def: "0.25", max: 1, doc: "largest relative change of a share in one decision; with policies failover and maglev 0 if it is not written"},
	{name: "dead_band", kind: kNumber, def: "0.005", max: 1, doc: "largest change of a share that is not worth a commit"},
	{name: "panic", kind: kNumber, def: "0", max: 1,
		doc: "least ratio of backends that must be up; below it all of them share by configured weight"},
}
