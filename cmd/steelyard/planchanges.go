// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/config"
)

// The kinds of things that a plan changes, and what becomes of them.
const (
	kindService = "service"
	kindProbe   = "probe"
	kindPolicy  = "policy"
	kindSetting = "setting"

	actionAdded   = "added"
	actionRemoved = "removed"
	actionChanged = "changed"
)

// A planChange is what becomes of one thing of the configuration.
type planChange struct {
	Kind   string      `json:"kind"` // service, probe, policy or setting
	Name   string      `json:"name"`
	Action string      `json:"action"`         // added, removed or changed
	Text   string      `json:"text,omitempty"` // of what is added, in a few words
	Keys   []keyChange `json:"keys,omitempty"`
}

// A keyChange is one key that differs. An element that joins a list has no from,
// and one that leaves it no to.
type keyChange struct {
	Key  string `json:"key"`
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
}

// weighs reports whether the change may move weights.
func (c planChange) weighs() bool {
	return c.Kind == kindService && (c.Action == actionAdded || slices.ContainsFunc(c.Keys, func(k keyChange) bool {
		return strings.HasPrefix(k.Key, "backends") || strings.HasPrefix(k.Key, "policy") || strings.HasPrefix(k.Key, "params") ||
			strings.HasPrefix(k.Key, "shaping") || k.Key == "min_up"
	}))
}

// planChanges compares a configuration with the one in force.
func planChanges(f core.InForce, cfg *config.Config) []planChange {
	var list []planChange
	services, probes, policies := map[string]any{}, map[string]any{}, map[string]any{}
	newServices, newProbes, newPolicies := map[string]any{}, map[string]any{}, map[string]any{}
	for i := range f.Services {
		services[f.Services[i].Name] = &f.Services[i]
	}
	for i := range cfg.Services {
		newServices[cfg.Services[i].Name] = &cfg.Services[i]
	}
	for name, p := range f.Probes {
		probes[name] = p
	}
	for name, p := range cfg.Probes {
		newProbes[name] = p
	}
	for _, p := range f.Policies {
		policies[p.Name] = p
	}
	for _, p := range cfg.Policies {
		newPolicies[p.Name] = p
	}
	list = append(list, compareAll(kindService, services, newServices)...)
	list = append(list, compareAll(kindProbe, probes, newProbes)...)
	list = append(list, compareAll(kindPolicy, policies, newPolicies)...)
	if f.Plan.LocalClients != cfg.Kernel.LocalClients {
		list = append(list, setting("kernel.local_clients", fmt.Sprint(f.Plan.LocalClients), fmt.Sprint(cfg.Kernel.LocalClients)))
		list[len(list)-1].Kind = "kernel"
	}
	now := settings(cfg)
	for _, key := range slices.Sorted(maps.Keys(now)) {
		if from := f.Settings[key]; from != now[key] {
			list = append(list, setting(key, from, now[key]))
		}
	}
	return list
}

func setting(key, from, to string) planChange {
	return planChange{Kind: kindSetting, Name: key, Action: actionChanged,
		Keys: []keyChange{{key, cmp.Or(from, absent), cmp.Or(to, absent)}}}
}

// compareAll compares things by their names.
func compareAll(kind string, from, to map[string]any) (list []planChange) {
	all := maps.Clone(from)
	maps.Copy(all, to)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		was, had := from[name]
		is, has := to[name]
		c := planChange{Kind: kind, Name: name, Action: actionChanged}
		switch {
		case !had:
			c.Action, c.Text = actionAdded, describeNew(is)
		case !has:
			c.Action = actionRemoved
		default:
			d := keyDiff{}
			d.compare("", tree(was), tree(is))
			if c.Keys = d.list; len(c.Keys) == 0 {
				continue
			}
		}
		list = append(list, c)
	}
	return list
}

func describeNew(v any) string {
	switch v := v.(type) {
	case *core.Service:
		return serviceText(v)
	case core.ProbeSpec:
		return fmt.Sprintf("%s, every %s", v.Type, v.Interval)
	case core.PolicySpec:
		return v.Path
	}
	return ""
}

// serviceText is a service in a few words.
func serviceText(s *core.Service) string {
	front := s.First().String()
	if n := len(s.Frontends) - 1; n > 0 {
		front += fmt.Sprintf(" +%d", n)
	}
	return fmt.Sprintf("%s, policy %s, %s", front, s.Policy, plural(len(s.Backends), "backend"))
}

// tree is a value as JSON has it, secrets masked.
func tree(v any) (out any) {
	data, err := json.Marshal(v)
	if err == nil {
		d := json.NewDecoder(bytes.NewReader(data))
		d.UseNumber()
		err = d.Decode(&out)
	}
	if err != nil {
		return err.Error() // a NaN, which no configuration lets through
	}
	return out
}

// A keyDiff collects what differs between two trees.
type keyDiff struct{ list []keyChange }

// absent stands for a value that is not set.
const absent = "none"

func (d *keyDiff) compare(path string, from, to any) {
	a, aMap := from.(map[string]any)
	b, bMap := to.(map[string]any)
	la, aList := from.([]any)
	lb, bList := to.([]any)
	switch {
	case aMap && (bMap || to == nil), bMap && from == nil:
		d.compareMaps(path, a, b)
	case aList && (bList || to == nil), bList && from == nil:
		d.compareLists(path, la, lb)
	case valueText(path, from, to) != valueText(path, to, from):
		d.list = append(d.list, keyChange{keyText(path), valueText(path, from, to), valueText(path, to, from)})
	}
}

func (d *keyDiff) compareMaps(path string, from, to map[string]any) {
	all := maps.Clone(from)
	if all == nil {
		all = map[string]any{}
	}
	maps.Copy(all, to)
	for _, key := range slices.Sorted(maps.Keys(all)) {
		sub := key
		if path != "" {
			sub = path + "." + key
		}
		d.compare(sub, from[key], to[key])
	}
}

// compareLists takes lists for sets. Elements that have names are compared key by
// key.
func (d *keyDiff) compareLists(path string, from, to []any) {
	a, b := byName(from), byName(to)
	for _, name := range slices.Sorted(maps.Keys(merged(a, b))) {
		was, had := a[name]
		is, has := b[name]
		key := keyText(path)
		element := is
		if !has {
			element = was
		}
		_, named := nameOf(element)
		if named {
			key += "." + name
		}
		switch {
		case !had:
			d.list = append(d.list, keyChange{Key: key, To: elementText(is)})
		case !has:
			d.list = append(d.list, keyChange{Key: key, From: elementText(was)})
		case named:
			d.compare(path+"."+name, was, is)
		}
	}
}

func merged(a, b map[string]any) map[string]any {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// byName are the elements of a list by what tells them apart.
func byName(list []any) map[string]any {
	out := make(map[string]any, len(list))
	for _, v := range list {
		name, ok := nameOf(v)
		if !ok {
			name = elementText(v)
		}
		out[name] = v
	}
	return out
}

// nameOf is the name of an element: a backend's, or the client of a pin.
func nameOf(v any) (string, bool) {
	m, ok := v.(map[string]any)
	if !ok {
		return "", false
	}
	for _, key := range []string{"name", "client"} {
		if name, ok := m[key].(string); ok {
			return name, true
		}
	}
	return "", false
}
