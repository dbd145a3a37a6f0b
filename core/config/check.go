// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
)

// check compares one layer's value with its row of the table. It returns the
// value as it is to be merged: maps by name, lists, strings, int, float64 and
// bool, and nil for one of these that has a problem. It reports false if there is nothing to
// merge.
func (l *loader) check(k *key, v value, path string) (any, bool) {
	switch k.kind {
	case kObject, kVariant, kMap, kNumbers, kPins, kNamed:
		return l.checkMap(k, v, path)
	case kList:
		return l.checkList(k, v, path)
	}
	if v.shape == isNull {
		return "null", k.asIs
	}
	out, why, hint := scalar(k, v)
	if why != "" {
		l.spoil(v.at, path, hint, "%s", why)
		return nil, false
	}
	return out, true
}

// spoil notes a problem of the value at path and that no more need be said of it.
func (l *loader) spoil(at pos, path, hint, format string, args ...any) {
	l.markSpoilt(path)
	l.ps.add(at, path, hint, format, args...)
}

func (l *loader) checkMap(k *key, v value, path string) (any, bool) {
	out := map[string]any{}
	if v.shape == isNull {
		return out, true // "services:" and nothing below it is an empty map
	}
	v = k.flipped(v)
	if v.shape != isMap {
		want, hint := k.kind.String(), aloneHint(k, v, path)
		if k.flip != "" {
			want, hint = "true, false or "+want, cmp.Or(truth(v), hint)
		}
		l.spoil(v.at, path, hint, "got %s, want %s", v.shape, want)
		return nil, false
	}
	for _, p := range v.pairs {
		if l.ps.full() {
			break
		}
		at := join(path, p.key)
		child := l.childOf(k, p, path)
		if child == nil {
			if n := core.Nearest(p.key, k.children()); n != "" && k.child(n).scalar() && out[n] == nil {
				out[n] = nil
			}
			continue
		}
		l.note(at, p, child)
		if clean, ok := l.check(child, p.val, at); ok {
			out[p.key] = clean
		} else if child.scalar() && l.spoilt[at] {
			out[p.key] = nil
		}
	}
	return out, true
}

// flipped is the value, or what a plain true or false in the place of a map stands for.
func (k *key) flipped(v value) value {
	if k.flip == "" || v.shape != isBool && (v.shape != isLoose || v.text != "true" && v.text != "false") {
		return v
	}
	return value{at: v.at, shape: isMap, pairs: []pair{{key: k.flip, at: v.at, val: v}}}
}

// naming is what the names of a map must look like.
func (k *key) naming() (pattern *regexp.Regexp, hint string) {
	if k.pattern != nil {
		return k.pattern, k.hint
	}
	return namePattern, nameHint
}

// note remembers where path was set. A map keeps the place where it began.
func (l *loader) note(path string, p pair, k *key) {
	if _, ok := l.places[path]; ok && !k.scalar() {
		return
	}
	if !k.scalar() || k.kind == kSecret || p.val.shape == isNull {
		p.val.at = p.at
	}
	l.places[path] = place{p.at, p.val.at}
}

// childOf finds the row for a key, or notes that there is none.
func (l *loader) childOf(k *key, p pair, path string) *key {
	switch k.kind {
	case kMap, kNamed:
		pattern, hint := k.naming()
		if !pattern.MatchString(p.key) {
			l.spoil(p.at, join(path, p.key), cmp.Or(oneOf(p.key, k.enum), hint), "%q is no name", keyName(p.key))
			return nil
		}
	case kNumbers:
		if !paramPattern.MatchString(p.key) {
			l.spoil(p.at, join(path, p.key), "a-z, 0-9 and _, and a letter first", "%q is no parameter name", keyName(p.key))
			return nil
		}
	}
	c := k.child(p.key)
	if c == nil {
		l.unknown(p.at, path, p.key, k)
	}
	return c
}

// unknown notes a key that nobody knows. The key it was probably meant for is
// spoilt too: it is not missing, it is misspelt.
func (l *loader) unknown(at pos, path, name string, k *key) {
	if m, ok := k.foreignKey(name); ok {
		if m.beside != "" {
			l.markSpoilt(join(path, m.beside))
		}
		hint := m.example
		if !strings.HasPrefix(hint, "leave ") {
			hint = "write " + hint
		}
		l.spoil(at, join(path, name), hint, "unknown key %q", keyName(name))
		return
	}
	if n := core.Nearest(name, k.children()); n != "" {
		l.markSpoilt(join(path, n))
		l.spoil(at, join(path, name), "did you mean "+strconv.Quote(n)+"?", "unknown key %q", keyName(name))
		return
	}
	hint := ""
	if other := homes(&table, name, ""); len(other) > 0 {
		hint = "it is a key of " + strings.Join(other, " and of ")
	} else {
		hint = cmp.Or(oneOf(name, k.children()), "`steelyard config reference` has all that there are")
	}
	l.spoil(at, join(path, name), hint, "unknown key %q", keyName(name))
}

// homes are the places of the table that know a key of that name.
func homes(k *key, name, path string) []string {
	var found []string
	switch k.kind {
	case kMap:
		return homes(k.elem, name, join(path, "NAME"))
	case kList:
		return homes(k.elem, name, path)
	case kVariant:
		for i := range k.variants {
			if find(k.variants[i].keys, name) != nil {
				found = append(found, path+" of type "+k.variants[i].name)
			}
		}
		for i := range k.variants {
			found = append(found, homesInside(k.variants[i].keys, name, path)...)
		}
		return unique(found)
	}
	if path != "" && find(k.keys, name) != nil {
		found = append(found, path)
	}
	return append(found, homesInside(k.keys, name, path)...)
}

func homesInside(keys []key, name, path string) (found []string) {
	for i := range keys {
		found = append(found, homes(&keys[i], name, join(path, keys[i].name))...)
	}
	return found
}

// unique are the words in their order, each once.
func unique(words []string) []string {
	var out []string
	for _, w := range words {
		if !slices.Contains(out, w) {
			out = append(out, w)
		}
	}
	return out
}

func (l *loader) checkList(k *key, v value, path string) (any, bool) {
	switch v.shape {
	case isNull:
		return nil, false
	case isLoose: // in a variable, items are separated by commas
		for _, word := range strings.Split(v.text, ",") {
			if word = strings.TrimSpace(word); word != "" {
				v.items = append(v.items, value{at: v.at, shape: isLoose, text: word})
			}
		}
	case isList:
	case isText, isInt, isFloat, isBool:
		if k.one {
			clean, ok := l.check(k.elem, v, path)
			return []any{clean}, ok
		}
		fallthrough
	default:
		hint := "write it in brackets: [a, b]"
		if words := strings.Fields(v.text); v.shape == isText && len(words) > 1 && !slices.ContainsFunc(words, func(w string) bool { return !commandWord.MatchString(w) }) {
			hint = "write it in brackets: [" + strings.Join(words, ", ") + "]"
		}
		if k.elem.kind == kObject {
			hint = "write it in brackets: [{…}, {…}]"
		}
		l.spoil(v.at, path, hint, "got %s, want a list", v.shape)
		return nil, false
	}
	out := []any{}
	for i, item := range v.items {
		if l.ps.full() {
			break
		}
		at := join(path, strconv.Itoa(i))
		l.places[at] = place{item.at, item.at}
		if clean, ok := l.check(k.elem, item, at); ok {
			out = append(out, clean)
		} else {
			// A hole keeps the numbers of the items, by which their places are known.
			out = append(out, "")
			l.markSpoilt(at)
		}
	}
	return out, true
}
