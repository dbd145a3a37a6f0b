// SPDX-License-Identifier: Apache-2.0

package core

// A Code says in one word how a probe ended. Operators know the L4, L6, L7 and
// PROC words from HAProxy's check column.
type Code string

// The closed list of codes. Explain has a sentence for each, and Remedy what to
// try where there is something to try.
const (
	L4OK       Code = "L4OK"
	L4Refused  Code = "L4CON"
	L4Timeout  Code = "L4TOUT"
	L4Unreach  Code = "L4UNR"
	L6Timeout  Code = "L6TOUT"
	L6Response Code = "L6RSP"
	L7OK       Code = "L7OK"
	L7Status   Code = "L7STS"
	L7Expect   Code = "L7EXP"
	L7Response Code = "L7RSP"
	L7Timeout  Code = "L7TOUT"
	PingOK     Code = "PINGOK"
	PingLost   Code = "PINGLOST"
	DNSOK      Code = "DNSOK"
	DNSRCode   Code = "DNSRCODE"
	DNSAnswer  Code = "DNSANSWER"
	ProcOK     Code = "PROCOK"
	ProcWarn   Code = "PROCWARN"
	ProcFailed Code = "PROCERR"
	ProcTime   Code = "PROCTOUT"
	AgentOK    Code = "AGENTOK"
	AgentDown  Code = "AGENTDOWN"
	AgentNone  Code = "AGENTNONE"
	SNMPOK     Code = "SNMPOK"
	SNMPWait   Code = "SNMPWAIT"
	SNMPTime   Code = "SNMPTOUT"
	SNMPAuth   Code = "SNMPAUTH"
	SNMPValue  Code = "SNMPVAL"
	MetricOK   Code = "METRICOK"
	MetricWait Code = "METRICWAIT"
	MetricNone Code = "METRICNONE"
	Internal   Code = "INTERNAL"

	// These are causes of a HealthChange only; no sample has them.

	PassiveSYN   Code = "SYNLOST"
	PassiveReset Code = "SYNRST"
	PassiveOver  Code = "RETRY"
	Flapping     Code = "FLAP"
)

// codes is the text behind each code. An empty remedy means that the sentence says
// all there is to say.
var codes = map[Code]struct{ text, remedy string }{
	L4OK:       {"the connection was accepted, or no error came back for the datagram", ""},
	L4Refused:  {"refused: nothing listens on that port, or a filter rejects it", "start the service, or set the probe's port; a service that listens on 127.0.0.1 only is refused, too"},
	L4Timeout:  {"no answer to the connection attempt in time", "is the machine up, and does a filter on the way drop the packets? If it is only slow, give the probe a longer timeout"},
	L4Unreach:  {"the network said that the backend cannot be reached", "look at the route with `ip route get ADDRESS`, and at the neighbour table with `ip neigh`"},
	L6Timeout:  {"the TLS handshake did not finish in time", "does the port speak TLS at all?"},
	L6Response: {"the TLS handshake failed", "name the CA in tls.ca_file and the certificate's name in tls.server_name, or set tls.insecure for a certificate that nobody signed; for a port that does not speak TLS leave tls out"},
	L7OK:       {"the answer was as expected", ""},
	L7Status:   {"the status is not among the expected ones", "ask by hand, and look into the log of the service; of http, status lists those that are good"},
	L7Expect:   {"the answer came, but is not what the configuration expects", "compare what came with expect, reject, json or digest of the probe"},
	L7Response: {"the answer was not valid, or was cut off", "does the port speak this protocol?"},
	L7Timeout:  {"the answer did not come in time", "the service hangs, is overloaded, or waits for more than the probe sends; over UDP a filter that drops and a list of who may ask look the same"},
	PingOK:     {"echo replies came back", ""},
	PingLost:   {"no echo reply came back", "many machines and clouds filter ICMP; a tcp or http probe says more"},
	DNSOK:      {"the server answered as expected", ""},
	DNSRCode:   {"the answer's code is not among the expected ones", "does the server carry this zone, and may this address ask it?"},
	DNSAnswer:  {"the answer holds no record that was expected", "compare with `dig @ADDRESS NAME TYPE`"},
	ProcOK:     {"the command said that all is well", ""},
	ProcWarn:   {"the command gave a warning", ""},
	ProcFailed: {"the command said that something is wrong", "run it by hand as the probe's user"},
	ProcTime:   {"the command did not end in time, and was killed", "give the probe a longer timeout, and the command a shorter one of its own"},
	AgentOK:    {"the agent answered", ""},
	AgentDown:  {"the agent says that the backend is down", "the words after the # in its answer are its own reason"},
	AgentNone:  {"no word from the agent, from which nothing follows", "does the agent listen on this port, and end its line with a line feed?"},
	SNMPOK:     {"the agent answered with fresh counters", ""},
	SNMPWait:   {"the agent answered, but there is no full window of counters yet", ""},
	SNMPTime:   {"no answer from the agent: unreachable, filtered or wrong community", "snmpd listens on the loopback only until its agentaddress says otherwise, and meets a wrong community with silence"},
	SNMPAuth:   {"the agent refused the user, the key or the protocol", "compare user, protocols and passwords with the agent's createUser line"},
	SNMPValue:  {"the agent answered, but not with what was asked for", "an agent shows only what its views include: look at the view lines of snmpd.conf"},
	MetricOK:   {"the numbers were read", ""},
	MetricWait: {"a rate needs a second answer", ""},
	MetricNone: {"none of the numbers that were asked for is in the answer", "look at the answer by hand and compare the names in metrics"},
	Internal:   {"the probe itself could not run", "the sentence beside it names the cause; it is on this machine, not on the backend"},

	PassiveSYN:   {"connections of clients were left unanswered", "the probes may ask another port or from another network than the clients"},
	PassiveReset: {"connections of clients were refused", "the probes may ask another port than the clients"},
	PassiveOver:  {"the time out is over: clients are sent there again", ""},
	Flapping:     {"it went down too often of late, and must stay well for a while", "look for the cause of the changes; health.flap_limit is about this rule"},
}

// Explain is the sentence behind a code; empty for a word not on the list.
func (c Code) Explain() string { return codes[c].text }

// Remedy is what to try; empty if there is nothing to try.
func (c Code) Remedy() string { return codes[c].remedy }

// Known reports whether the code is on the list.
func (c Code) Known() bool { _, ok := codes[c]; return ok }

// Verdict reports whether a sample with the code says anything about the backend:
// neither a probe that could not run here nor an agent that is silent does.
func (c Code) Verdict() bool { return c != Internal && c != AgentNone }
