// SPDX-License-Identifier: Apache-2.0

package config

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
)

func (b *builder) probes() map[string]core.ProbeSpec {
	specs := map[string]core.ProbeSpec{}
	for name, r := range b.raw.Probes {
		specs[name] = b.probe(join("probes", name), name, r)
	}
	return specs
}

func (b *builder) probe(path, name string, r rawProbe) core.ProbeSpec {
	s := core.ProbeSpec{
		Name: name, Type: r.Type, Role: core.Role(r.Role), Interval: r.Interval, Timeout: r.Timeout,
		Jitter: r.Jitter, Rise: r.Rise, Fall: r.Fall, Port: r.Port,
	}
	b.timing(path, r)
	b.role(path, r)
	switch r.Type {
	case core.ProbeHTTP, core.ProbeResponseTime:
		s.HTTP = b.http(path, r)
	case core.ProbePing:
		s.Ping = core.PingSpec{Count: r.Count, Size: r.Size}
	case core.ProbeSNMPCPU:
		s.SNMP = b.snmp(path, r)
		s.CPU = core.CPUSpec{Window: r.Window, ExcludeSteal: r.ExcludeSteal, IncludeWait: r.IncludeWait}
	}
	return s
}

func (b *builder) timing(path string, r rawProbe) {
	interval, timeout := join(path, "interval"), join(path, "timeout")
	if b.spoilt[interval] || b.spoilt[timeout] || r.Interval == 0 {
		return
	}
	if r.Timeout >= r.Interval {
		b.wrong(b.set(path, "timeout", "interval"), "a run must be over before the next begins",
			"timeout%s %s is not shorter than interval%s %s", b.byDefault(timeout), short(r.Timeout), b.byDefault(interval), short(r.Interval))
	}
	if r.Type == core.ProbeSNMPCPU && r.Window < r.Interval && !b.spoilt[join(path, "window")] {
		b.wrong(b.set(path, "window", "interval"), "the busy share is computed between two samples, so a window holds at least two",
			"window%s %s is shorter than interval%s %s",
			b.byDefault(join(path, "window")), short(r.Window), b.byDefault(interval), short(r.Interval))
	}
}

// byDefault says so of a value that nobody wrote down.
func (b *builder) byDefault(path string) string {
	if _, ok := b.places[path]; ok {
		return ""
	}
	return ", by default"
}

// role keeps the probes that only measure from marking a backend down.
func (b *builder) role(path string, r rawProbe) {
	if r.Role != string(core.HealthRole) {
		return
	}
	switch r.Type {
	case core.ProbeSNMPCPU:
		b.wrong(join(path, "role"), "leave role out, and add a probe of type tcp or http for health",
			"an snmp_cpu probe cannot decide health: an agent that is silent, or a CPU that is busy, says nothing about the service itself")
	case core.ProbeResponseTime:
		b.wrong(join(path, "role"), "leave role out, and add a probe of type tcp or http for health",
			"a response_time probe cannot decide health: it measures")
	}
}

func (b *builder) http(path string, r rawProbe) core.HTTPSpec {
	s := core.HTTPSpec{TLS: core.TLSSpec{Enabled: r.TLS, Insecure: r.Insecure}, Method: r.Method, Path: r.Path, Host: r.Host}
	if r.Path != "" && !strings.HasPrefix(r.Path, "/") || strings.ContainsFunc(r.Path, controlOrSpace) {
		b.wrong(join(path, "path"), "a path begins with / and has no spaces", "%q is no path", r.Path)
	}
	if r.Path == "" && r.Type == core.ProbeHTTP {
		b.wrong(join(path, "path"), `the root is "/"`, "an http probe needs a path")
	}
	if strings.ContainsFunc(r.Host, controlOrSpace) {
		b.wrong(join(path, "host"), "", "%q is no host name", r.Host)
	}
	if r.Insecure && !r.TLS {
		b.wrong(join(path, "insecure"), "set tls: true, or leave insecure out", "insecure means nothing without tls")
	}
	s.Status = b.status(path, r.Status)
	return s
}

func controlOrSpace(r rune) bool { return r <= ' ' || r == 0x7f }

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
			b.wrong(join(path, "status."+strconv.Itoa(i)), `write "200" or "200-399"`, "%q is no HTTP status", w)
		}
		out = append(out, core.StatusRange{From: lo, To: hi})
	}
	return out
}

func (b *builder) snmp(path string, r rawProbe) core.SNMPSpec {
	s := core.SNMPSpec{
		Version: r.Version, User: r.User, Context: r.Context,
	}
	if b.spoilt[join(path, "version")] {
		return s
	}
	if r.Version == "2c" {
		b.onlyFor(path, "3", "user", "context", "auth", "priv")
		s.Community = b.secret(path, "community", true, r.Community, r.CommunityFile, r.CommunityEnv)
		return s
	}
	b.onlyFor(path, "2c", "community", "community_file", "community_env")
	if r.User == "" {
		b.wrong(join(path, "user"), "SNMP version 3 knows users, not communities", "%s has no %q", path[len("probes."):], "user")
	}
	s.AuthPassword = b.password(join(path, "auth"), r.Auth.rawPassword)
	s.PrivPassword = b.password(join(path, "priv"), r.Priv.rawPassword)
	if s.AuthPassword != "" {
		s.AuthProtocol = r.Auth.Protocol
	}
	if s.PrivPassword != "" {
		s.PrivProtocol = r.Priv.Protocol
		if s.AuthPassword == "" && !b.spoiltBelow(join(path, "auth")) {
			b.wrong(join(path, "priv"), "add auth", "priv without auth: SNMP encrypts only what it authenticates")
		}
	}
	return s
}

// onlyFor notes the keys that were written down and mean nothing in this version.
func (b *builder) onlyFor(path, version string, names ...string) {
	for _, n := range names {
		if _, ok := b.places[join(path, n)]; ok {
			b.misplaced(join(path, n), `set version: "`+version+`", or leave it out`, "%q means something in version %s only", n, version)
		}
	}
}

// minPassphrase is the least length of a passphrase (RFC 3414, 11.2).
const minPassphrase = 8

// password is an optional SNMP passphrase.
func (b *builder) password(path string, r rawPassword) core.Secret {
	_, written := b.places[path]
	s := b.secret(path, "password", written, r.Password, r.PasswordFile, r.PasswordEnv)
	if n := len(s.Reveal()); n > 0 && n < minPassphrase {
		b.wrong(b.set(path, "password", "password_file", "password_env"), "", "the passphrase is shorter than %d characters, and SNMP takes none that short", minPassphrase)
	}
	return s
}
