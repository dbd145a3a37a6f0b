// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"strings"
)

// Those who come from keepalived, ipvsadm, HAProxy or nginx write their words. Each
// leads to the key that is meant here, with an example of it.

// A meant is the key behind a word of another program. Beside is the key whose
// absence is not to be complained about then; it may be empty.
type meant struct{ beside, example string }

const (
	manyServers = "backends: {web1: {address: 10.0.0.11}, web2: {address: 10.0.0.12}}"
	howItServes = "policy: weighted or least-conn for the weights, distribution: random or roundrobin for who is next"
	healthProbe = "probes: [alive], with probes: {alive: {type: tcp}} at the top"
	natOrDSR    = "forwarding: dnat, or dsr for direct routing"
	oneClient   = "persistence: {timeout: 5m}"
	pickedByTCP = "limits: {connections: 10000}, or max_connections in a backend"
)

// foreignRoot are words at the top of a file.
var foreignRoot = map[string]meant{
	"virtual_server": {"", "services: {web: {vip: 192.0.2.10, port: 80}}"},
	"frontend":       {"", "services: {web: {vip: 192.0.2.10, port: 80}}"},
	"listen":         {"", "services: {web: {vip: 192.0.2.10, port: 80}}"},
	"upstream":       {"", "services: {web: {vip: 192.0.2.10, port: 80, backends: {web1: {address: 10.0.0.11}}}}"},
	"backends":       {"", "services: {web: {backends: {web1: {address: 10.0.0.11}}}}"},
	"global_defs":    {"", "node, log and state_dir"},
	"router_id":      {"", "node: lb1"},
}

// foreignService are words of a service.
var foreignService = map[string]meant{
	"real_server": {"backends", manyServers}, "real_servers": {"backends", manyServers}, "server": {"backends", manyServers},
	"servers": {"backends", manyServers}, "members": {"backends", manyServers}, "pool": {"backends", manyServers},
	"bind": {"vip", "vip: 192.0.2.10 and port: 80"}, "listen": {"vip", "vip: 192.0.2.10 and port: 80"}, "ip": {"vip", "vip: 192.0.2.10"},
	"virtual_address": {"vip", "vip: 192.0.2.10"}, "proto": {"", "protocol: udp"}, "mode": {"", natOrDSR},
	"lb_algo": {"", howItServes}, "lvs_sched": {"", howItServes}, "sched": {"", howItServes}, "scheduler": {"", howItServes},
	"balance": {"", howItServes}, "algorithm": {"", howItServes}, "lb_method": {"", howItServes},
	"lb_kind": {"", natOrDSR}, "lvs_method": {"", natOrDSR}, "method": {"", natOrDSR},
	"persistence_timeout": {"", oneClient}, "persistent": {"", oneClient}, "sticky": {"", oneClient}, "stick": {"", oneClient},
	"stick_table": {"", oneClient}, "ip_hash": {"", "distribution: hash"}, "persistence_granularity": {"", "persistence: {timeout: 5m, prefix4: 24}"},
	"netmask": {"", "persistence: {timeout: 5m, prefix4: 24}"}, "sorry_server": {"", "sorry: {address: 10.0.0.99}"},
	"backup": {"", "priority: 1 in a backend, or sorry: {address: 10.0.0.99}"}, "fallback": {"", "sorry: {address: 10.0.0.99}"},
	"maxconn": {"", pickedByTCP}, "fullconn": {"", pickedByTCP}, "connlimit": {"", pickedByTCP}, "connection_limit": {"", pickedByTCP},
	"rate_limit": {"", "limits: {new_per_second: 1000}"}, "quorum": {"", "min_up: 2"}, "alive_ratio": {"", "shaping: {panic: 0.3}"},
	"delay_loop": {"", "interval: 5s in a probe"}, "health_check": {"", healthProbe}, "check": {"", healthProbe}, "tcp_check": {"", healthProbe},
	"http_get": {"", "probes: [alive], with probes: {alive: {type: http, path: /}} at the top"}, "option": {"", healthProbe},
	"fwmark": {"", "qos: {mark: 0x10, mask: 0xf0}"}, "slowstart": {"", "shaping: {slow_start: 30s}"}, "slow_start": {"", "shaping: {slow_start: 30s}"},
	"acl": {"", "allow: [192.0.2.0/24] and deny: [198.51.100.0/24]"}, "whitelist": {"", "allow: [192.0.2.0/24]"}, "blacklist": {"", "deny: [198.51.100.0/24]"},
	"snat": {"", "forwarding: snat and source: 192.0.2.1"},
}

