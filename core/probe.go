// SPDX-License-Identifier: Apache-2.0

package core

import (
	"cmp"
	"net/netip"
	"time"
)

// A Role is the hard split between the two uses of a probe.
type Role string

const (
	// HealthRole probes decide up or down. What they measure on the way feeds
	// policies, too.
	HealthRole Role = "health"
	// MetricRole probes feed the policy; their failure never marks a backend down.
	MetricRole Role = "metric"
)

// The probe types, spelled as in the configuration.
const (
	ProbeTCP          = "tcp"
	ProbeHTTP         = "http"
	ProbePing         = "ping"
	ProbeDNS          = "dns"
	ProbeGRPC         = "grpc"
	ProbeUDP          = "udp"
	ProbeExec         = "exec"
	ProbeAgent        = "agent"
	ProbeResponseTime = "response_time"
	ProbeSNMPCPU      = "snmp_cpu"
	ProbeSNMP         = "snmp"
	ProbePrometheus   = "prometheus"
)

// A ProbeSpec is one configured probe. Which of the parts below Type is read
// depends on Type; the others are zero. It is shared and never changed once made.
type ProbeSpec struct {
	Name string `json:"name,omitzero"`
	Type string `json:"type,omitzero"`
	Role Role   `json:"role,omitzero"`

	Interval time.Duration `json:"interval_ns,omitzero"` // start to start
	// FastInterval is the interval while samples speak against the state, and
	// DownInterval while that is down; 0 means Interval.
	FastInterval time.Duration `json:"fast_interval_ns,omitzero"`
	DownInterval time.Duration `json:"down_interval_ns,omitzero"`
	Timeout      time.Duration `json:"timeout_ns,omitzero"` // of one run, retries included; less than each interval
	Jitter       float64       `json:"jitter,omitzero"`     // share of the interval by which each wait varies, 0 to 0.5
	Rise         int           `json:"rise,omitzero"`       // good samples in a row that make a down backend up
	Fall         int           `json:"fall,omitzero"`       // bad samples in a row that make an up backend down
	Port         uint16        `json:"port,omitzero"`       // 0 means the backend's own port, or that of the type: 161 for SNMP
	Way          Way           `json:"way,omitzero"`

	TCP        TCPSpec        `json:"tcp,omitzero"`
	HTTP       HTTPSpec       `json:"http,omitzero"` // http, and response_time when HTTP.Path is set
	Ping       PingSpec       `json:"ping,omitzero"`
	DNS        DNSSpec        `json:"dns,omitzero"`
	GRPC       GRPCSpec       `json:"grpc,omitzero"`
	UDP        UDPSpec        `json:"udp,omitzero"`
	Exec       ExecSpec       `json:"exec,omitzero"`
	Agent      AgentSpec      `json:"agent,omitzero"`
	Response   ResponseSpec   `json:"response,omitzero"`
	SNMP       SNMPSpec       `json:"snmp,omitzero"` // snmp_cpu and snmp
	CPU        CPUSpec        `json:"cpu,omitzero"`  // snmp_cpu
	Prometheus PrometheusSpec `json:"prometheus,omitzero"`
	// Metrics are the numbers to pick out of an answer, sorted by name: of snmp and
	// prometheus, of http (JSON), and of exec (performance data).
	Metrics []MetricSpec `json:"metrics,omitempty"`
}

// Every is the interval in force: moving says that samples speak against the state,
// which a probe that only measures has none of.
func (p *ProbeSpec) Every(state HealthState, moving bool) time.Duration {
	switch {
	case p.Role == MetricRole:
	case moving:
		return cmp.Or(p.FastInterval, p.Interval)
	case state == Down:
		return cmp.Or(p.DownInterval, p.Interval)
	}
	return p.Interval
}

// A Way is how a probe leaves this machine. The zero Way is as the routes say.
type Way struct {
	Source netip.Addr `json:"source,omitzero"` // of the probe's packets
	Device string     `json:"device,omitzero"` // interface, also the name of a VRF
	Mark   uint32     `json:"mark,omitzero"`   // of the socket (SO_MARK), for policy routing
	Netns  string     `json:"netns,omitzero"`  // network namespace, a name as of `ip netns` or a path
}

// A TLSSpec is how to speak TLS.
type TLSSpec struct {
	Enabled    bool   `json:"enabled,omitzero"`
	Insecure   bool   `json:"insecure,omitzero"`    // do not verify the certificate
	ServerName string `json:"server_name,omitzero"` // SNI, and the name that the certificate must have; empty: as of the type
	CA         string `json:"ca,omitzero"`          // PEM certificates to trust instead of the system's
	Cert       string `json:"cert,omitzero"`        // PEM client certificate, with intermediates
	Key        Secret `json:"key,omitzero"`         // PEM key of Cert
}

// A MetricKind says what a number in an answer is.
type MetricKind string

// The kinds, spelled as in the configuration.
const (
	GaugeKind   MetricKind = "gauge"   // taken as it is
	CounterKind MetricKind = "counter" // only grows: taken as its increase per second
)

// An Aggregate makes one number of several.
type Aggregate string

// The aggregates, spelled as in the configuration. Without one a probe that finds
// several numbers where one is asked for has found none.
const (
	SumOf   Aggregate = "sum"
	AvgOf   Aggregate = "avg"
	MinOf   Aggregate = "min"
	MaxOf   Aggregate = "max"
	CountOf Aggregate = "count"
)

// A MetricSpec picks one number out of an answer and gives it a name.
type MetricSpec struct {
	Name string `json:"name"`
	// From is where it is in the answer: an OID; a Prometheus series as in
	// `node_load1{job="x"}`; a path as in "db.lag" of a JSON body; a label of
	// performance data.
	From string     `json:"from"`
	Kind MetricKind `json:"kind,omitzero"` // empty means gauge
	// Scale multiplies it; 0 means 1.
	Scale     float64   `json:"scale,omitzero"`
	Unit      string    `json:"unit,omitzero"` // after Scale and, of a counter, per second
	Aggregate Aggregate `json:"aggregate,omitzero"`
	// Complement makes it 1 less the number that it is after all of that: the busy
	// share of an idle one.
	Complement bool `json:"complement,omitzero"`
}
