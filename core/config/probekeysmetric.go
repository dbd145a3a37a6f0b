// SPDX-License-Identifier: Apache-2.0

package config

import (
	"regexp"

	"github.com/steelyard-lb/steelyard/core"
)

var (
	metricPattern = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)
	unitPattern   = regexp.MustCompile(`^([a-z][a-z0-9_]{0,31})?$`)
	oidPattern    = regexp.MustCompile(`^(\.?[0-9]+(\.[0-9]+)+)?$`)
)

const oidHint = "numbers with dots between them, as `snmptranslate -On NAME` prints them"

// The keys that say where a number is, each of one type of probe.
var (
	oidKey    = key{name: "oid", kind: kText, required: true, example: "1.3.6.1.4.1.2021.10.1.3.1", pattern: oidPattern, hint: oidHint, doc: "the object, or the column of a table, of which aggregate makes one number"}
	seriesKey = key{name: "series", kind: kText, required: true, example: "node_load1", doc: `the series, as in node_load1 or http_requests_total{code="500"}`}
	bodyKey   = key{name: "path", kind: kText, required: true, example: "queue.length", doc: "where the number is in a body of JSON: keys and indices with dots between them; of several, as with *, aggregate makes one"}
	labelKey  = key{name: "label", kind: kText, required: true, example: "users", doc: "label in the performance data, after the |"}
	fromKeys  = []key{oidKey, seriesKey, bodyKey, labelKey}
)

// metricsKey are the numbers that a probe picks out of an answer. From says where
// one of them is; example is the name of one.
func metricsKey(example string, from ...key) key {
	rest := []key{
		{name: "kind", kind: kWord, def: string(core.GaugeKind), enum: []string{string(core.GaugeKind), string(core.CounterKind)},
			doc: "gauge is taken as it is, counter as its increase per second"},
		{name: "unit", kind: kText, def: `""`, pattern: unitPattern, hint: "a base unit, such as seconds, bytes, ratio, count or per_second", doc: "unit, once scale is applied: seconds, bytes, ratio, count, per_second, …"},
		{name: "scale", kind: kNumber, def: "1", min: -1e12, max: 1e12, doc: "factor of the number: 0.01 makes a ratio of percent, 0.001 seconds of milliseconds"},
		{name: "aggregate", kind: kWord, dynamic: "none", example: string(core.AvgOf), apart: true,
			enum: []string{string(core.SumOf), string(core.AvgOf), string(core.MinOf), string(core.MaxOf), string(core.CountOf)},
			doc:  "makes one number of several; without it several are none"},
		{name: "complement", kind: kBool, def: "false", doc: "1 less the number, last of all: the busy share, where the answer has the idle one"},
	}
	return key{name: "metrics", kind: kMap, pattern: metricPattern, hint: "a-z, 0-9 and _, and a letter first", required: len(from) == 1,
		doc: "numbers out of the answer, by the name that policies know them by", elem: &key{name: example, kind: kObject, keys: append(from, rest...)}}
}

// apart is a key that may be left out, behind a # in the reference.
func apart(k key) key {
	k.apart, k.required = true, false
	return k
}

var snmpKeys = []key{
	{name: "version", kind: kWord, def: "2c", enum: []string{"1", "2c", "3"}, aliases: map[string]string{"2": "2c", "v1": "1", "v2": "2c", "v2c": "2c", "v3": "3"}, doc: "1 and 2c send the community in clear, 3 can authenticate and encrypt"},
	{name: "community", kind: kSecret, doc: "versions 1 and 2c: the community; give this one, or one of the next two"},
	{name: "community_file", kind: kText, file: true, either: "community", example: "./community", doc: "versions 1 and 2c: file that holds the community"},
	{name: "community_env", kind: kText, either: "community", example: "SNMP_COMMUNITY", doc: "versions 1 and 2c: environment variable that holds the community"},
	{name: "user", kind: kText, apart: true, def: `""`, doc: "version 3: the user"},
	{name: "context", kind: kText, apart: true, def: `""`, doc: "version 3: the context"},
	{name: "auth", kind: kObject, apart: true, doc: "version 3: authentication; without a password there is none",
		keys: append([]key{{name: "protocol", kind: kWord, def: defaultAuth,
			enum: []string{"MD5", "SHA", "SHA224", "SHA256", "SHA384", "SHA512"}, doc: "hash"}}, passwordKeys("auth")...)},
	{name: "priv", kind: kObject, apart: true, doc: "version 3: encryption; without a password there is none",
		keys: append([]key{{name: "protocol", kind: kWord, def: defaultPriv,
			enum: []string{"DES", "AES", "AES192", "AES256", "AES192C", "AES256C"}, doc: "cipher; AES is AES-128"}}, passwordKeys("priv")...)},
}

var cpuKeys = []key{
	{name: "cpu_source", kind: kWord, def: string(core.CPUFromUCD), aliases: foreignCPUSource,
		enum: []string{string(core.CPUFromUCD), string(core.CPUFromHost), string(core.CPUFromCisco), string(core.CPUFromOID)},
		doc:  "objects to read. ucd: raw counters of net-snmp; host: hrProcessorLoad, averages over a minute, of Windows and appliances; cisco: cpmCPUTotal1minRev; oid: the key oid"},
	{name: "window", kind: kDuration, def: "10s", min: 1, max: 3600, doc: "time over which the busy share is computed"},
	{name: "exclude_steal", kind: kBool, def: "false", doc: "count steal as idle, not as busy"},
	{name: "include_wait", kind: kBool, def: "false", doc: "count I/O wait as busy, not as idle"},
	{name: "oid", kind: kText, def: `""`, pattern: oidPattern, hint: oidHint, doc: "cpu_source oid: an object, or a column whose rows are averaged"},
	{name: "scale", kind: kNumber, def: "0.01", min: -1e12, max: 1e12, doc: "cpu_source oid: what makes a ratio of its number"},
	{name: "idle", kind: kBool, def: "false", doc: "cpu_source oid: the number is the idle share"},
}

var snmpMetrics = []key{metricsKey("load", oidKey)}

var prometheusKeys = []key{
	{name: "path", kind: kText, def: "/metrics", doc: "path of the request"},
	{name: "host", kind: kText, def: `""`, doc: "Host header and TLS server name; empty means the backend's address"},
	headersKey,
	tlsKey,
	metricsKey("load", seriesKey),
}

func passwordKeys(of string) []key {
	return []key{
		{name: "password", kind: kSecret, doc: "the password; give this one, or one of the next two"},
		{name: "password_file", kind: kText, file: true, either: "password", example: "./" + of + ".password", doc: "file that holds the password"},
		{name: "password_env", kind: kText, either: "password", example: "SNMP_" + map[string]string{"auth": "AUTH", "priv": "PRIV"}[of], doc: "environment variable that holds the password"},
	}
}
