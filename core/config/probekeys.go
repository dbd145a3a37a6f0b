// SPDX-License-Identifier: Apache-2.0

package config

import (
	"math"
	"slices"

	"github.com/steelyard-lb/steelyard/core"
)

// probeKey is one probe. Which keys it may have depends on its type.
var probeKey = key{name: "alive", kind: kVariant, foreign: foreignProbe, keys: []key{metricsKey("load", fromKeys...)}, variants: []variant{
	{name: core.ProbeTCP, doc: "opens a connection, and may have a talk over it", keys: append(healthKeys(core.ProbeTCP, "2s", "1s"), tcpKeys...)},
	{name: core.ProbeHTTP, doc: "sends a request and looks at the answer", keys: slices.Concat(healthKeys(core.ProbeHTTP, "2s", "1s"), requestKeys("/"), httpKeys)},
	{name: core.ProbePing, doc: "sends ICMP echo requests", keys: append(without(healthKeys(core.ProbePing, "2s", "1s"), "port"), pingKeys...)},
	{name: core.ProbeDNS, doc: "asks a DNS server a question", keys: append(healthKeys(core.ProbeDNS, "2s", "1s"), dnsKeys...)},
	{name: core.ProbeGRPC, doc: "calls grpc.health.v1.Health/Check", keys: append(healthKeys(core.ProbeGRPC, "2s", "1s"), grpcKeys...)},
	{name: core.ProbeUDP, doc: "sends a datagram; bad is an ICMP error or a wrong reply, and silence only where a reply is asked for. " +
		"The default timeout is 4s because a machine that is off the network shows after 3 s of ARP",
		keys: append(healthKeys(core.ProbeUDP, "5s", "4s"), udpKeys...)},
	{name: core.ProbeExec, doc: "runs a command of this machine, such as a Nagios plugin", keys: append(without(healthKeys(core.ProbeExec, "10s", "5s"), "source", "device", "mark"), execKeys...)},
	{name: core.ProbeAgent, doc: "reads the line of a HAProxy agent-check; silence changes nothing", keys: slices.Concat(atOnce(needsPort(healthKeys(core.ProbeAgent, "2s", "1s"))), agentKeys)},
	{name: core.ProbeResponseTime, doc: "measures how long an answer takes: a TCP connection, or a request when path is set",
		keys: slices.Concat(metricKeys(core.ProbeResponseTime, "2s", "1s", "0"), requestKeys(`""`), responseKeys)},
	{name: core.ProbeSNMPCPU, doc: "reads the CPU counters of an SNMP agent", keys: slices.Concat(metricKeys(core.ProbeSNMPCPU, "5s", "2s", "161"), snmpKeys, cpuKeys)},
	{name: core.ProbeSNMP, doc: "reads any objects of an SNMP agent", keys: slices.Concat(metricKeys(core.ProbeSNMP, "10s", "2s", "161"), snmpKeys, snmpMetrics)},
	{name: core.ProbePrometheus, doc: "scrapes a target as Prometheus does", keys: append(metricKeys(core.ProbePrometheus, "10s", "5s", "0"), prometheusKeys...)},
}}

var probeTypes = []string{core.ProbeTCP, core.ProbeHTTP, core.ProbePing, core.ProbeDNS, core.ProbeGRPC, core.ProbeUDP, core.ProbeExec, core.ProbeAgent,
	core.ProbeResponseTime, core.ProbeSNMPCPU, core.ProbeSNMP, core.ProbePrometheus}

// commonKeys are the keys that every probe has.
func commonKeys(typ string, role core.Role, interval, timeout, port string) []key {
	portDoc := "port to ask; 0 means the backend's own"
	if port != "0" {
		portDoc = "port to ask"
	}
	return []key{
		{name: "type", kind: kWord, required: true, enum: probeTypes, aliases: foreignProbeType, example: typ, doc: "what is asked"},
		{name: "role", kind: kWord, def: string(role), enum: []string{string(core.HealthRole), string(core.MetricRole)},
			doc: "health decides up or down, metric feeds the policy; never both"},
		{name: "interval", kind: kDuration, def: interval, min: 0.05, max: 3600, doc: "from the start of one run to the start of the next"},
		{name: "timeout", kind: kDuration, def: timeout, min: 0.01, max: 3600, doc: "of one run; shorter than interval"},
		{name: "jitter", kind: kNumber, def: "0.1", max: 0.5, doc: "ratio of interval by which each wait varies"},
		{name: "port", kind: kInt, def: port, max: 65535, doc: portDoc},
		{name: "source", kind: kText, def: `""`, doc: "address that the probe sends from; empty: as the routes say. An address of one family asks backends of that family only"},
		{name: "device", kind: kText, def: `""`, doc: "interface that the probe leaves by, or a VRF"},
		{name: "mark", kind: kInt, def: "0", max: math.MaxUint32, doc: "mark of the probe's socket, for policy routing"},
		{name: "netns", kind: kText, def: `""`, doc: "network namespace that the probe runs in: a name as of `ip netns`, or a path"},
	}
}

// healthKeys are those of a probe whose verdict can mark a backend down.
func healthKeys(typ, interval, timeout string) []key {
	return append(commonKeys(typ, core.HealthRole, interval, timeout, "0"),
		key{name: "rise", kind: kInt, def: "2", min: 1, max: 100, doc: "good runs in a row that make a down backend up"},
		key{name: "fall", kind: kInt, def: "3", min: 1, max: 100, doc: "bad runs in a row that make an up backend down"},
		key{name: "fast_interval", kind: kDuration, dynamic: "interval", example: interval, min: 0.05, max: 3600,
			doc: "interval while runs speak against the state, so that fall and rise are reached sooner; longer than timeout"},
		key{name: "down_interval", kind: kDuration, dynamic: "interval", example: interval, min: 0.05, max: 3600,
			doc: "interval while the backend is down; longer than timeout"})
}

// metricKeys are those of a probe that only measures.
func metricKeys(typ, interval, timeout, port string) []key {
	return commonKeys(typ, core.MetricRole, interval, timeout, port)
}

// needsPort says of keys that port must be written.
func needsPort(keys []key) []key {
	*find(keys, "port") = key{name: "port", kind: kInt, required: true, example: "9777", min: 1, max: 65535, doc: "port of the agent, which is not that of the service"}
	return keys
}

// atOnce makes one sample enough for either verdict, as with HAProxy: an agent knows
// what it says.
func atOnce(keys []key) []key {
	find(keys, "rise").def, find(keys, "fall").def = "1", "1"
	return keys
}

func without(keys []key, names ...string) []key {
	return slices.DeleteFunc(keys, func(k key) bool { return slices.Contains(names, k.name) })
}
