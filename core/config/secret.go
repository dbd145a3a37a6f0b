// SPDX-License-Identifier: Apache-2.0

package config

import (
	"path/filepath"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
)

// secret finds the secret called name below path: written down, in a file, or
// in a variable, and in one of these only. No problem ever quotes it.
func (b *builder) secret(path, name string, required bool, text core.Secret, file, env string) core.Secret {
	var given []string
	for _, n := range []string{name, name + "_file", name + "_env"} {
		if _, ok := b.places[join(path, n)]; ok {
			given = append(given, n)
		}
	}
	at := join(path, name)
	switch {
	case len(given) > 1:
		b.misplaced(join(path, given[1]), "keep one of them", "the secret is given twice: by %s", strings.Join(given, " and by "))
		return ""
	case len(given) == 0:
		if required && !b.spoiltBelow(at) {
			b.spoil(b.at(path), at, "or "+name+"_file, or "+name+"_env", "%s has no %q", path[strings.LastIndex(path, ".")+1:], name)
		}
		return ""
	}
	at = join(path, given[0])
	if b.spoilt[at] {
		return ""
	}
	switch given[0] {
	case name + "_file":
		text = b.secretFile(at, file)
	case name + "_env":
		text = b.secretEnv(at, env)
	}
	if text == "" && required {
		b.wrong(at, "", "the secret is empty")
	}
	return text
}

// secretFile is the content of a file without the newline at its end.
func (b *builder) secretFile(at, file string) core.Secret {
	path := filepath.Clean(b.resolve(at, file))
	if !b.mayName(at, path) {
		return ""
	}
	data, err := b.readFor(at, path)
	if err != nil {
		b.wrong(at, fileHint(err), "read the secret from %s (%v)", path, cause(err)) // no colon: see inMessage
		return ""
	}
	text := strings.TrimRight(string(data), "\r\n")
	if b.wasPushed(at) && strings.ContainsAny(text, "\r\n") {
		b.wrong(at, "", "%s has more than one line, and is no secret that pushed definitions may name", path)
		return ""
	}
	return core.Secret(text)
}

func (b *builder) secretEnv(at, name string) core.Secret {
	if !b.mayAsk(at, name) {
		return ""
	}
	for _, kv := range b.opts.Env {
		if k, v, ok := strings.Cut(kv, "="); ok && k == name {
			return core.Secret(v)
		}
	}
	b.wrong(at, "set it where the daemon starts", "the environment has no variable %q", name)
	return ""
}
