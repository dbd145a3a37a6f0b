// SPDX-License-Identifier: Apache-2.0

package config

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
)

// request is what http and response_time ask.
func (b *builder) request(path string, r rawProbe) core.HTTPSpec {
	s := core.HTTPSpec{Method: r.Method, Path: r.Path, Host: r.Host, HTTP2: r.HTTP2}
	b.target(path, r)
	s.TLS = b.tls(path, r.TLS, false)
	if r.Insecure && !s.TLS.Enabled && !b.spoiltBelow(join(path, "tls")) {
		b.wrong(join(path, "insecure"), "set tls: true, or leave insecure out", "insecure means nothing without tls")
	}
	s.TLS.Insecure = s.TLS.Enabled && (s.TLS.Insecure || r.Insecure)
	s.Headers = b.headers(join(path, "headers"), r.Headers)
	s.Status = b.status(path, r.Status)
	return s
}

// target checks path and host of a request.
func (b *builder) target(path string, r rawProbe) {
	server := r.Path == "*" && r.Method == http.MethodOptions // asks the server as a whole
	if r.Path != "" && !server && !strings.HasPrefix(r.Path, "/") || strings.ContainsFunc(r.Path, controlOrSpace) {
		b.wrong(join(path, "path"), "a path begins with / and has no spaces", "%q is no path", r.Path)
	}
	if r.Path == "" && r.Type != core.ProbeResponseTime {
		b.wrong(join(path, "path"), `the root is "/"`, "%s %s probe needs a path", article(r.Type), r.Type)
	}
	b.hostName(path, r.Host)
}

func article(typ string) string {
	switch typ {
	case core.ProbeHTTP, core.ProbeSNMP, core.ProbeSNMPCPU, core.ProbeExec, core.ProbeAgent:
		return "an"
	}
	return "a"
}

func (b *builder) hostName(path, host string) {
	if strings.ContainsFunc(host, controlOrSpace) || strings.Contains(host, "/") {
		b.wrong(join(path, "host"), "such as www.example.org", "%q is no host name", host)
	}
}

func (b *builder) http(path string, r rawProbe) core.HTTPSpec {
	s := b.request(path, r)
	s.Body, s.Expect, s.Reject, s.MaxBody = r.Body, r.Expect, r.Reject, r.MaxBody
	s.Digest = strings.ToLower(r.Digest)
	b.expression(join(path, "expect"), r.Expect)
	b.expression(join(path, "reject"), r.Reject)
	s.JSON = b.json(join(path, "json"), r.JSON)
	if r.Method != http.MethodHead {
		return s
	}
	for _, k := range []struct {
		name string
		used bool
	}{{"expect", r.Expect != ""}, {"reject", r.Reject != ""}, {"json", len(r.JSON) > 0}, {"digest", r.Digest != ""}, {"metrics", len(r.Metrics) > 0}} {
		if k.used {
			b.wrong(join(path, k.name), "leave it out, or set method: GET", "%s looks at the body, and an answer to HEAD has none", k.name)
		}
	}
	return s
}

func (b *builder) status(path string, words []string) []core.StatusRange {
	var out []core.StatusRange
	if len(words) == 0 {
		b.wrong(join(path, "status"), `leave it out for "200-399"`, "no status would count as good")
	}
	for i, w := range words {
		from, to, isRange := strings.Cut(w, "-")
		if !isRange {
			to = from
		}
		lo, err1 := strconv.Atoi(from)
		hi, err2 := strconv.Atoi(to)
		if err1 != nil || err2 != nil || lo < http.StatusContinue || hi > 599 || lo > hi {
			b.wrong(b.item(join(path, "status"), i), `write "200" or "200-399"`, "%q is no HTTP status", w)
		}
		out = append(out, core.StatusRange{From: lo, To: hi})
	}
	return out
}

// notHeaders are the fields that something else decides.
var notHeaders = map[string]string{
	"host": "write host: NAME beside headers", ":authority": "write host: NAME", "content-length": "leave it out: it is the length of body",
	"transfer-encoding": "leave it out: body is sent as it is", "connection": "leave it out: each run has a connection of its own",
	"content-type": "leave it out: gRPC says it itself", "te": "leave it out",
}

// headers are sorted by name. Their values are secrets and in no message.
func (b *builder) headers(path string, fields map[string]core.Secret) []core.Header {
	var out []core.Header
	seen := map[string]string{}
	grpc := strings.HasSuffix(path, ".metadata")
	for _, name := range inOrder(b, path, fields) {
		at, lower := join(path, name), strings.ToLower(name)
		switch {
		case b.spoilt[at]:
			continue
		case notHeaders[lower] != "" && (lower != "content-type" || grpc):
			b.misplaced(at, notHeaders[lower], "%s cannot be set here", name)
		case grpc && strings.HasPrefix(name, "grpc-"):
			b.misplaced(at, "leave it out", "%s cannot be set here: gRPC keeps such names for itself", name)
		case seen[lower] != "":
			b.misplaced(at, "keep one of them", "%s stands here already, as %s", name, seen[lower])
		case strings.ContainsFunc(fields[name].Reveal(), func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f || grpc && r > 0x7f }):
			b.misplaced(at, "one line of text", "the value of %s has a character that a header field cannot have", name)
		}
		seen[lower] = name
		out = append(out, core.Header{Name: name, Value: fields[name]})
	}
	slices.SortFunc(out, func(x, y core.Header) int { return strings.Compare(x.Name, y.Name) })
	return out
}

// comparisons, the longer ones first.
var comparisons = []string{"==", "!=", "<=", ">=", "<", ">"}

// json are the rules, sorted by path.
func (b *builder) json(path string, rules map[string]string) []core.JSONRule {
	var out []core.JSONRule
	for _, name := range slices.Sorted(maps.Keys(rules)) {
		at, rule := join(path, name), core.JSONRule{Path: name, Want: rules[name]}
		for _, op := range comparisons {
			if rest, ok := strings.CutPrefix(strings.TrimSpace(rule.Want), op); ok {
				rule.Op, rule.Want = op, strings.TrimSpace(rest)
				break
			}
		}
		switch {
		case b.spoilt[at]:
			continue
		case rule.Op != "" && rule.Want == "":
			b.wrong(at, `such as ">= 3"`, "there is nothing behind the %s", rule.Op)
		case rule.Op == "" && strings.HasPrefix(rule.Want, "="):
			b.wrong(at, "write == or nothing before what it must be, or one of !=, <, <=, > and >=", "%q is no comparison", rules[name])
		}
		if rule.Op == "==" {
			rule.Op = "" // which means the same
		}
		out = append(out, rule)
	}
	return out
}

func (b *builder) grpc(path string, r rawProbe) core.GRPCSpec {
	b.hostName(path, r.Host)
	return core.GRPCSpec{TLS: b.tls(path, r.TLS, false), Service: r.Service, Host: r.Host, Metadata: b.headers(join(path, "metadata"), r.Metadata)}
}

func (b *builder) prometheus(path string, r rawProbe) core.PrometheusSpec {
	b.target(path, r)
	return core.PrometheusSpec{TLS: b.tls(path, r.TLS, false), Path: r.Path, Host: r.Host, Headers: b.headers(join(path, "headers"), r.Headers)}
}
