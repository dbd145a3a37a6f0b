// SPDX-License-Identifier: Apache-2.0

package config

import (
	"strconv"
	"strings"
)

// require notes what is required and missing in the merged tree, and what does
// not belong to a probe's type.
func (l *loader) require(k *key, m map[string]any, path string) {
	keys := k.keys
	switch k.kind {
	case kMap:
		for name, sub := range m {
			if l.ps.full() {
				return
			}
			l.require(k.elem, asMap(sub), join(path, name))
		}
		return
	case kNumbers, kPins, kNamed:
		return
	case kVariant:
		v := l.variantOf(k, m, path)
		if v == nil {
			return
		}
		keys = v.keys
	}
	for i := range keys {
		l.requireKey(k, &keys[i], m, path)
	}
}

func (l *loader) requireKey(parent, k *key, m map[string]any, path string) {
	v, set := m[k.name]
	if k.required && (!set || k.kind == kMap && len(asMap(v)) == 0) && !l.spoiltBelow(join(path, k.name)) {
		l.missing(parent, k, path)
	}
	if set && !k.scalar() {
		l.require(k, asMap(v), join(path, k.name))
	}
}

// fill puts the constant defaults into a tree, for View: what a service does
// not say is made up by decode, and of 10,000 services it would be millions of
// words.
func fill(k *key, m map[string]any) {
	keys := k.keys
	switch k.kind {
	case kMap:
		for _, sub := range m {
			fill(k.elem, sub.(map[string]any))
		}
		return
	case kNumbers, kPins, kNamed:
		return
	case kVariant:
		keys = k.variant(m["type"].(string)).keys
	}
	for i := range keys {
		k := &keys[i]
		_, set := m[k.name]
		if !k.scalar() && !set {
			m[k.name] = map[string]any{}
		}
		switch {
		case !k.scalar():
			fill(k, m[k.name].(map[string]any))
		case !set && k.def != "":
			m[k.name] = k.defaultValue()
		}
	}
}

func (l *loader) missing(parent, k *key, path string) {
	what := path[strings.LastIndex(path, ".")+1:]
	if k.kind == kMap {
		l.spoil(l.at(path), join(path, k.name), "name at least one below "+k.name, "%s has no %s", what, k.name)
		return
	}
	hint := k.doc
	if k.kind == kWord {
		hint = "one of " + strings.Join(k.enum, ", ")
	}
	l.spoil(l.at(path), join(path, k.name), hint, "%s has no %q", what, k.name)
}

// markSpoilt remembers that path has a problem.
func (l *loader) markSpoilt(path string) {
	for l.spoilt[path] = true; path != "" && !l.spoiltUnder[path]; {
		l.spoiltUnder[path] = true
		path = path[:max(0, strings.LastIndexByte(path, '.'))]
	}
}

// spoiltBelow reports whether path or anything inside it has a problem.
func (l *loader) spoiltBelow(path string) bool { return l.spoilt[path] || l.spoiltUnder[path] }

// variantOf finds the keys for the type in m; nil, and noted, if there are none.
func (l *loader) variantOf(k *key, m map[string]any, path string) *variant {
	typ, _ := m["type"].(string)
	v := k.variant(typ)
	if v == nil {
		if !l.spoilt[join(path, "type")] {
			l.missing(k, find(k.variants[0].keys, "type"), path)
		}
		return nil
	}
	for name, val := range m {
		if val == nil || find(v.keys, name) != nil {
			continue
		}
		at := join(path, name)
		l.spoil(l.places[at].key, at, k.belongs(name), "a probe of type %s has no %q", typ, name)
		delete(m, name)
	}
	return v
}

// belongs says which types have a key of that name.
func (k *key) belongs(name string) string {
	var with, without []string
	for i := range k.variants {
		if v := &k.variants[i]; find(v.keys, name) != nil {
			with = append(with, v.name)
		} else {
			without = append(without, v.name)
		}
	}
	if len(without) < len(with)/2 {
		return "it belongs to every type but " + list(without)
	}
	return "it belongs to " + list(with)
}

// list joins words as a sentence does.
func list(words []string) string {
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
	return strings.Join(words, "")
}

// at is where path was set, or the nearest of the maps around it.
func (l *loader) at(path string) pos {
	for path != "" {
		if p, ok := l.places[path]; ok {
			return p.val
		}
		path = path[:max(strings.LastIndex(path, "."), 0)]
	}
	return nowhere(0, l.opts.Path)
}

// defaultValue is the default as check would have returned it.
func (k *key) defaultValue() any {
	if k.kind == kList {
		out := []any{}
		for _, word := range strings.Split(strings.Trim(k.def, "[]"), ",") {
			if word = strings.Trim(word, `" `); word != "" {
				out = append(out, word)
			}
		}
		return out
	}
	def := k.def
	if s, err := strconv.Unquote(def); err == nil {
		def = s
	}
	out, why, _ := scalar(&key{kind: k.kind, enum: k.enum, min: k.min, max: k.max}, value{shape: isLoose, text: def})
	if why != "" {
		panic("default of " + k.name + ": " + why) // a bug of the table
	}
	return out
}
