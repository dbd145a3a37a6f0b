// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
)

// View is the effective configuration, defaults included, with a word in the
// place of each secret. Durations are text, as in the file. It is nil unless
// Options.KeepView was set: of 10,000 services it takes 100 MB.
func (c *Config) View() map[string]any {
	if c.tree == nil {
		return nil
	}
	return redact(&table, c.tree).(map[string]any)
}

// redact copies a tree without its secrets.
func redact(k *key, v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, sub := range v {
			out[name] = redact(k.child(name), sub)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, sub := range v {
			out[i] = redact(k.elem, sub)
		}
		return out
	case string:
		if k.kind == kSecret {
			return core.Secret(v).String()
		}
		return userInfo.ReplaceAllString(v, "://"+hidden+"@")
	}
	return v
}

// complete writes the defaults into the tree, those that are not constants too.
func (c *Config) complete() {
	fill(&table, c.tree)
	c.tree["node"] = c.Node
	if !c.Cluster.Alone() {
		c.tree["cluster"].(map[string]any)["quorum"] = c.Cluster.Quorum
	}
	c.completeProbes(c.tree["probes"].(map[string]any))
	services := c.tree["services"].(map[string]any)
	for i := range c.Services {
		s := &c.Services[i]
		service := services[s.Name].(map[string]any)
		service["distribution"], service["hash"] = string(s.Distribution), string(s.HashKey)
		shaping := service["shaping"].(map[string]any)
		shaping["floor"], shaping["step"] = s.Shaping.Floor, s.Shaping.Step
		if s.FlowTimeout > 0 {
			service["flow_timeout"] = short(s.FlowTimeout)
		}
		backends := service["backends"].(map[string]any)
		for _, be := range s.Backends {
			if !be.Sorry {
				backends[be.Name].(map[string]any)["port"] = int(be.Addr.Port())
			}
		}
	}
}

// completeProbes writes the defaults of probes that are not constants.
func (c *Config) completeProbes(tree map[string]any) {
	for name, p := range c.Probes {
		probe := tree[name].(map[string]any)
		t, has := probe["tls"].(map[string]any)
		if has {
			t["enabled"] = p.TCP.TLS.Enabled || p.HTTP.TLS.Enabled || p.GRPC.TLS.Enabled || p.Prometheus.TLS.Enabled
		}
		if p.Rise > 0 {
			probe["fast_interval"], probe["down_interval"] = short(cmp.Or(p.FastInterval, p.Interval)), short(cmp.Or(p.DownInterval, p.Interval))
		}
	}
}

// YAML is the view as a file, in the order of the table. With origin, a comment
// behind each value says where it comes from.
func (c *Config) YAML(origin bool) []byte {
	var b bytes.Buffer
	e := emitter{w: &b, note: func(string) string { return "" }}
	if origin {
		e.note = func(path string) string {
			if p, ok := c.places[path]; ok {
				return p.val.ref()
			}
			return "default"
		}
	}
	e.object(&table, c.View(), "", 0)
	return b.Bytes()
}

// An emitter writes trees as YAML.
type emitter struct {
	w    *bytes.Buffer
	note func(path string) string // the comment behind a value; empty: none
}

func (e *emitter) object(k *key, m map[string]any, path string, depth int) {
	order := k.children()
	if len(order) == 0 {
		order = slices.Sorted(maps.Keys(m))
	}
	for _, name := range order {
		v, ok := m[name]
		if !ok {
			continue
		}
		e.entry(k.child(name), name, v, join(path, name), depth)
	}
}

func (e *emitter) entry(k *key, name string, v any, path string, depth int) {
	pad := strings.Repeat("  ", depth)
	if sub, ok := v.(map[string]any); ok && len(sub) > 0 {
		e.w.WriteString(pad + word(name) + ":\n")
		e.object(k, sub, path, depth+1)
		return
	}
	e.w.WriteString(pad + word(name) + ": " + inline(k, v))
	if n := e.note(path); n != "" {
		e.w.WriteString("  # " + n)
	}
	e.w.WriteString("\n")
}

// inline writes a value on one line.
func inline(k *key, v any) string {
	switch v := v.(type) {
	case map[string]any:
		return flow(k, v)
	case []any:
		if k.one && len(v) == 1 {
			return inline(k.elem, v[0])
		}
		words := make([]string, len(v))
		for i := range v {
			words[i] = inline(k.elem, v[i])
		}
		return "[" + strings.Join(words, ", ") + "]"
	case string:
		if _, err := strconv.ParseUint(v, 10, 32); k.numeric && err == nil {
			return v
		}
		return word(v)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case int:
		return strconv.Itoa(v)
	case bool:
		return strconv.FormatBool(v)
	}
	return "null"
}

// flow writes a map on one line, in the order of the table.
func flow(k *key, m map[string]any) string {
	var words []string
	for _, name := range k.children() {
		if v, ok := m[name]; ok {
			words = append(words, word(name)+": "+inline(k.child(name), v))
		}
	}
	return "{" + strings.Join(words, ", ") + "}"
}

// word writes text plain where YAML reads that back as the same text.
func word(s string) string {
	switch strings.ToLower(s) {
	case "true", "false", "null", "yes", "no", "on", "off":
		return strconv.Quote(s)
	}
	if plainWord.MatchString(s) {
		return s
	}
	return strconv.Quote(s)
}
