// SPDX-License-Identifier: Apache-2.0

package abi

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// readManifest turns the text into a Manifest. It reads key by key, and not
// through struct tags, so that an error has its place and a key that is mistyped
// is one: a policy whose backend_slot is not understood would write beside its
// state.
func readManifest(b []byte) (Manifest, error) {
	var root any
	if err := json.Unmarshal(b, &root); err != nil {
		return Manifest{}, syntaxError(b, err)
	}
	r := &reader{}
	top := r.object("", root, "abi", "policies")
	m := Manifest{ABI: r.integer("", top, "abi")}
	for i, v := range r.list("", top, "policies") {
		m.Policies = append(m.Policies, r.policy(fmt.Sprintf("policies[%d]", i), v))
	}
	return m, r.err
}

// syntaxError shows where the JSON ends to be JSON.
func syntaxError(b []byte, err error) error {
	var bad *json.SyntaxError
	if !errors.As(err, &bad) {
		return err
	}
	at := min(max(int(bad.Offset), 0), len(b))
	return fmt.Errorf("%w, at byte %d of %d, behind %q", err, at, len(b), b[max(0, at-24):at])
}

// A reader takes values out of decoded JSON and keeps the first error. A path
// names the object that a key is looked up in.
type reader struct{ err error }

func (r *reader) fail(path, key, format string, args ...any) {
	if r.err != nil {
		return
	}
	place := strings.Trim(path+"."+key, ".")
	if place == "" {
		place = "the whole"
	}
	r.err = fmt.Errorf("%s: %s", place, fmt.Sprintf(format, args...))
}

func (r *reader) policy(path string, v any) PolicyInfo {
	o := r.object(path, v, "name", "about", "params", "reads", "metrics", "backend_slots", "service_slots", "state_version")
	p := PolicyInfo{
		Name: r.text(path, o, "name"), About: r.text(path, o, "about"),
		Reads: r.texts(path, o, "reads"), Metrics: r.texts(path, o, "metrics"),
		BackendSlots: r.integer(path, o, "backend_slots"), ServiceSlots: r.integer(path, o, "service_slots"),
		StateVersion: r.integer(path, o, "state_version"),
	}
	for i, q := range r.list(path, o, "params") {
		p.Params = append(p.Params, r.param(fmt.Sprintf("%s.params[%d]", path, i), q))
	}
	return p
}

func (r *reader) param(path string, v any) ParamInfo {
	o := r.object(path, v, "name", "about", "unit", "type", "default", "min", "max")
	p := ParamInfo{Name: r.text(path, o, "name"), About: r.text(path, o, "about"), Unit: r.text(path, o, "unit"),
		Type: TypeNumber, Min: -math.MaxFloat64, Max: math.MaxFloat64}
	if _, ok := o["type"]; ok {
		p.Type = r.text(path, o, "type")
	}
	if p.Type == TypeBoolean {
		p.Min, p.Max = 0, 1
		if on, ok := o["default"].(bool); ok {
			delete(o, "default")
			if on {
				p.Default = 1
			}
		}
	}
	for _, n := range [...]struct {
		key string
		to  *float64
	}{{"default", &p.Default}, {"min", &p.Min}, {"max", &p.Max}} {
		if _, ok := o[n.key]; ok {
			*n.to = r.number(path, o, n.key)
		}
	}
	return p
}

// object is v with no keys but these.
func (r *reader) object(path string, v any, keys ...string) map[string]any {
	o, ok := v.(map[string]any)
	if !ok {
		r.fail(path, "", "want an object {…}, got %s", kind(v))
		return nil
	}
	for _, key := range slices.Sorted(maps.Keys(o)) {
		if !slices.Contains(keys, key) {
			r.fail(path, key, "there is no such key: there are %s", strings.Join(keys, ", "))
		}
	}
	return o
}

func (r *reader) list(path string, o map[string]any, key string) []any {
	v, ok := o[key]
	if !ok {
		return nil
	}
	l, ok := v.([]any)
	if !ok {
		r.fail(path, key, "want a list […], got %s", kind(v))
		return nil
	}
	if l == nil {
		l = []any{}
	}
	return l
}

// texts is nil if the key is not there: an empty list says something else.
func (r *reader) texts(path string, o map[string]any, key string) []string {
	l := r.list(path, o, key)
	if l == nil {
		return nil
	}
	out := make([]string, 0, len(l))
	for i, v := range l {
		s, ok := v.(string)
		if !ok {
			r.fail(path, fmt.Sprintf("%s[%d]", key, i), "want a text, got %s", kind(v))
		}
		out = append(out, s)
	}
	return out
}

func (r *reader) text(path string, o map[string]any, key string) string {
	v, ok := o[key]
	if !ok {
		return ""
	}
	s, ok := v.(string)
	if !ok {
		r.fail(path, key, "want a text, got %s", kind(v))
	}
	return s
}

func (r *reader) number(path string, o map[string]any, key string) float64 {
	v, ok := o[key]
	if !ok {
		return 0
	}
	f, ok := v.(float64)
	if !ok {
		r.fail(path, key, "want a number, got %s", kind(v))
	}
	return f
}

// integer is at most 2^53, so that it is exact; its own range is checked later.
func (r *reader) integer(path string, o map[string]any, key string) int {
	f := r.number(path, o, key)
	if f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		r.fail(path, key, "want a whole number, got %g", f)
		return 0
	}
	return int(f)
}

func kind(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return fmt.Sprint(v)
	case float64:
		return fmt.Sprintf("the number %g", v)
	case string:
		return fmt.Sprintf("the text %q", v)
	case []any:
		return "a list"
	}
	return "an object"
}
