// SPDX-License-Identifier: Apache-2.0

package core

import "time"

// A Sample is what one probe learned about one backend. It is never changed
// once made, so it crosses goroutines and the bus without a lock.
type Sample struct {
	Backend BackendID
	Probe   string // name of the probe in the configuration
	Type    string // of the probe, as in ProbeTCP
	Role    Role
	Node    string // who probed

	Seq     uint64    // counts up per Node, Instance, Backend and Probe
	TakenAt time.Time // when the probe began, UTC
	Took    time.Duration

	OK      bool // so that a zero Sample speaks against a backend, not for it
	Code    Code
	Detail  string // one sentence for people, at most 256 bytes
	Metrics []Metric

	// Admin is what an agent asks for; empty if it asks for nothing.
	Admin AdminState
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
	Unit   string  // seconds, ratio, count, per_second, bytes, …; never a prefix such as milli
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
	MetricExpiry   = "cert_expiry"   // time until the first certificate of the chain expires, seconds; negative once it has

	MetricResponseEWMA = "response_time_ewma" // smoothed, seconds
	MetricResponseP50  = "response_time_p50"  // of the latest runs, seconds
	MetricResponseP90  = "response_time_p90"  // the same
	MetricResponseP99  = "response_time_p99"  // the same

	// What a probe of type agent or exec asks for. They replace what is configured.

	MetricWeightRatio    = "weight_ratio"    // of the configured weight, ratio
	MetricWeight         = "weight"          // instead of the configured weight, count
	MetricMaxConnections = "max_connections" // count

	MetricConnections = "connections"        // open, count; from conntrack
	MetricNew         = "new_connections"    // per_second; from conntrack
	MetricDone        = "closed_connections" // per_second over the CPU's window; from conntrack
	MetricUnanswered  = "unanswered"         // connections that the backend did not answer, ratio of the new ones; from conntrack
	MetricResets      = "resets"             // connections that it refused, ratio of the new ones; from conntrack
)
