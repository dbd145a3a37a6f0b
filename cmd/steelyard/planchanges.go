// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/config"
)

// weighs reports whether the change may move weights.
func weighs(c core.ConfigChange) bool {
	return c.Kind == core.KindService && (c.Action == core.ActionAdded || slices.ContainsFunc(c.Keys, func(k core.KeyChange) bool {
		return strings.HasPrefix(k.Key, "backends") || strings.HasPrefix(k.Key, "policy") || strings.HasPrefix(k.Key, "params") ||
			strings.HasPrefix(k.Key, "shaping") || k.Key == "min_up"
	}))
}

// planChanges compares a configuration with the one in force; the list is empty
// and not nil if they are the same. With secrets, both have theirs, which crossed no
// socket.
func planChanges(f core.InForce, cfg *config.Config, secrets bool) []core.ConfigChange {
	list := []core.ConfigChange{}
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
	list = append(list, compareAll(core.KindService, services, newServices, secrets)...)
	list = append(list, compareAll(core.KindProbe, probes, newProbes, secrets)...)
	list = append(list, compareAll(core.KindPolicy, policies, newPolicies, secrets)...)
	if f.Plan.LocalClients != cfg.Kernel.LocalClients {
		list = append(list, setting(core.KindKernel, "kernel.local_clients", fmt.Sprint(f.Plan.LocalClients), fmt.Sprint(cfg.Kernel.LocalClients)))
	}
	if now := offloadDevices(cfg); !slices.Equal(f.Plan.OffloadDevices, now) {
		list = append(list, setting(core.KindKernel, "kernel.offload_devices", strings.Join(f.Plan.OffloadDevices, " "), strings.Join(now, " ")))
	}
	list = append(list, compareAll(core.KindMaintenance, windowsByName(f.Maintenance), windowsByName(cfg.Maintenance), secrets)...)
	for _, r := range [][3]string{
		{"probing.suspect_for", f.Probing.SuspectFor.String(), cfg.Probing.SuspectFor.String()},
		{"probing.suspect_min", fmt.Sprint(f.Probing.SuspectMin), fmt.Sprint(cfg.Probing.SuspectMin)},
		{"probing.suspect_ratio", fmt.Sprint(f.Probing.SuspectRatio), fmt.Sprint(cfg.Probing.SuspectRatio)},
	} {
		if r[1] != r[2] {
			list = append(list, setting(core.KindProbing, r[0], r[1], r[2]))
		}
	}
	now := settings(cfg)
	keys := maps.Clone(now)
	maps.Copy(keys, f.Settings) // of what is no longer set
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if from := f.Settings[key]; from != now[key] {
			list = append(list, setting(core.KindSetting, key, from, now[key]))
		}
	}
	return list
}

func windowsByName(list []core.Maintenance) map[string]any {
	out := map[string]any{}
	for _, m := range list {
		out[m.Name] = m
	}
	return out
}

func setting(kind, key, from, to string) core.ConfigChange {
	return core.ConfigChange{Kind: kind, Name: key, Action: core.ActionChanged,
		Keys: []core.KeyChange{{Key: key, From: cmp.Or(from, absent), To: cmp.Or(to, absent)}}}
}

// compareAll compares things by their names.
func compareAll(kind string, from, to map[string]any, secrets bool) (list []core.ConfigChange) {
	all := maps.Clone(from)
	maps.Copy(all, to)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		was, had := from[name]
		is, has := to[name]
		c := core.ConfigChange{Kind: kind, Name: name, Action: core.ActionChanged}
		switch {
		case !had:
			c.Action, c.Text = core.ActionAdded, describeNew(is)
		case !has:
			c.Action = core.ActionRemoved
		case reflect.DeepEqual(was, is):
			continue
		default:
			d := keyDiff{}
			d.compare("", tree(was), tree(is))
			c.Keys = d.list
			switch {
			case len(c.Keys) > 0:
			case secrets:
				c.Text = "a secret" // all else would show
			default:
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
	case core.Maintenance:
		return strings.Join(v.Backends, ", ")
	case core.ProbeSpec:
		return fmt.Sprintf("%s, every %s", v.Type, v.Interval)
	case core.PolicySpec:
		if v.Lua != "" {
			return scriptText(v.Lua)
		}
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
	policy := s.Policy
	if s.Shadow != "" {
		policy += ", shadow " + s.Shadow
	}
	return fmt.Sprintf("%s, policy %s, %s", front, policy, plural(len(s.Backends), "backend"))
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
type keyDiff struct{ list []core.KeyChange }

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
		d.list = append(d.list, core.KeyChange{Key: keyText(path), From: valueText(path, from, to), To: valueText(path, to, from)})
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
			d.list = append(d.list, core.KeyChange{Key: key, To: elementText(is)})
		case !has:
			d.list = append(d.list, core.KeyChange{Key: key, From: elementText(was)})
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
