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
	inService   = "probes: [alive] in the service"
	httpProbe   = "probes: [alive], with probes: {alive: {type: http, path: /}} at the top"
	httpsProbe  = "probes: [alive], with probes: {alive: {type: http, path: /, tls: true}} at the top"
	smtpProbe   = `probes: [alive], with probes: {alive: {type: tcp, expect: "^220 "}} at the top`
	execProbe   = "probes: [alive], with probes: {alive: {type: exec, command: [/usr/lib/nagios/plugins/check_tcp]}} at the top"
	agentProbe  = "probes: [alive], with probes: {alive: {type: agent, port: 9777}} at the top"
	atTop       = `maintenance: {kernel-updates: {backends: [web/web1], from: "02:00", to: "04:00"}} at the top`
	pickedByTCP = "limits: {connections: 10000}, or max_connections in a backend"
)

func inProbe(example string) string { return example + " in a probe" }

// foreignRoot are words at the top of a file.
var foreignRoot = map[string]meant{
	"virtual_server": {"", "services: {web: {vip: 192.0.2.10, port: 80}}"},
	"frontend":       {"", "services: {web: {vip: 192.0.2.10, port: 80}}"},
	"listen":         {"", "services: {web: {vip: 192.0.2.10, port: 80}}"},
	"upstream":       {"", "services: {web: {vip: 192.0.2.10, port: 80, backends: {web1: {address: 10.0.0.11}}}}"},
	"backends":       {"", "services: {web: {backends: {web1: {address: 10.0.0.11}}}}"},
	"global_defs":    {"", "node, log and state_dir"},
	"router_id":      {"", "node: lb1"},
	"modules":        {"", "probes: {alive: {type: http, path: /}}"},
	"checks":         {"", "probes: {alive: {type: tcp}}"},
	"downtime":       {"", atTop},
	"spread_checks":  {"", inProbe("jitter: 0.1")},
	"passive":        {"", "services: {web: {passive: {unanswered: 5}}}"},
	"health":         {"", "services: {web: {health: {need: any}}}"},
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
	"rate_limit": {"", "limits: {new_per_second: 1000}"}, "quorum": {"", "min_up: 2"}, "hysteresis": {"", "min_up: 2"}, "alive_ratio": {"", "shaping: {panic: 0.3}"},
	"delay_loop": {"", "interval: 5s in a probe"}, "health_check": {"", healthProbe}, "check": {"", healthProbe}, "tcp_check": {"", healthProbe},
	"http_get": {"", "probes: [alive], with probes: {alive: {type: http, path: /}} at the top"}, "option": {"", healthProbe},
	"fwmark": {"", "qos: {mark: 0x10, mask: 0xf0}"}, "slowstart": {"", "shaping: {slow_start: 30s}"}, "slow_start": {"", "shaping: {slow_start: 30s}"},
	"acl": {"", "allow: [192.0.2.0/24] and deny: [198.51.100.0/24]"}, "whitelist": {"", "allow: [192.0.2.0/24]"}, "blacklist": {"", "deny: [198.51.100.0/24]"},
	"snat":    {"", "forwarding: snat and source: 192.0.2.1"},
	"ssl_get": {"", httpsProbe}, "httpchk": {"", httpProbe}, "http_check": {"", httpProbe}, "misc_check": {"", execProbe}, "external_check": {"", execProbe},
	"agent_check": {"", agentProbe}, "agent_port": {"", agentProbe}, "dns_check": {"", "probes: [alive], with probes: {alive: {type: dns}} at the top"},
	"udp_check": {"", "probes: [alive], with probes: {alive: {type: udp}} at the top"}, "ping_check": {"", "probes: [alive], with probes: {alive: {type: ping}} at the top"},
	"smtp_check": {"", smtpProbe}, "observe": {"", "passive: {unanswered: 5, resets: 5}"}, "error_limit": {"", "passive: {unanswered: 5, resets: 5}"},
	"on_error": {"", "passive: {unanswered: 5, resets: 5}"}, "outlier_detection": {"", "passive: {unanswered: 5, resets: 5}"},
	"alpha": {"", "health: {start: down}"}, "omega": {"", "on_down: keep"}, "init_state": {"", "health: {start: unknown}"}, "warmup": {"", inProbe("jitter: 0.1") + "; the first run is at a random time anyway"},
	"inter": {"", inProbe("interval: 5s")}, "fastinter": {"", inProbe("fast_interval: 1s")}, "downinter": {"", inProbe("down_interval: 30s")},
	"rise": {"", inProbe("rise: 2")}, "fall": {"", inProbe("fall: 3")}, "retry": {"", inProbe("fall: 3")}, "nb_get_retry": {"", inProbe("fall: 3")},
	"delay_before_retry": {"", inProbe("fast_interval: 1s")}, "inhibit_on_failure": {"", "on_down: keep"}, "connect_timeout": {"", inProbe("timeout: 2s")},
	"maintenance": {"", atTop}, "need": {"", "health: {need: any}"}, "critical": {"", "health: {critical: [alive]}"}, "concurrency": {"", "probing: {concurrency: {exec: 16}} at the top"},
}

// foreignBackend are words of a backend.
var foreignBackend = map[string]meant{
	"ip": {"address", "address: 10.0.0.11"}, "host": {"address", "address: 10.0.0.11"}, "addr": {"address", "address: 10.0.0.11"},
	"server": {"address", "address: 10.0.0.11"}, "maxconn": {"", "max_connections: 500"}, "max_conns": {"", "max_connections: 500"},
	"u_threshold": {"", "max_connections: 500"}, "uthreshold": {"", "max_connections: 500"}, "connection_limit": {"", "max_connections: 500"},
	"backup": {"", "priority: 1"}, "check": {"", inService}, "inter": {"", inProbe("interval: 5s")},
	"tcp_check": {"", inService}, "http_get": {"", inService}, "ssl_get": {"", inService}, "smtp_check": {"", inService}, "dns_check": {"", inService},
	"misc_check": {"", inService}, "udp_check": {"", inService}, "ping_check": {"", inService}, "file_check": {"", inService}, "probes": {"", inService},
	"agent_check": {"", agentProbe}, "agent_port": {"", agentProbe}, "agent_addr": {"", agentProbe}, "agent_inter": {"", agentProbe}, "agent_send": {"", agentProbe},
	"fastinter": {"", inProbe("fast_interval: 1s")}, "downinter": {"", inProbe("down_interval: 30s")}, "rise": {"", inProbe("rise: 2")}, "fall": {"", inProbe("fall: 3")},
	"observe": {"", "passive: {unanswered: 5, resets: 5} in the service"}, "error_limit": {"", "passive: {unanswered: 5, resets: 5} in the service"},
	"on_error": {"", "passive: {unanswered: 5, resets: 5} in the service"}, "init_state": {"", "health: {start: unknown} in the service"},
	"track": {"", "probes: [alive] in both services; one target is asked once for all of them"}, "slowstart": {"", "shaping: {slow_start: 30s} in the service"},
	"delay_loop": {"", inProbe("interval: 5s")}, "retry": {"", inProbe("fall: 3")}, "connect_timeout": {"", inProbe("timeout: 2s")}, "warmup": {"", inProbe("jitter: 0.1")},
	"alpha": {"", "health: {start: down} in the service"}, "inhibit_on_failure": {"", "on_down: keep in the service"}, "maintenance": {"", atTop},
	"disabled": {"", "weight: 0, or `steelyard backend drain`"}, "lb_kind": {"", natOrDSR}, "method": {"", natOrDSR},
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
