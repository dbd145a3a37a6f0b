// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/steelyard-lb/steelyard/core"
)

const document = `{
	"status": "ok", "ready": true, "off": false, "nothing": null, "zero": 0, "load": 1.5, "big": 9007199254740993, "text": "12",
	"a.b": {"c\\d": "found"}, "*": "star", "": "empty", "0": "a key",
	"checks": [{"name": "db", "state": "ok", "lag": 3}, {"name": "cache", "state": "bad", "lag": 4e2}],
	"pools": {"x": {"free": 1}, "y": {"free": 2}}, "list": [[1, 2], [3]], "huge": 1e999
}`

func parsed(t *testing.T, text string) any {
	t.Helper()
	doc, err := parseJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestJSONRules(t *testing.T) {
	doc := parsed(t, document)
	tests := []struct {
		path, op, want string
		ok             bool
		is             string
	}{
		{"status", "", "ok", true, `"ok"`},
		{"status", "==", "OK", false, `"ok"`},
		{"status", "!=", "bad", true, `"ok"`},
		{"status", ">", "bad", true, `"ok"`},
		{"ready", "", "true", true, "true"},
		{"off", "", "true", false, "false"},
		{"off", "!=", "true", true, "false"},
		{"ready", ">", "false", false, "true"},
		{"nothing", "", "null", true, "null"},
		{"nothing", "!=", "null", false, "null"},
		{"zero", "<", "1", true, "0"},
		{"zero", "==", "0.0", true, "0"},
		{"zero", "==", "-0", true, "0"},
		{"load", ">=", "1.5", true, "1.5"},
		{"load", "<", "1.5", false, "1.5"},
		{"load", "==", "much", false, "1.5"},
		{"load", "!=", "much", true, "1.5"},
		{"load", "<", "much", false, "1.5"},
		{"load", "==", "NaN", false, "1.5"},
		{"big", "==", "9007199254740993", true, "9007199254740993"},
		{"big", "==", "9007199254740992", false, "9007199254740993"}, // a float64 cannot tell these apart
		{"huge", ">", "5", true, "1e999"},
		{"text", "==", "12", true, `"12"`},
		{"text", "<", "9", true, `"12"`}, // text compares as text
		{`a\.b.c\\d`, "", "found", true, `"found"`},
		{"a.b", "", "found", false, "not there"},
		{`\*`, "", "star", true, `"star"`},
		{"checks.0.state", "", "ok", true, `"ok"`},
		{"checks.1.state", "", "ok", false, `"bad"`},
		{"checks.2.state", "", "ok", false, "not there"},
		{"checks.-1.state", "!=", "ok", false, "not there"},
		{"checks.*.state", "", "ok", false, `"bad"`},
		{"checks.*.lag", "<=", "400", true, "3"},
		{"checks.*.nothing", "!=", "x", false, "not there"},
		{"pools.*.free", ">", "0", true, "1"},
		{"0", "", "a key", true, `"a key"`},
		{"checks", "==", "ok", false, "an array of 2"},
		{"pools", "!=", "ok", false, "an object"},
		{"status.deeper", "!=", "ok", false, "not there"},
		{"list.*.*", ">=", "1", true, "1"},
	}
	for _, tt := range tests {
		r, err := parseJSONRule(core.JSONRule{Path: tt.path, Op: tt.op, Want: tt.want})
		if err != nil {
			t.Errorf("%s: %v", tt.path, err)
			continue
		}
		if is, ok := r.check(doc); ok != tt.ok || is != tt.is {
			t.Errorf("%s: it is %s, %t; want %s, %t", r, is, ok, tt.is, tt.ok)
		}
	}
	whole, err := parseJSONRule(core.JSONRule{Want: "ok"})
	if err != nil {
		t.Fatal(err)
	}
	if is, ok := whole.check(parsed(t, ` "ok" `)); !ok || is != `"ok"` {
		t.Errorf("the whole document is %s", is)
	}
}

func TestJSONImpossible(t *testing.T) {
	for want, r := range map[string]core.JSONRule{
		"operator":  {Path: "a", Op: "=~"},
		"backslash": {Path: `a\`},
		"steps":     {Path: strings.Repeat("a.", maxSteps)},
	} {
		if _, err := parseJSONRule(r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v", r, err)
		}
	}
	for _, body := range []string{"", "  ", "{", "ok", `{"a":1} {"b":2}`, "{'a':1}", "<html>", strings.Repeat("[", 20_000)} {
		if doc, err := parseJSON([]byte(body)); err == nil {
			t.Errorf("%q is %v", clip(body), doc)
		}
	}
}

func TestJSONReadings(t *testing.T) {
	doc := parsed(t, document)
	for from, want := range map[string][]float64{
		"load": {1.5}, "ready": {1}, "off": {0}, "text": {12}, "status": nil, "nothing": nil, "nowhere": nil, "huge": nil,
		"checks.*.lag": {3, 400}, "pools.*.free": {1, 2}, "list.*.*": {1, 2, 3}, "pools": nil,
	} {
		path, err := parsePath(from)
		if err != nil {
			t.Fatal(err)
		}
		rs := jsonReadings(path, doc)
		var sum, wanted float64
		keys := map[uint64]bool{}
		for _, r := range rs {
			sum += r.value
			keys[r.key] = true
		}
		for _, v := range want {
			wanted += v
		}
		if len(rs) != len(want) || sum != wanted || len(keys) != len(rs) {
			t.Errorf("%s: got %+v, want %v", from, rs, want)
		}
	}
}

// TestCompareNumbers: the order is that of the numbers, whatever they look like.
func TestCompareNumbers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Int64().Draw(t, "a"), rapid.Int64().Draw(t, "b")
		text := func(v any) string { raw, _ := json.Marshal(v); return string(raw) }
		want := 0
		if a < b {
			want = -1
		} else if a > b {
			want = 1
		}
		if got, ok := compareNumbers(text(a), text(b)); !ok || got != want {
			t.Errorf("%d and %d: got %d", a, b, got)
		}
		x := rapid.Float64Range(-1e6, 1e6).Draw(t, "x")
		if got, ok := compareNumbers(text(x), text(math.Nextafter(x, math.Inf(1)))); !ok || got != -1 {
			t.Errorf("%v and the next: got %d", x, got)
		}
	})
}

// TestPathsEscape: any key can be written, alone or beside others.
func TestPathsEscape(t *testing.T) {
	escape := strings.NewReplacer(`\`, `\\`, ".", `\.`, "*", `\*`)
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.SliceOfN(rapid.String(), 1, 8).Draw(t, "keys")
		parts := make([]string, len(keys))
		var doc any = json.Number("7")
		for i := len(keys) - 1; i >= 0; i-- {
			doc = map[string]any{keys[i]: doc}
			parts[i] = escape.Replace(keys[i])
		}
		text := strings.Join(parts, ".")
		if text == "" {
			return // the empty path is the whole document
		}
		path, err := parsePath(text)
		if err != nil {
			t.Fatal(err)
		}
		if found := path.find(doc); len(found) != 1 || found[0].value != json.Number("7") {
			t.Errorf("path %q of keys %q: got %v", text, keys, found)
		}
	})
}

// FuzzJSONPath: no path and no document makes it fall over, and what a rule says fits
// into a sentence.
func FuzzJSONPath(f *testing.F) {
	f.Add("checks.*.state", "==", "ok", []byte(document))
	f.Add(`a\.b.c\\d`, "!=", "3", []byte(`[1,[2]]`))
	f.Add("*.*.*", "<", "1e999", []byte(`{"a":{"b":[1e400,-0,"x",null]}}`))
	f.Fuzz(func(t *testing.T, path, op, want string, body []byte) {
		rule, err := parseJSONRule(core.JSONRule{Path: path, Op: op, Want: want})
		if err != nil {
			return
		}
		doc, err := parseJSON(body)
		if err != nil {
			return
		}
		is, ok := rule.check(doc)
		if len(is) > 300 || is == "" {
			t.Errorf("%q says %q", rule, is)
		}
		if found := rule.path.find(doc); ok && len(found) == 0 {
			t.Errorf("%q holds of nothing", rule)
		}
		for _, r := range jsonReadings(rule.path, doc) {
			if math.IsInf(r.value, 0) {
				t.Errorf("%q has %v", rule, r)
			}
		}
	})
}
