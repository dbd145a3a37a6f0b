// SPDX-License-Identifier: Apache-2.0

package core

import (
	"log/slog"
	"time"
)

// A Role is the hard split between the two uses of a probe.
type Role string

const (
	// HealthRole probes decide up or down and feed no policy by their verdict.
	HealthRole Role = "health"
	// MetricRole probes feed the policy; their failure never marks a backend down.
	MetricRole Role = "metric"
)

// The probe types, spelled as in the configuration.
const (
	ProbeTCP          = "tcp"
	ProbeHTTP         = "http"
	ProbePing         = "ping"
	ProbeSNMPCPU      = "snmp_cpu"
	ProbeResponseTime = "response_time"
)

// A ProbeSpec is one configured probe. Which of the parts below Type is read
// depends on Type; the others are zero.
type ProbeSpec struct {
	Name string `json:"name,omitzero"`
	Type string `json:"type,omitzero"`
	Role Role   `json:"role,omitzero"`

	Interval time.Duration `json:"interval_ns,omitzero"` // start to start
	Timeout  time.Duration `json:"timeout_ns,omitzero"`  // of one run, retries included; less than Interval
	Jitter   float64       `json:"jitter,omitzero"`      // share of Interval by which each wait varies, 0 to 0.5
	Rise     int           `json:"rise,omitzero"`        // good samples in a row that make a down backend up
	Fall     int           `json:"fall,omitzero"`        // bad samples in a row that make an up backend down
	Port     uint16        `json:"port,omitzero"`        // 0 means the backend's own port; 161 for snmp_cpu

	HTTP HTTPSpec `json:"http,omitzero"` // http, and response_time when HTTP.Path is set
	Ping PingSpec `json:"ping,omitzero"`
	SNMP SNMPSpec `json:"snmp,omitzero"`
}

// An HTTPSpec is the request of an http probe and what counts as an answer.
type HTTPSpec struct {
	TLS      bool          `json:"tls,omitzero"`      // https
	Insecure bool          `json:"insecure,omitzero"` // do not verify the certificate
	Method   string        `json:"method,omitzero"`   // GET or HEAD
	Path     string        `json:"path,omitzero"`
	Host     string        `json:"host,omitzero"`    // Host header and SNI; empty means the backend's address
	Status   []StatusRange `json:"status,omitempty"` // statuses that count as good
}

// A StatusRange is an inclusive range of HTTP status codes.
type StatusRange struct {
	From int `json:"from"`
	To   int `json:"to"`
}

// A PingSpec is one round of ICMP echo requests. The probe fails only when
// every one of them is lost.
type PingSpec struct {
	Count int `json:"count,omitzero"`
	Size  int `json:"size,omitzero"` // bytes of payload
}

// An SNMPSpec is how to reach an SNMP agent and how to read its CPU counters.
type SNMPSpec struct {
	Version      string `json:"version,omitzero"` // "2c" or "3"
	Community    Secret `json:"community,omitzero"`
	User         string `json:"user,omitzero"`
	AuthProtocol string `json:"auth_protocol,omitzero"` // SHA, SHA224, SHA256, SHA384, SHA512, MD5
	AuthPassword Secret `json:"auth_password,omitzero"`
	PrivProtocol string `json:"priv_protocol,omitzero"` // AES, AES192, AES256, AES192C, AES256C, DES
	PrivPassword Secret `json:"priv_password,omitzero"`
	Context      string `json:"context,omitzero"`

	Window       time.Duration `json:"window_ns,omitzero"`     // over which the busy share is computed
	ExcludeSteal bool          `json:"exclude_steal,omitzero"` // steal counts as busy unless set
	IncludeWait  bool          `json:"include_wait,omitzero"`  // I/O wait counts as idle unless set
}

// A Secret is a string that never shows itself: not in logs, not in JSON, not
// through fmt. Read it with Reveal, at the place that needs it.
type Secret string

const redacted = "(secret)"

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString keeps %#v from printing the secret.
func (s Secret) GoString() string { return s.String() }

// MarshalText keeps encoders from writing the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
