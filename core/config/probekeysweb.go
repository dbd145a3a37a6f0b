// SPDX-License-Identifier: Apache-2.0

package config

import "regexp"

var (
	methodPattern = regexp.MustCompile(`^[A-Z]{1,20}$`)
	// The names of RFC 9110, 5.6.2, less the backtick.
	headerPattern   = regexp.MustCompile(`^[A-Za-z0-9!#$%&'*+.^_|~-]{1,100}$`)
	metadataPattern = regexp.MustCompile(`^[a-z0-9_.-]{1,100}$`)
	digestPattern   = regexp.MustCompile(`^(sha256:[0-9a-fA-F]{64}|md5:[0-9a-fA-F]{32})?$`)
	jsonPattern     = regexp.MustCompile(`^([^.\x00-\x1f\\]|\\[^\x00-\x1f])+(\.([^.\x00-\x1f\\]|\\[^\x00-\x1f])+)*$`)
)

const jsonHint = `keys and indices with dots between them, such as checks.0.state or checks.*.state; a \ takes the meaning from the dot or * behind it`

// tlsKey is how a probe speaks TLS.
var tlsKey = key{name: "tls", kind: kObject, flip: "enabled", doc: "speak TLS; tls: true is enough where the defaults below will do", keys: []key{
	{name: "enabled", kind: kBool, dynamic: "true once tls is written", example: "false", doc: "switches TLS on, or off again in a later file"},
	{name: "insecure", kind: kBool, def: "false", doc: "do not verify the certificate"},
	{name: "server_name", kind: kText, def: `""`, doc: "name that is asked for (SNI) and that the certificate must have; empty means host, or the backend's address"},
	{name: "ca_file", kind: kText, def: `""`, file: true, doc: "authorities to trust, PEM; empty means the system's"},
	{name: "cert_file", kind: kText, def: `""`, file: true, doc: "certificate that we show, with its chain, PEM; read at each reload"},
	{name: "key_file", kind: kText, def: `""`, file: true, doc: "private key of it, PEM"},
}}

var headersKey = key{name: "headers", kind: kNamed, apart: true, example: `{Authorization: "Bearer …"}`, pattern: headerPattern, hint: "the name of a header field, such as X-Probe",
	elem: &key{kind: kSecret}, doc: "fields of the request; their values are never shown"}

// requestKeys are those of a probe that sends a request.
func requestKeys(path string) []key {
	pathDoc := "path of the request"
	if path == `""` {
		pathDoc = "path of the request; empty measures a TCP connection only"
	}
	return []key{
		{name: "path", kind: kText, def: path, doc: pathDoc},
		{name: "method", kind: kText, def: "GET", pattern: methodPattern, hint: "a method in upper case, such as GET or HEAD", doc: "method of the request"},
		{name: "host", kind: kText, def: `""`, doc: "Host header and TLS server name; empty means the backend's address"},
		headersKey,
		{name: "http2", kind: kBool, def: "false", doc: "speak HTTP/2: by ALPN with tls, at once without"},
		{name: "status", kind: kList, one: true, def: `["200-399"]`, elem: &key{kind: kText, numeric: true, min: 100, max: 599}, doc: "statuses that count as good, each a code or a range"},
		tlsKey,
		{name: "insecure", kind: kBool, apart: true, either: "tls", example: "false", def: "false", doc: "short for tls: {insecure: true}"},
	}
}

// httpKeys are what an http probe can ask of the answer.
var httpKeys = []key{
	{name: "body", kind: kText, def: `""`, doc: "body of the request"},
	{name: "expect", kind: kText, def: `""`, doc: expectDoc + "the body must match"},
	{name: "reject", kind: kText, def: `""`, doc: expectDoc + "the body must not match"},
	{name: "json", kind: kNamed, apart: true, example: `{status: ok, queue.length: "< 100"}`, pattern: jsonPattern, hint: jsonHint,
		elem: &key{kind: kText, asIs: true}, doc: "what a body of JSON must hold: a path, and a value or a comparison with ==, !=, <, <=, > or >="},
	{name: "digest", kind: kText, def: `""`, pattern: digestPattern, hint: "write md5: before 32 hexadecimal digits, or sha256: before 64", doc: "of the body: sha256:HEX or md5:HEX, as sha256sum and genhash print them"},
	{name: "max_body", kind: kInt, def: "65536", min: 1, max: 16 << 20, doc: "bytes of the body that are read at most"},
	apart(metricsKey("queue", bodyKey)),
}

var responseKeys = []key{
	{name: "samples", kind: kInt, def: "60", min: 1, max: 10_000, doc: "latest runs over which the quantiles are"},
}

var grpcKeys = []key{
	{name: "service", kind: kText, def: `""`, doc: "service whose health is asked; empty asks for the server as a whole"},
	{name: "host", kind: kText, def: `""`, doc: ":authority and TLS server name; empty means the backend's address"},
	{name: "metadata", kind: kNamed, apart: true, example: `{authorization: "Bearer …"}`, pattern: metadataPattern, hint: "a key of metadata, in lower case",
		elem: &key{kind: kSecret}, doc: "metadata of the call; their values are never shown"},
	tlsKey,
}
