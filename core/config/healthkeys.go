// SPDX-License-Identifier: Apache-2.0

package config

import (
	"regexp"
	"strings"
)

var healthKeysOfService = []key{
	{name: "need", kind: kText, numeric: true, def: "all", min: 1, max: 1000, pattern: regexp.MustCompile(`^(all|any|[0-9]{1,4})$`), hint: "all, any, or how many",
		doc: "how many of the health probes of a backend must be up: all, any, or a number"},
	{name: "critical", kind: kList, one: true, def: "[]", elem: &key{kind: kText}, doc: "health probes that must be up whatever the others are"},
	{name: "start", kind: kWord, def: "unknown", enum: []string{"unknown", "up", "down"},
		doc: "before the first sample: unknown takes no connections and believes the first sample, up serves until fall bad ones, down waits for rise good ones"},
	{name: "flap_limit", kind: kInt, def: "0", max: 1000, doc: "a backend that goes down as often within flap_window is held down; 0 switches that off"},
	{name: "flap_window", kind: kDuration, def: "10m", min: 1, max: 7 * 86400, doc: "time in which they are counted"},
	{name: "flap_hold", kind: kDuration, def: "1m", min: 1, max: 86400, doc: "how long it must be well then, and twice as long each further time"},
	{name: "flap_max", kind: kDuration, def: "30m", min: 1, max: 7 * 86400, doc: "and never longer than this"},
}

var passiveKeys = []key{
	{name: "unanswered", kind: kInt, def: "0", max: 10_000, doc: "TCP connections in a row that a backend leaves unanswered until it is ejected; 0 does not look at them"},
	{name: "resets", kind: kInt, def: "0", max: 10_000, doc: "the same of those that it refuses"},
	{name: "eject", kind: kDuration, def: "30s", min: 1, max: 86400, doc: "how long the first ejection lasts; each further one lasts as much longer"},
	{name: "max", kind: kDuration, def: "5m", min: 1, max: 86400, doc: "and never longer than this"},
	{name: "max_ratio", kind: kNumber, def: "0.1", max: 1, doc: "largest ratio of the backends that may be ejected at one time; one may always, unless it is the last that serves"},
}

var probingKey = key{name: "probing", kind: kObject, doc: "how this node runs its probes", keys: []key{
	{name: "concurrency", kind: kNamed, apart: true, example: "{exec: 16}", enum: probeTypes, pattern: regexp.MustCompile(`^(` + strings.Join(probeTypes, "|") + `)$`),
		hint: "a type of probe", elem: &key{kind: kInt, min: 1, max: 65535}, doc: "most runs of a type of probe under way at one time; a type that is not written has a limit of its own"},
	{name: "suspect_ratio", kind: kNumber, def: "0.8", max: 1, doc: "when more than this ratio of all probes that were good fails at once, this node suspects itself, and no backend goes down; 0 switches that off"},
	{name: "suspect_min", kind: kInt, def: "10", min: 1, max: 1_000_000, doc: "probes that there must be for that"},
	{name: "suspect_for", kind: kDuration, def: "5m", min: 1, max: 86400, doc: "how long it may last"},
}}

var (
	targetPattern = regexp.MustCompile(`^(\*|[a-z0-9-]{1,32})/(\*|[a-z0-9-]{1,32})$`)
	clockPattern  = regexp.MustCompile(`^([01][0-9]|2[0-3]):[0-5][0-9]$`)
)

const clockHint = `a time of day in quotes, such as "02:00"; midnight is "00:00"`

var dayNames = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"} // in the order of time.Weekday

var maintenanceKey = key{name: "maintenance", kind: kMap, apart: true, doc: "times in which backends are drained", elem: &key{name: "kernel-updates", kind: kObject, foreign: foreignMaintenance, keys: []key{
	{name: "backends", kind: kList, one: true, required: true, example: "[web/web1]",
		elem: &key{kind: kText, pattern: targetPattern, hint: "SERVICE/BACKEND, with * for every one: web/web1, web/* or */web1"}, doc: "which: web/web1, web/* for all of a service, */web1 for that name in every service"},
	{name: "reason", kind: kText, def: `""`, doc: "shown with each backend that is drained for it"},
	{name: "start", kind: kText, apart: true, example: "2027-03-01T22:00:00+01:00", doc: "once: when it begins, as in RFC 3339"},
	{name: "end", kind: kText, apart: true, example: "2027-03-02T02:00:00+01:00", doc: "once: when it ends"},
	{name: "days", kind: kList, one: true, def: "[]", elem: &key{kind: kWord, enum: dayNames, aliases: foreignDays}, doc: "again and again: on which days it begins; empty means every day"},
	{name: "from", kind: kText, example: "02:00", pattern: clockPattern, hint: clockHint, doc: "again and again: the time of day at which it begins"},
	{name: "to", kind: kText, example: "04:00", pattern: clockPattern, hint: clockHint, doc: "again and again: the time of day at which it ends; if that is not after from, on the next day"},
	{name: "zone", kind: kText, def: `""`, doc: "again and again: time zone of from and to, such as Europe/Berlin; empty means this node's"},
}}}
