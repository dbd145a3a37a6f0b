// SPDX-License-Identifier: Apache-2.0

package config

import "github.com/steelyard-lb/steelyard/core"

// probeKey is one probe. Which keys it may have depends on its type.
var probeKey = key{name: "alive", kind: kVariant, foreign: foreignProbe, variants: []variant{
	{name: core.ProbeTCP, doc: "opens a connection and closes it", keys: healthKeys(core.ProbeTCP)},
	{name: core.ProbeHTTP, doc: "sends a request and looks at the status", keys: append(healthKeys(core.ProbeHTTP), httpKeys("/")...)},
	{name: core.ProbePing, doc: "sends ICMP echo requests", keys: append(without(healthKeys(core.ProbePing), "port"), pingKeys...)},
	{name: core.ProbeSNMPCPU, doc: "reads the CPU counters of an SNMP agent", keys: append(metricKeys(core.ProbeSNMPCPU, "5s", "2s", "161"), snmpKeys...)},
	{name: core.ProbeResponseTime, doc: "measures how long an answer takes: a TCP connection, or a request when path is set",
		keys: append(metricKeys(core.ProbeResponseTime, "2s", "1s", "0"), httpKeys(`""`)...)},
}}

var probeTypes = []string{core.ProbeTCP, core.ProbeHTTP, core.ProbePing, core.ProbeSNMPCPU, core.ProbeResponseTime}

// commonKeys are the keys that every probe has.
func commonKeys(typ string, role core.Role, interval, timeout, port string) []key {
	portDoc := "port to ask; 0 means the backend's own"
	if port != "0" {
		portDoc = "port to ask"
	}
	return []key{
		{name: "type", kind: kWord, required: true, enum: probeTypes, example: typ, doc: "what is asked"},
		{name: "role", kind: kWord, def: string(role), enum: []string{string(core.HealthRole), string(core.MetricRole)},
			doc: "health decides up or down, metric feeds the policy; never both"},
		{name: "interval", kind: kDuration, def: interval, min: 0.05, max: 3600, doc: "from the start of one run to the start of the next"},
		{name: "timeout", kind: kDuration, def: timeout, min: 0.01, max: 3600, doc: "of one run; shorter than interval"},
		{name: "jitter", kind: kNumber, def: "0.1", max: 0.5, doc: "ratio of interval by which each wait varies"},
		{name: "port", kind: kInt, def: port, max: 65535, doc: portDoc},
	}
}

// healthKeys are those of a probe whose verdict can mark a backend down.
func healthKeys(typ string) []key {
	return append(commonKeys(typ, core.HealthRole, "2s", "1s", "0"),
		key{name: "rise", kind: kInt, def: "2", min: 1, max: 100, doc: "good runs in a row that make a down backend up"},
		key{name: "fall", kind: kInt, def: "3", min: 1, max: 100, doc: "bad runs in a row that make an up backend down"})
}

// metricKeys are those of a probe that only measures.
func metricKeys(typ, interval, timeout, port string) []key {
	return commonKeys(typ, core.MetricRole, interval, timeout, port)
}

func httpKeys(path string) []key {
	pathDoc := "path of the request"
	if path == `""` {
		pathDoc = "path of the request; empty measures a TCP connection only"
	}
	return []key{
		{name: "path", kind: kText, def: path, doc: pathDoc},
		{name: "method", kind: kWord, def: "GET", enum: []string{"GET", "HEAD"}, doc: "method of the request"},
		{name: "host", kind: kText, def: `""`, doc: "Host header and TLS server name; empty means the backend's address"},
		{name: "status", kind: kList, def: `["200-399"]`, elem: &key{kind: kText}, doc: "statuses that count as good, each a code or a range"},
		{name: "tls", kind: kBool, def: "false", doc: "ask over https"},
		{name: "insecure", kind: kBool, def: "false", doc: "do not verify the certificate"},
	}
}

var pingKeys = []key{
	{name: "count", kind: kInt, def: "3", min: 1, max: 20, doc: "echo requests in one run; it fails when every one is lost"},
	{name: "size", kind: kInt, def: "56", min: 0, max: 1400, doc: "bytes of payload"},
}

var snmpKeys = []key{
	{name: "version", kind: kWord, def: "2c", enum: []string{"2c", "3"}, doc: "2c sends the community in clear, 3 can authenticate and encrypt"},
	{name: "community", kind: kSecret, doc: "version 2c: the community; give this one, or one of the next two"},
	{name: "community_file", kind: kText, file: true, either: "community", example: "./community", doc: "version 2c: file that holds the community"},
	{name: "community_env", kind: kText, either: "community", example: "SNMP_COMMUNITY", doc: "version 2c: environment variable that holds the community"},
	{name: "user", kind: kText, apart: true, def: `""`, doc: "version 3: the user"},
	{name: "context", kind: kText, apart: true, def: `""`, doc: "version 3: the context"},
	{name: "auth", kind: kObject, apart: true, doc: "version 3: authentication; without a password there is none",
		keys: append([]key{{name: "protocol", kind: kWord, def: "SHA256",
			enum: []string{"MD5", "SHA", "SHA224", "SHA256", "SHA384", "SHA512"}, doc: "hash"}}, passwordKeys("auth")...)},
	{name: "priv", kind: kObject, apart: true, doc: "version 3: encryption; without a password there is none",
		keys: append([]key{{name: "protocol", kind: kWord, def: "AES",
			enum: []string{"DES", "AES", "AES192", "AES256", "AES192C", "AES256C"}, doc: "cipher; AES is AES-128"}}, passwordKeys("priv")...)},
	{name: "window", kind: kDuration, def: "10s", min: 1, max: 3600, doc: "time over which the busy share is computed"},
	{name: "exclude_steal", kind: kBool, def: "false", doc: "count steal as idle, not as busy"},
	{name: "include_wait", kind: kBool, def: "false", doc: "count I/O wait as busy, not as idle"},
}

func passwordKeys(of string) []key {
	return []key{
		{name: "password", kind: kSecret, doc: "the password; give this one, or one of the next two"},
		{name: "password_file", kind: kText, file: true, either: "password", example: "./" + of + ".password", doc: "file that holds the password"},
		{name: "password_env", kind: kText, either: "password", example: "SNMP_" + map[string]string{"auth": "AUTH", "priv": "PRIV"}[of], doc: "environment variable that holds the password"},
	}
}

func without(keys []key, name string) []key {
	kept := keys[:0:0]
	for _, k := range keys {
		if k.name != name {
			kept = append(kept, k)
		}
	}
	return kept
}
