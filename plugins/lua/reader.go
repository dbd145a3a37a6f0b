// SPDX-License-Identifier: Apache-2.0

package lua

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	lua "github.com/yuin/gopher-lua"
)

// A reader takes values out of a table of the script and keeps the first thing
// that is wrong, with the path to it: policy.lua:4: policy.params[2]: default is
// missing.
type reader struct {
	places places
	path   string
	err    error
}

// fail tells what is wrong with a key of the table; "" is the table.
func (r *reader) fail(key, format string, args ...any) {
	r.failAt(key, strings.TrimSpace(key+" "+fmt.Sprintf(format, args...)))
}

func (r *reader) failAt(key, text string) {
	if r.err == nil {
		r.err = fmt.Errorf("%s: %s: %s", r.places.prefix(r.path+"."+key, r.path), r.path, text)
	}
}

// take makes another reader's error this one's.
func (r *reader) take(other *reader) {
	if r.err == nil {
		r.err = other.err
	}
}

// open checks that v is a table of these keys and no others; on error it
// returns an empty one.
func (r *reader) open(v lua.LValue, keys ...string) *lua.LTable {
	t, ok := v.(*lua.LTable)
	if !ok {
		r.fail("", "is %s: want a table", describe(v))
		return &lua.LTable{}
	}
	var wrong []string // a Go map has no order, an error has
	t.ForEach(func(k, _ lua.LValue) {
		switch s, ok := k.(lua.LString); {
		case !ok:
			r.fail("", "has the key [%s]: want %s", describe(k), strings.Join(keys, ", "))
		case !slices.Contains(keys, string(s)):
			wrong = append(wrong, string(s))
		}
	})
	if len(wrong) > 0 {
		key := slices.Min(wrong)
		r.failAt(key, fmt.Sprintf("unknown key %s: %s", quote(key), unknown(key, keys)))
	}
	return t
}

func (r *reader) text(t *lua.LTable, key string) string {
	v := t.RawGetString(key)
	s, ok := v.(lua.LString)
	if v != lua.LNil && (!ok || !utf8.ValidString(string(s))) {
		r.fail(key, "is %s: want a text", describe(v))
	}
	return string(s)
}

// name is a text of a pattern; absent stands in for none, if it is not empty.
func (r *reader) name(t *lua.LTable, key string, pattern *regexp.Regexp, want, absent string) string {
	s := r.text(t, key)
	switch {
	case t.RawGetString(key) == lua.LNil && absent != "":
		return absent
	case t.RawGetString(key) == lua.LNil:
		r.fail(key, "is missing")
	case !pattern.MatchString(s):
		r.fail(key, "is %s: want %s", quote(s), want)
	}
	return s
}

// number is a finite number, or absent if there is none.
func (r *reader) number(t *lua.LTable, key string, absent float64) float64 {
	v := t.RawGetString(key)
	if v == lua.LNil {
		return absent
	}
	x, ok := v.(lua.LNumber)
	if !ok || math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
		r.fail(key, "is %s: want a finite number", describe(v))
		return absent
	}
	return float64(x)
}

func (r *reader) boolean(t *lua.LTable, key string) float64 {
	for _, k := range []string{"min", "max"} {
		if t.RawGetString(k) != lua.LNil {
			r.fail(k, "is there, but a boolean has none")
		}
	}
	switch v := t.RawGetString(key); v {
	case lua.LTrue:
		return 1
	case lua.LFalse:
	case lua.LNil:
		r.fail(key, "is missing: want true or false")
	default:
		r.fail(key, "is %s: want true or false", describe(v))
	}
	return 0
}

// whole is an integer from low to high, 0 if it is absent.
func (r *reader) whole(t *lua.LTable, key string, low, high float64) float64 {
	v := t.RawGetString(key)
	if v == lua.LNil {
		return 0
	}
	x, ok := v.(lua.LNumber)
	if !ok || float64(x) != math.Trunc(float64(x)) || float64(x) < low || float64(x) > high {
		r.fail(key, "is %s: want a whole number from %g to %g", describe(v), low, high)
		return 0
	}
	return float64(x)
}

// list is a table of 1 to n without holes and without other keys.
func (r *reader) list(t *lua.LTable, key string) []lua.LValue {
	v := t.RawGetString(key)
	if v == lua.LNil {
		return nil
	}
	l, ok := v.(*lua.LTable)
	if !ok {
		r.fail(key, "is %s: want a list", describe(v))
		return nil
	}
	out, count := []lua.LValue{}, 0
	for i := 1; l.RawGetInt(i) != lua.LNil; i++ {
		out = append(out, l.RawGetInt(i))
	}
	l.ForEach(func(_, _ lua.LValue) { count++ })
	if count != len(out) {
		r.fail(key, "is no list: want { first, second } without names and without holes")
	}
	return out
}

// names is a list of texts, each there once; wrong says what is wrong with one.
// It is nil if the key is absent.
func (r *reader) names(t *lua.LTable, key string, wrong func(string) string) []string {
	if t.RawGetString(key) == lua.LNil {
		return nil
	}
	out := []string{}
	for i, v := range r.list(t, key) {
		s, ok := v.(lua.LString)
		if !ok {
			r.fail(fmt.Sprintf("%s[%d]", key, i+1), "is %s: want a text", describe(v))
			continue
		}
		if w := wrong(string(s)); w != "" {
			r.fail(fmt.Sprintf("%s[%d]", key, i+1), "is %s: %s", quote(string(s)), w)
		}
		if slices.Contains(out, string(s)) {
			r.fail(fmt.Sprintf("%s[%d]", key, i+1), "is %s for the second time", quote(string(s)))
		}
		out = append(out, string(s))
	}
	return out
}

func (r *reader) most(key string, n, limit int) {
	if n > limit {
		r.fail(key, "has %d entries, at most %d are taken", n, limit)
	}
}

// describe says what a value is, short enough for an error.
func describe(v lua.LValue) string {
	switch v := v.(type) {
	case lua.LNumber:
		return v.String()
	case lua.LString:
		return "the string " + quote(string(v))
	case lua.LBool:
		return v.String()
	}
	if v == lua.LNil {
		return "nil"
	}
	return "a " + v.Type().String()
}

// quote shows a text of the script, cut off where it is long.
func quote(s string) string {
	const most = 40
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return fmt.Sprintf("%q", s)
}
