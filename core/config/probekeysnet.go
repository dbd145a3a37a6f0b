// SPDX-License-Identifier: Apache-2.0

package config

import "regexp"

var (
	// A name of DNS, whose words may begin with _ as those of SRV do.
	domainPattern = regexp.MustCompile(`^(\.|(([A-Za-z0-9_]|[A-Za-z0-9_][A-Za-z0-9_-]{0,61}[A-Za-z0-9_])\.)*([A-Za-z0-9_]|[A-Za-z0-9_][A-Za-z0-9_-]{0,61}[A-Za-z0-9_])\.?)?$`)
	hexPattern    = regexp.MustCompile(`^([0-9A-Fa-f]{2} ?)*$`)
	maskPattern   = regexp.MustCompile(`^([0-9A-Fa-fxX]{2} ?)*$`)
)

const (
	expectDoc = "regular expression (RE2) that "
	hexHint   = "pairs of 0-9 and a-f, such as 0a1b2c"
)

// stepKeys are one step of a dialogue over TCP. The short form has them beside
// the type, each once.
var stepKeys = []key{
	{name: "send", kind: kText, example: "EHLO probe\r\n", doc: `text that is sent as it is; in double quotes "\r\n" ends a line`},
	{name: "send_hex", kind: kText, either: "send", example: "0a1b2c", pattern: hexPattern, hint: hexHint, doc: "the same in hexadecimal, for protocols that are no text"},
	{name: "expect", kind: kText, example: "^250 ", doc: expectDoc + "a line, or what has come so far, must match"},
	{name: "starttls", kind: kBool, example: "true", doc: "now the TLS handshake, as tls says"},
}

var tcpKeys = []key{
	{name: "send", kind: kText, def: `""`, doc: `text that is sent first, as it is; in double quotes "\r\n" ends a line`},
	{name: "send_hex", kind: kText, either: "send", example: "0a1b2c", pattern: hexPattern, hint: hexHint, doc: "the same in hexadecimal, for protocols that are no text"},
	{name: "expect", kind: kText, def: `""`, doc: expectDoc + "a line of the answer, or what has come so far, must match; empty: a connection that is accepted is good"},
	{name: "script", kind: kList, apart: true, either: "send", def: "[]", elem: &key{kind: kObject, keys: stepKeys},
		doc: "a longer talk, in place of send and expect: steps in their order, each with one of these keys"},
	tlsKey,
}

var pingKeys = []key{
	{name: "count", kind: kInt, def: "3", min: 1, max: 20, doc: "echo requests in one run; it fails when every one is lost"},
	{name: "size", kind: kInt, def: "56", min: 0, max: 1400, doc: "bytes of payload"},
}

var dnsKeys = []key{
	{name: "name", kind: kText, def: `"."`, pattern: domainPattern, hint: "a name such as www.example.org; in a name with other letters, its xn-- form", doc: "name that is asked for; . is the root"},
	{name: "record", kind: kWord, def: "SOA", doc: "type of the record",
		enum: []string{"A", "AAAA", "ANY", "CAA", "CNAME", "DNSKEY", "DS", "HTTPS", "MX", "NAPTR", "NS", "PTR", "SOA", "SRV", "SVCB", "TLSA", "TXT"}},
	{name: "over", kind: kWord, def: "udp", enum: []string{"udp", "tcp"}, doc: "transport of the question"},
	{name: "recurse", kind: kBool, def: "true", doc: "let the server ask others for the answer"},
	{name: "rcodes", kind: kList, one: true, def: "[NOERROR]", doc: "codes of the answer that count as good",
		elem: &key{kind: kWord, enum: []string{"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH", "NOTZONE"}}},
	{name: "expect", kind: kText, def: `""`, doc: expectDoc + "the data of one record of the answer must match; empty: any will do"},
	{name: "answers", kind: kInt, def: "0", max: 1000, doc: "least number of records of that type in the answer; 0: none is needed, the code alone is the verdict"},
}

var udpKeys = []key{
	{name: "payload", kind: kText, def: `""`, doc: "text that is sent; empty sends a datagram of no bytes"},
	{name: "payload_hex", kind: kText, either: "payload", example: "0a1b2c", pattern: hexPattern, hint: hexHint, doc: "the same in hexadecimal"},
	{name: "reply_hex", kind: kText, def: `""`, pattern: maskPattern, hint: "pairs of 0-9, a-f and x, such as 0a1bxx2c",
		doc: "what the first bytes of the reply must be, in hexadecimal; x is any half of a byte"},
	{name: "expect", kind: kText, def: `""`, doc: expectDoc + "the reply must match"},
	{name: "need_reply", kind: kBool, def: "false", doc: "some reply must come, whatever it is; reply_hex and expect need one anyway"},
}