// foreignBackend are words of a backend.
var foreignBackend = map[string]meant{
	"ip": {"address", "address: 10.0.0.11"}, "host": {"address", "address: 10.0.0.11"}, "addr": {"address", "address: 10.0.0.11"},
	"server": {"address", "address: 10.0.0.11"}, "maxconn": {"", "max_connections: 500"}, "max_conns": {"", "max_connections: 500"},
	"u_threshold": {"", "max_connections: 500"}, "uthreshold": {"", "max_connections: 500"}, "connection_limit": {"", "max_connections: 500"},
	"backup": {"", "priority: 1"}, "check": {"", "probes: [alive] in the service"}, "inter": {"", "interval: 5s in a probe"},
	"tcp_check": {"", "probes: [alive] in the service"}, "http_get": {"", "probes: [alive] in the service"},
	"disabled": {"", "weight: 0, or `steelyard backend drain`"}, "lb_kind": {"", natOrDSR}, "method": {"", natOrDSR},
}

// foreignProbe are words of a probe.
var foreignProbe = map[string]meant{
	"delay_loop": {"", "interval: 5s"}, "inter": {"", "interval: 5s"}, "connect_timeout": {"", "timeout: 2s"}, "connect_port": {"", "port: 80"},
	"retry": {"", "fall: 3"}, "retries": {"", "fall: 3"}, "nb_get_retry": {"", "fall: 3"}, "url": {"", "path: /health"}, "uri": {"", "path: /health"},
	"status_code": {"", "status: [200]"}, "expect": {"", "status: [200]"},
}

// foreignForwarding and the next two are words of other programs for values.
var foreignForwarding = map[string]string{
	"nat": "dnat", "masq": "dnat", "masquerading": "dnat", "dr": "dsr", "gate": "dsr", "droute": "dsr", "direct": "dsr", "stlsdnat": "stateless", "redirect": "local",
}

var foreignDistribution = map[string]string{
	"rr": "roundrobin", "wrr": "roundrobin", "round_robin": "roundrobin", "source": "hash", "sh": "hash", "mh": "hash", "maglev": "hash", "ip_hash": "hash",
	"lc": "policy: least-conn", "wlc": "policy: least-conn", "leastconn": "policy: least-conn",
}

var foreignPolicy = map[string]string{
	"wrr": "weighted", "roundrobin": "rr", "lc": "least-conn", "wlc": "least-conn", "leastconn": "least-conn", "least_conn": "least-conn",
	"sh": "distribution: hash", "mh": "distribution: hash", "source": "distribution: hash", "hash": "distribution: hash", "random": "distribution: random",
}

// foreignKey finds what a word of another program is here.
func (k *key) foreignKey(name string) (meant, bool) {
	m, ok := k.foreign[foreignForm(name)]
	return m, ok
}

// foreignForm is a word as the tables above spell it.
func foreignForm(word string) string {
	return strings.ReplaceAll(strings.ToLower(word), "-", "_")
}

// foreignValue is the hint for a word of another program in the place of a value;
// empty if it is none.
func foreignValue(table map[string]string, word string) string {
	here := table[foreignForm(word)]
	switch {
	case here == "":
		return ""
	case strings.Contains(here, ":"):
		return "write " + here
	}
	return fmt.Sprintf("did you mean %q?", here)
}
