// SPDX-License-Identifier: Apache-2.0

package core

import "time"

// A TCPSpec is what to say over a connection and what to hear. Without Steps a
// connection that is accepted is good enough.
type TCPSpec struct {
	TLS   TLSSpec   `json:"tls,omitzero"`
	Steps []TCPStep `json:"steps,omitempty"`
}

// A TCPStep is one step of a dialogue; exactly one field is set.
type TCPStep struct {
	Send     string `json:"send,omitzero"`     // sent as it is
	SendHex  string `json:"send_hex,omitzero"` // the same in hexadecimal, spaces between bytes allowed
	Expect   string `json:"expect,omitzero"`   // regular expression that a line, or what has come so far, must match
	StartTLS bool   `json:"starttls,omitzero"` // the TLS handshake takes place now, as TCPSpec.TLS says
}

// An HTTPSpec is the request of an http probe and what counts as an answer.
type HTTPSpec struct {
	TLS     TLSSpec       `json:"tls,omitzero"` // https
	HTTP2   bool          `json:"http2,omitzero"`
	Method  string        `json:"method,omitzero"`
	Path    string        `json:"path,omitzero"`
	Host    string        `json:"host,omitzero"` // Host header and SNI; empty means the backend's address
	Headers []Header      `json:"headers,omitempty"`
	Body    string        `json:"body,omitzero"`     // of the request
	Status  []StatusRange `json:"status,omitempty"`  // statuses that count as good
	Expect  string        `json:"expect,omitzero"`   // regular expression that the body must match
	Reject  string        `json:"reject,omitzero"`   // one that it must not match
	JSON    []JSONRule    `json:"json,omitempty"`    // what the body, which is JSON, must hold
	Digest  string        `json:"digest,omitzero"`   // of the body: "sha256:HEX" or "md5:HEX"
	MaxBody int           `json:"max_body,omitzero"` // bytes of the body that are read; 0 means 64 KiB
}

// A Header is one header field. Its value may be a password.
type Header struct {
	Name  string `json:"name"`
	Value Secret `json:"value"`
}

// A StatusRange is an inclusive range of status codes.
type StatusRange struct {
	From int `json:"from"`
	To   int `json:"to"`
}

// A JSONRule holds a value in a JSON body against a condition.
type JSONRule struct {
	Path string `json:"path"`         // keys and indices with dots between them, as in "checks.0.state"; * is every element, \ escapes
	Want string `json:"want"`         // as in "ok", "true", "3"
	Op   string `json:"op,omitempty"` // ==, !=, <, <=, >, >=; empty means ==
}

// A PingSpec is one round of ICMP echo requests. The probe fails only when
// every one of them is lost.
type PingSpec struct {
	Count int `json:"count,omitzero"`
	Size  int `json:"size,omitzero"` // bytes of payload
}

// A DNSSpec is a question and what counts as its answer.
type DNSSpec struct {
	Question  string   `json:"question,omitzero"`   // name; empty means the root
	Record    string   `json:"record,omitzero"`     // type, as in "SOA"
	TCP       bool     `json:"tcp,omitzero"`        // over TCP, else UDP
	NoRecurse bool     `json:"no_recurse,omitzero"` // do not ask the server to ask others
	RCodes    []string `json:"rcodes,omitempty"`    // as in "NOERROR", which is the default
	Expect    string   `json:"expect,omitzero"`     // regular expression that the data of one record of the answer must match
	Answers   int      `json:"answers,omitzero"`    // least number of records of the type
}

// A GRPCSpec is a call of grpc.health.v1.Health/Check.
type GRPCSpec struct {
	TLS      TLSSpec  `json:"tls,omitzero"`
	Service  string   `json:"service,omitzero"` // empty asks for the server as a whole
	Host     string   `json:"host,omitzero"`    // :authority; empty means the backend's address
	Metadata []Header `json:"metadata,omitempty"`
}

