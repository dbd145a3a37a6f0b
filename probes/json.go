// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
)

// A jsonStep is one step of a path into a JSON value.
type jsonStep struct {
	key string // of an object, or an index of an array
	all bool   // every element of an array, every member of an object
}

// A jsonPath leads to values in a JSON document; the empty one is the document.
type jsonPath []jsonStep

// maxSteps bounds a path: deeper documents are no health pages.
const maxSteps = 64

// parsePath reads keys and indices with dots between them. A backslash takes the
// meaning from the character after it: `a\.b` is one key. A * alone is all elements.
func parsePath(s string) (jsonPath, error) {
	if s == "" {
		return nil, nil
	}
	var path jsonPath
	var key strings.Builder
	plain := true // the key so far holds no backslash
	finish := func() {
		k := key.String()
		path = append(path, jsonStep{key: k, all: plain && k == "*"})
		key.Reset()
		plain = true
	}
	escaped := false
	for _, r := range s {
		switch {
		case escaped:
			key.WriteRune(r)
			escaped = false
		case r == '\\':
			escaped, plain = true, false
		case r == '.':
			finish()
		default:
			key.WriteRune(r)
		}
	}
	if escaped {
		return nil, fmt.Errorf("path %q ends in a backslash", clip(s))
	}
	if finish(); len(path) > maxSteps {
		return nil, fmt.Errorf("path %q has more than %d steps", clip(s), maxSteps)
	}
	return path, nil
}

// A jsonValue is a value in a document. key tells those that a * found apart.
type jsonValue struct {
	key   uint64
	value any // as of encoding/json, with numbers as json.Number
}

// below is the value of a member or an element.
func (v jsonValue) below(name string, value any) jsonValue {
	// Not the way itself: that of each of many elements may hold one long key.
	at := struct {
		key  uint64
		name string
	}{v.key, name}
	return jsonValue{maphash.Comparable(keySeed, at), value}
}

// find is what the path leads to: nothing, one value, or with a * any number of them,
// in the order of an array or of the sorted keys.
func (p jsonPath) find(doc any) []jsonValue {
	found := []jsonValue{{value: doc}}
	for _, step := range p {
		var next []jsonValue
		for _, v := range found {
			next = append(next, step.from(v)...)
		}
		if found = next; len(found) == 0 {
			return nil
		}
	}
	return found
}

func (s jsonStep) from(v jsonValue) []jsonValue {
	switch inner := v.value.(type) {
	case map[string]any:
		if s.all {
			all := make([]jsonValue, 0, len(inner))
			for _, k := range slices.Sorted(maps.Keys(inner)) {
				all = append(all, v.below(k, inner[k]))
			}
			return all
		}
		if member, ok := inner[s.key]; ok {
			return []jsonValue{{v.key, member}}
		}
	case []any:
		if s.all {
			all := make([]jsonValue, len(inner))
			for i, element := range inner {
				all[i] = v.below(strconv.Itoa(i), element)
			}
			return all
		}
		if i, err := strconv.Atoi(s.key); err == nil && 0 <= i && i < len(inner) {
			return []jsonValue{{v.key, inner[i]}}
		}
	}
	return nil
}

// parseJSON reads a body that is one JSON value and nothing else.
func parseJSON(body []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber() // a float64 would make two large counters equal that are not
	var doc any
	if err := d.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("it is empty")
		}
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more follows the first value")
	}
	return doc, nil
}

// jsonText prints a value for people.
func jsonText(v any) string {
	switch v := v.(type) {
	case string:
		return fmt.Sprintf("%q", clip(v))
	case json.Number:
		return clip(v.String())
	case map[string]any:
		return "an object"
	case []any:
		return fmt.Sprintf("an array of %d", len(v))
	case nil:
		return "null"
	}
	return fmt.Sprint(v)
}

// A jsonRule is a core.JSONRule, ready to hold a document against.
type jsonRule struct {
	path jsonPath
	spec core.JSONRule
}

// jsonOps are the comparisons, by what cmp.Compare gives.
var jsonOps = map[string]func(int) bool{
	"==": func(c int) bool { return c == 0 },
	"!=": func(c int) bool { return c != 0 },
	"<":  func(c int) bool { return c < 0 },
	"<=": func(c int) bool { return c <= 0 },
	">":  func(c int) bool { return c > 0 },
	">=": func(c int) bool { return c >= 0 },
}

func parseJSONRule(r core.JSONRule) (jsonRule, error) {
	r.Op = cmp.Or(r.Op, "==")
	if jsonOps[r.Op] == nil {
		return jsonRule{}, fmt.Errorf("json rule for %q: operator %q, want one of == != < <= > >=", r.Path, r.Op)
	}
	path, err := parsePath(r.Path)
	if err != nil {
		return jsonRule{}, fmt.Errorf("json rule: %w", err)
	}
	return jsonRule{path: path, spec: r}, nil
}

func (r jsonRule) String() string {
	return fmt.Sprintf("%s %s %s", r.spec.Path, r.spec.Op, r.spec.Want)
}

// check says what the document holds and whether that is as the rule wants it: every
// value that the path leads to, and one at least.
func (r jsonRule) check(doc any) (is string, ok bool) {
	found := r.path.find(doc)
	if len(found) == 0 {
		return "not there", false
	}
	for _, f := range found {
		if !r.holds(f.value) {
			return jsonText(f.value), false
		}
	}
	return jsonText(found[0].value), true
}

// holds compares one value. Its own type decides how: two strings by their bytes. An
// object or an array holds no rule, and neither does a value of another type than Want,
// but for !=.
func (r jsonRule) holds(v any) bool {
	op, want := jsonOps[r.spec.Op], r.spec.Want
	switch v := v.(type) {
	case string:
		return op(cmp.Compare(v, want))
	case json.Number:
		if order, ok := compareNumbers(v.String(), want); ok {
			return op(order)
		}
		return r.spec.Op == "!="
	case bool, nil:
		is := jsonText(v)
		return r.spec.Op == "==" && is == want || r.spec.Op == "!=" && is != want
	}
	return false
}

// compareNumbers is cmp.Compare of two numbers in decimal; false if b is none.
func compareNumbers(a, b string) (int, bool) {
	i, err := strconv.ParseInt(a, 10, 64)
	j, err2 := strconv.ParseInt(b, 10, 64)
	if err == nil && err2 == nil {
		return cmp.Compare(i, j), true
	}
	x, err := strconv.ParseFloat(a, 64)
	y, err2 := strconv.ParseFloat(b, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) || err2 != nil || y != y {
		return 0, false
	}
	return cmp.Compare(x, y), true // beyond the range they are infinite, which compares as it should
}

// jsonReadings are the numbers that a path leads to. A boolean is 1 or 0, and text that
// reads as a number is one.
func jsonReadings(path jsonPath, doc any) []reading {
	var rs []reading
	for _, f := range path.find(doc) {
		r := reading{key: f.key}
		var err error
		switch v := f.value.(type) {
		case json.Number:
			r.value, err = v.Float64()
		case string:
			r.value, err = strconv.ParseFloat(strings.TrimSpace(v), 64)
		case bool:
			if v {
				r.value = 1
			}
		default:
			continue
		}
		if err == nil {
			rs = append(rs, r)
		}
	}
	return rs
}
