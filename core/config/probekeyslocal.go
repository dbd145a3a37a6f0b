// SPDX-License-Identifier: Apache-2.0

package config

import (
	"regexp"

	"github.com/steelyard-lb/steelyard/core"
)

var envPattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,99}$`)

var execKeys = []key{
	{name: "command", kind: kList, required: true, example: "[/bin/true]", elem: &key{kind: kText},
		doc: "program, with its whole path, and arguments; {address}, {port}, {service} and {backend} are filled in. There is no shell"},
	{name: "user", kind: kText, def: `""`, doc: "user that it runs as, without any capability: a name or UID:GID; empty means nobody"},
	{name: "env", kind: kNamed, apart: true, example: `{LANG: C}`, pattern: envPattern, hint: "the name of a variable: letters, digits and _",
		elem: &key{kind: kSecret}, doc: "its whole environment, but for PATH; the values are never shown"},
	{name: "convention", kind: kWord, def: string(core.Nagios), aliases: map[string]string{"misc_check": string(core.Keepalived), "external_check": string(core.ExitZero), "lvs": string(core.ExitZero)},
		enum: []string{string(core.Nagios), string(core.Keepalived), string(core.ExitZero)},
		doc:  "what the exit code means. nagios: 0 good, 1 warning, 2 critical, 3 unknown; keepalived: 0 good, 1 bad, 2 to 255 good with dynamic_weight and bad without; exit0: 0 good, all else bad"},
	{name: "warning", kind: kWord, def: "good", enum: []string{"good", "bad"}, doc: "convention nagios: what a warning counts as"},
	{name: "dynamic_weight", kind: kBool, def: "false", doc: "convention keepalived: an exit code from 2 to 255, less 2, replaces the configured weight"},
	apart(oneEach(metricsKey("users", labelKey))),
}

// oneEach is a key of metrics that are never several.
func oneEach(k key) key {
	elem := *k.elem
	elem.keys = without(elem.keys, "aggregate")
	k.elem = &elem
	return k
}

var agentKeys = []key{
	{name: "send", kind: kText, def: `""`, doc: "text that is sent first; most agents need none"},
}