// A UDPSpec is a datagram and its reply. Without a condition a port that no ICMP
// error comes back from within the timeout is good.
type UDPSpec struct {
	Payload []byte `json:"payload,omitempty"`
	// Reply and Mask, of the same length, are what the first bytes of the reply must be: where a bit
	// of Mask is 1, that of Reply counts. Empty: any.
	Reply []byte `json:"reply,omitempty"`
	Mask  []byte `json:"mask,omitempty"`
	// Expect is a regular expression that the reply must match.
	Expect string `json:"expect,omitzero"`
	// Need says that some reply must come although Reply and Expect are empty.
	Need bool `json:"need,omitzero"`
}

// A Convention says what the exit code of a command means.
type Convention string

// The conventions, spelled as in the configuration.
const (
	Nagios     Convention = "nagios"     // 0 good, 1 warning, 2 critical, 3 unknown; performance data after |
	Keepalived Convention = "keepalived" // 0 good, 1 bad, 2 to 255 good with DynamicWeight, and the weight is that less 2; bad without
	ExitZero   Convention = "exit0"      // 0 good, everything else bad
)

// An ExecSpec is a command of this machine.
type ExecSpec struct {
	Command    []string          `json:"command,omitempty"` // program and arguments; {address}, {port}, {service}, {backend} are filled in
	User       string            `json:"user,omitzero"`     // empty means nobody
	Env        map[string]Secret `json:"env,omitempty"`     // the environment, beside PATH and LC_ALL=C
	Convention Convention        `json:"convention,omitzero"`
	// WarningIsBad counts a Nagios warning as bad.
	WarningIsBad bool `json:"warning_is_bad,omitzero"`
	// DynamicWeight lets the exit code of a keepalived check replace the configured weight.
	DynamicWeight bool `json:"dynamic_weight,omitzero"`
}

// An AgentSpec is a HAProxy agent-check.
type AgentSpec struct {
	Send string `json:"send,omitzero"` // said first; many agents need nothing
}

// A ResponseSpec says over how many runs the quantiles of a response time are.
type ResponseSpec struct {
	Samples int `json:"samples,omitzero"` // 0 means 60
}

// An SNMPSpec is how to reach an SNMP agent.
type SNMPSpec struct {
	Version      string `json:"version,omitzero"` // "1", "2c" or "3"
	Community    Secret `json:"community,omitzero"`
	User         string `json:"user,omitzero"`
	AuthProtocol string `json:"auth_protocol,omitzero"` // SHA, SHA224, SHA256, SHA384, SHA512, MD5
	AuthPassword Secret `json:"auth_password,omitzero"`
	PrivProtocol string `json:"priv_protocol,omitzero"` // AES, AES192, AES256, AES192C, AES256C, DES
	PrivPassword Secret `json:"priv_password,omitzero"`
	Context      string `json:"context,omitzero"`
}

// A CPUSource says which objects of an agent the busy share comes from.
type CPUSource string

// The sources, spelled as in the configuration.
const (
	CPUFromUCD   CPUSource = "ucd"   // raw counters of UCD-SNMP-MIB, as net-snmp has them
	CPUFromHost  CPUSource = "host"  // hrProcessorLoad of HOST-RESOURCES-MIB: averages over a minute
	CPUFromCisco CPUSource = "cisco" // cpmCPUTotal1minRev of CISCO-PROCESS-MIB
	CPUFromOID   CPUSource = "oid"   // an object, or the rows of a column, in percent busy
)

// A CPUSpec is how to read the CPU of a machine.
type CPUSpec struct {
	Source       CPUSource     `json:"source,omitzero"`
	OID          string        `json:"oid,omitzero"`           // of the source oid
	Scale        float64       `json:"scale,omitzero"`         // of the source oid: makes a ratio of its number; 0 means 0.01
	Idle         bool          `json:"idle,omitzero"`          // of the source oid: the number is the idle share
	Window       time.Duration `json:"window_ns,omitzero"`     // over which the busy share is computed
	ExcludeSteal bool          `json:"exclude_steal,omitzero"` // steal counts as busy unless set
	IncludeWait  bool          `json:"include_wait,omitzero"`  // I/O wait counts as idle unless set
}

// A PrometheusSpec is a target to scrape.
type PrometheusSpec struct {
	TLS     TLSSpec  `json:"tls,omitzero"`
	Path    string   `json:"path,omitzero"` // empty means /metrics
	Host    string   `json:"host,omitzero"`
	Headers []Header `json:"headers,omitempty"`
}
