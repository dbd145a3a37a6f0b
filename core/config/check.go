// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// check compares one layer's value with its row of the table. It returns the
// value as it is to be merged: maps by name, lists, strings, int, float64 and
// bool, and nil for one of these that has a problem. It reports false if there is nothing to
// merge.
func (l *loader) check(k *key, v value, path string) (any, bool) {
	switch k.kind {
	case kObject, kVariant, kMap, kNumbers, kPins:
		return l.checkMap(k, v, path)
	case kList:
		return l.checkList(k, v, path)
	}
	if v.shape == isNull {
		return nil, false
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
	l.spoilt[path] = true
	l.ps.add(at, path, hint, format, args...)
}

func (l *loader) checkMap(k *key, v value, path string) (any, bool) {
	out := map[string]any{}
	if v.shape == isNull {
		return out, true // "services:" and nothing below it is an empty map
	}
	if v.shape != isMap {
		l.spoil(v.at, path, aloneHint(k, v, path), "got %s, want %s", v.shape, k.kind)
		return nil, false
	}
	for _, p := range v.pairs {
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
	case kMap:
		if !namePattern.MatchString(p.key) {
			l.spoil(p.at, join(path, p.key), nameHint, "%q is no name", keyName(p.key))
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
			l.spoilt[join(path, m.beside)] = true
		}
		l.spoil(at, join(path, name), "write "+m.example, "unknown key %q", keyName(name))
		return
	}
	if n := core.Nearest(name, k.children()); n != "" {
		l.spoilt[join(path, n)] = true
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
	if k.kind == kMap {
		return homes(k.elem, name, join(path, "NAME"))
	}
	if k.kind == kVariant {
		for i := range k.variants {
			if find(k.variants[i].keys, name) != nil {
				found = append(found, path+" of type "+k.variants[i].name)
			}
		}
		return found
	}
	if path != "" && find(k.keys, name) != nil {
		found = append(found, path)
	}
	for i := range k.keys {
		found = append(found, homes(&k.keys[i], name, join(path, k.keys[i].name))...)
	}
	return found
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
		l.spoil(v.at, path, "write it in brackets: [a, b]", "got %s, want a list", v.shape)
		return nil, false
	}
	out := []any{}
	for i, item := range v.items {
		at := join(path, strconv.Itoa(i))
		l.places[at] = place{item.at, item.at}
		if clean, ok := l.check(k.elem, item, at); ok {
			out = append(out, clean)
		} else {
			// A hole keeps the numbers of the items, by which their places are known.
			out = append(out, "")
			l.spoilt[at] = true
		}
	}
	return out, true
}

// scalar turns a word into what its key wants, or says why it is not that.
func scalar(k *key, v value) (out any, why, hint string) {
	if v.shape == isList || v.shape == isMap {
		return nil, fmt.Sprintf("got %s, want %s", v.shape, k.kind), ""
	}
	switch k.kind {
	case kText, kSecret:
		return text(k, v)
	case kWord:
		if !slices.Contains(k.enum, v.text) {
			return nil, fmt.Sprintf("%q is not one of %s", v.text, strings.Join(k.enum, ", ")), cmp.Or(foreignValue(k.aliases, v.text), didYouMean(v.text, k.enum))
		}
		return v.text, "", ""
	case kBool:
		if (v.shape == isBool || v.shape == isLoose) && (v.text == "true" || v.text == "false") {
			return v.text == "true", "", ""
		}
	case kInt:
		n, err := strconv.Atoi(v.text)
		if (v.shape == isInt || v.shape == isLoose) && err == nil {
			return n, outside(k, float64(n)), ""
		}
		if v.shape == isInt {
			return nil, "the number is too large", ""
		}
	case kNumber:
		if k.truth && (v.shape == isBool || v.shape == isLoose) && (v.text == "true" || v.text == "false") {
			return map[string]float64{"true": 1}[v.text], "", ""
		}
		f, err := strconv.ParseFloat(v.text, 64)
		if (v.shape == isInt || v.shape == isFloat || v.shape == isLoose) && err == nil && !math.IsNaN(f) && !math.IsInf(f, 0) {
			return f, outside(k, f), ""
		}
	case kDuration:
		return duration(k, v)
	}
	return nil, fmt.Sprintf("got %s, want %s", described(v), k.kind), quoted(v, k)
}

// text takes what is written as text. A plain number is refused: 007 and 1e3
// would not come out as they went in.
func text(k *key, v value) (any, string, string) {
	if n, err := strconv.ParseUint(v.text, 10, 63); k.numeric && err == nil && v.shape != isBool && v.shape != isFloat {
		return v.text, outside(k, float64(n)), k.hint
	}
	if v.shape != isText && v.shape != isLoose {
		hint := "put it in quotes"
		if k.pattern != nil && !k.pattern.MatchString(v.text) {
			hint = k.hint // quotes alone would not do
		}
		return nil, fmt.Sprintf("got %s, want text", v.shape), hint
	}
	if k.pattern != nil && !k.pattern.MatchString(v.text) {
		return nil, fmt.Sprintf("%q cannot be used here", v.text), k.hint
	}
	if strings.ContainsRune(v.text, 0) {
		return nil, "a NUL character cannot stand here", ""
	}
	return v.text, "", ""
}

func duration(k *key, v value) (any, string, string) {
	d, err := time.ParseDuration(v.text)
	if v.shape == isBool || err != nil {
		if n, err := strconv.ParseFloat(v.text, 64); err == nil && v.shape != isBool && n > 0 {
			return nil, fmt.Sprintf("the duration %s has no unit", v.text), fmt.Sprintf("did you mean \"%ss\"?", v.text)
		}
		return nil, fmt.Sprintf("got %s, want %s", described(v), k.kind), "units are ms, s, m and h"
	}
	low, high := time.Duration(k.min*float64(time.Second)), time.Duration(k.max*float64(time.Second))
	if d < low || d > high {
		return nil, fmt.Sprintf("%s is outside %s to %s", v.text, short(low), short(high)), ""
	}
	return short(d), "", ""
}

// short is the duration without its zero parts: 1m, not 1m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func outside(k *key, n float64) string {
	if n >= k.min && n <= k.max {
		return ""
	}
	format := func(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
	return fmt.Sprintf("%s is outside %s to %s", format(n), format(k.min), format(k.max))
}

// described is the shape of a value, and the value if it is a word.
func described(v value) string {
	if v.shape == isText || v.shape == isLoose {
		return strconv.Quote(v.text)
	}
	return v.shape.String()
}

// quoted is the hint for a value that would do without its quotes.
func quoted(v value, k *key) string {
	if v.shape != isText {
		return ""
	}
	v.shape = isLoose
	if _, why, _ := scalar(k, v); why == "" {
		return "write it without quotes"
	}
	return ""
}
