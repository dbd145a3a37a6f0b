// SPDX-License-Identifier: Apache-2.0

package core

import "time"

// A Sample is what one probe learned about one backend. It is never changed
// once made, so it crosses goroutines and the bus without a lock.
type Sample struct {
	Backend BackendID
	Probe   string // name of the probe in the configuration
	Type    string // tcp, http, ping, snmp_cpu, response_time
	Role    Role
	Node    string // who probed

	Seq     uint64    // counts up per Node, Instance, Backend and Probe
	TakenAt time.Time // when the probe began, UTC
	Took    time.Duration

	OK      bool // so that a zero Sample speaks against a backend, not for it
	Code    Code
	Detail  string // one sentence for people, at most 256 bytes
	Metrics []Metric
}

// Metric finds a metric by name.
func (s Sample) Metric(name string) (Metric, bool) {
	for _, m := range s.Metrics {
		if m.Name == name {
			return m, true
		}
	}
	return Metric{}, false
}

// A Metric is a named number with a unit.
type Metric struct {
	Name   string
	Value  float64 // finite
	Unit   string  // seconds, ratio, count, per_second; never a prefix such as milli
	Window time.Duration
	// At is the end of the window that Value speaks of, where that is not the
	// time of the sample: an agent that refreshes every 5 s answers with old news.
	At time.Time
}

// The metrics that the shipped probes emit and the policies read.
const (
	MetricCPU      = "cpu"           // busy share of all cores, ratio 0 to 1
	MetricCores    = "cores"         // count
	MetricRefresh  = "agent_refresh" // estimated time between two refreshes of an SNMP agent, seconds
	MetricResponse = "response_time" // from connect to the answer complete, seconds
	MetricConnect  = "connect"       // phase, seconds
	MetricTLS      = "tls"           // phase, seconds
	MetricTTFB     = "first_byte"    // phase, seconds
	MetricTransfer = "transfer"      // phase, seconds
	MetricRTT      = "rtt"           // ping, average, seconds
	MetricLoss     = "loss"          // ping, ratio 0 to 1

	MetricConnections = "connections"        // open, count; from conntrack
	MetricNew         = "new_connections"    // per_second; from conntrack
	MetricDone        = "closed_connections" // per_second over the CPU's window; from conntrack
)

// A Code says in one word how a probe ended. Operators know the L4/L7 words
// from HAProxy's check column.
type Code string

// The closed list of codes. Explain has a sentence for each.
const (
	L4OK       Code = "L4OK"
	L4Refused  Code = "L4CON"
	L4Timeout  Code = "L4TOUT"
	L4Unreach  Code = "L4UNR"
	L6Timeout  Code = "L6TOUT"
	L6Response Code = "L6RSP"
	L7OK       Code = "L7OK"
	L7Status   Code = "L7STS"
	L7Response Code = "L7RSP"
	L7Timeout  Code = "L7TOUT"
	PingOK     Code = "PINGOK"
	PingLost   Code = "PINGLOST"
	SNMPOK     Code = "SNMPOK"
	SNMPWait   Code = "SNMPWAIT"
	SNMPTime   Code = "SNMPTOUT"
	SNMPAuth   Code = "SNMPAUTH"
	SNMPValue  Code = "SNMPVAL"
	Internal   Code = "INTERNAL"
)

var codeText = map[Code]string{
	L4OK:       "the connection was accepted",
	L4Refused:  "the connection was refused: nothing listens on that port",
	L4Timeout:  "no answer to the connection attempt in time",
	L4Unreach:  "the network said that the backend cannot be reached",
	L6Timeout:  "the TLS handshake did not finish in time",
	L6Response: "the TLS handshake failed",
	L7OK:       "the answer was as expected",
	L7Status:   "the HTTP status is not among the expected ones",
	L7Response: "the answer was not valid HTTP, or was cut off",
	L7Timeout:  "connected, but the answer did not come in time",
	PingOK:     "echo replies came back",
	PingLost:   "no echo reply came back",
	SNMPOK:     "the agent answered with fresh counters",
	SNMPWait:   "the agent answered, but there is no full window of counters yet",
	SNMPTime:   "no answer from the agent: unreachable, filtered or wrong community",
	SNMPAuth:   "the agent refused the user, the key or the protocol",
	SNMPValue:  "the agent answered with something that is no CPU counter",
	Internal:   "the probe itself could not run",
}

// Explain is the sentence behind a code; empty for a word not on the list.
func (c Code) Explain() string { return codeText[c] }

// Known reports whether the code is on the list.
func (c Code) Known() bool { _, ok := codeText[c]; return ok }
