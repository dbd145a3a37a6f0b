// SPDX-License-Identifier: Apache-2.0

package config

import (
	"strconv"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
)

func (b *builder) snmp(path string, r rawProbe) core.SNMPSpec {
	s := core.SNMPSpec{
		Version: r.Version, User: r.User, Context: r.Context,
	}
	if b.spoilt[join(path, "version")] {
		return s
	}
	if r.Version != "3" {
		b.usedOnlyFor(path, `set version: "3", or leave it out`, "in version 3", use{"user", r.User != ""}, use{"context", r.Context != ""},
			use{"auth", r.Auth != rawKey{Protocol: defaultAuth}}, use{"priv", r.Priv != rawKey{Protocol: defaultPriv}})
		s.Community = b.secret(path, "community", true, r.Community, r.CommunityFile, r.CommunityEnv)
		return s
	}
	b.usedOnlyFor(path, `set version: "2c", or leave it out`, "in versions 1 and 2c", use{"community", b.written(join(path, "community"))},
		use{"community_file", b.written(join(path, "community_file"))}, use{"community_env", b.written(join(path, "community_env"))})
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

// These are defaults of the table: what is written as its default asks for nothing.
const (
	defaultAuth     = "SHA256"
	defaultPriv     = "AES"
	defaultCPUScale = 0.01
)

// cpu is how the busy share is read. What is of one source only is zero for the others.
func (b *builder) cpu(path string, r rawProbe) core.CPUSpec {
	s := core.CPUSpec{Source: core.CPUSource(r.CPUSource), Window: r.Window}
	const hint = "set cpu_source: "
	if s.Source == core.CPUFromUCD {
		s.ExcludeSteal, s.IncludeWait = r.ExcludeSteal, r.IncludeWait
	} else if s.Source != "" {
		b.usedOnlyFor(path, hint+"ucd, or leave it out", "with cpu_source ucd", use{"exclude_steal", r.ExcludeSteal}, use{"include_wait", r.IncludeWait})
	}
	if s.Source != core.CPUFromOID {
		if s.Source != "" {
			b.usedOnlyFor(path, hint+"oid, or leave it out", "with cpu_source oid", use{"oid", r.OID != ""}, use{"scale", r.Scale != defaultCPUScale}, use{"idle", r.Idle})
		}
		return s
	}
	s.OID, s.Scale, s.Idle = b.oid(join(path, "oid"), r.OID), r.Scale, r.Idle
	if at := join(path, "oid"); r.OID == "" && !b.spoilt[at] {
		b.spoil(b.at(join(path, "cpu_source")), at, "oid: the object, "+oidHint, "%s has no %q, and cpu_source is oid", path[len("probes."):], "oid")
	}
	if r.Scale == 0 {
		b.wrong(join(path, "scale"), "0.01 for a number in percent", "a scale of 0 makes 0 of every number")
	}
	return s
}

// A use is a key that was or was not given another value than its default.
type use struct {
	key  string
	used bool
}

// usedOnlyFor notes the keys that are used and mean something elsewhere only.
func (b *builder) usedOnlyFor(path, hint, where string, all ...use) {
	for _, u := range all {
		if u.used && !b.spoilt[join(path, u.key)] {
			b.misplaced(join(path, u.key), hint, "%q means something %s only", u.key, where)
		}
	}
}

// oid checks an object identifier, and returns it without a dot in front.
func (b *builder) oid(path, text string) string {
	text = strings.TrimPrefix(text, ".")
	if text == "" {
		return ""
	}
	arcs := strings.Split(text, ".")
	if len(arcs) > 128 {
		b.wrong(path, oidHint, "the OID has %d numbers, at most 128 can be", len(arcs))
	}
	var first uint64
	for i, a := range arcs {
		n, err := strconv.ParseUint(a, 10, 32)
		if i == 0 {
			first = n
		}
		if err != nil || i == 0 && n > 2 || i == 1 && first < 2 && n > 39 {
			b.wrong(path, oidHint, "%s cannot be number %d of an OID", a, i+1)
		}
	}
	return text
}
