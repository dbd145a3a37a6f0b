// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// elementText is an element of a list in a few words.
func elementText(v any) string {
	m, ok := v.(map[string]any)
	if !ok {
		return fmt.Sprint(v)
	}
	data, err := json.Marshal(m)
	var f core.Frontend
	if err == nil && m["vip"] != nil && json.Unmarshal(data, &f) == nil {
		return f.String()
	}
	var parts []string
	for _, key := range slices.Sorted(maps.Keys(m)) {
		switch inner := m[key].(type) {
		case map[string]any, []any:
		case string:
			if key == "name" || key == "client" {
				continue
			}
			parts = append(parts, inner)
		default:
			parts = append(parts, keyText(key)+" "+valueText(key, inner, nil))
		}
	}
	return strings.Join(parts, ", ")
}

// configKeys are the keys whose names in the configuration are others than in
// JSON.
var configKeys = map[string]string{
	"limits.new.per_second":               "limits.new_per_second",
	"limits.new.burst":                    "limits.new_burst",
	"limits.new_per_client.per_second":    "limits.new_per_second_per_client",
	"limits.new_per_client.burst":         "limits.new_burst_per_client",
	"limits.resets_per_client.per_second": "limits.resets_per_second_per_client",
	"limits.open":                         "limits.connections",
	"limits.open_per_client":              "limits.connections_per_client",
	"limits.strict":                       "limits.invalid: drop",
	"source4":                             "source",
	"source6":                             "source",
}

// keyText is a key as it is in the configuration, without the unit that JSON has
// in it.
func keyText(path string) string {
	path = strings.TrimSuffix(path, "_ns")
	return cmp.Or(configKeys[path], path)
}

// valueText is a value as people write it; like tells what kind of value is
// missing.
func valueText(path string, v, like any) string {
	switch v := v.(type) {
	case nil:
		switch like.(type) {
		case bool:
			return "false"
		case json.Number:
			return "0"
		}
		return absent
	case json.Number:
		if n, err := v.Int64(); err == nil && strings.HasSuffix(path, "_ns") {
			return durationText(time.Duration(n))
		}
		return v.String()
	case string:
		if path == "lua" && v != "" {
			return scriptText(v)
		}
		return cmp.Or(v, absent)
	}
	return fmt.Sprint(v)
}

// scriptText is a script of a policy in a few words, others for another script.
func scriptText(script string) string {
	sum := sha256.Sum256([]byte(script))
	return fmt.Sprintf("a script of %s, %x", plural(strings.Count(strings.TrimSuffix(script, "\n"), "\n")+1, "line"), sum[:6])
}

// durationText is a time without the zero parts that time.Duration prints.
func durationText(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
