// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var blanks = regexp.MustCompile(`(?m) +$`)

// bothWays reads text with the plain reader and with the parser. What the plain
// reader accepts must be the same value at the same places. It reports whether
// it was accepted.
func bothWays(t *testing.T, text string) bool {
	t.Helper()
	ps := problems{lines: map[string][]string{}}
	r := newYAMLReader(&ps, "s.yaml", 3, []byte(text))
	if !r.bounded([]byte(text)) {
		return false
	}
	plain, ok := parsePlain(r.src, ps.lines["s.yaml"])
	if !ok {
		return false
	}
	// The parser's column is one too far for a word with blanks behind it.
	real, ok := r.parse([]byte(blanks.ReplaceAllString(text, "")))
	if !ok {
		t.Fatalf("the plain reader takes what is no YAML: %v\n%q", ps.errors(), text)
	}
	if d := cmp.Diff(real, plain, cmp.AllowUnexported(value{}, pos{}, pair{}, source{})); d != "" {
		t.Fatalf("(-parser +plain reader):\n%s\n%q", d, text)
	}
	return true
}

// plainTexts are files that the plain reader must take itself, lest it be slow
// in secret.
var plainTexts = []string{
	web, everythingPlain, "node: lb1", "node: lb1 # a comment\n\n# more\nlog: {level: info}\n",
	"services:\n\nprobes:\n", "services: # none\nprobes: {}\nbus: {servers: []}\n",
	"services:\n  web:\n    probes:\n    - a\n    - b # c\n    port: 80\n    vip:\n      - 192.0.2.10\n      - 2001:db8::10\n",
	"a: 1.50\nb: 0.5\nc: 1s\nd: 100ms\ne: 8000-8999\nf: 10.0.0.0/8\ng: 2001:db8::1\nh: 2001:db8::1/128\n",
	"a: \"x # y\" # z\nb: 'it, {is}: [so]'\nc: ''\n", "a: {b: {c: [d, 1, 2.5, true, \"e\"]}, f: false}\n",
	"a:\n  b:\n    c: d\n  e:\n    f: g\nh: i\n", "a: ./x.wasm\nb: /etc/x_y-z.pem\n",
}

const everythingPlain = `
services:
  web:
    vip: [192.0.2.10, "2001:db8::10"]
    port: [80, 8000-8999]
    limits:
      new_per_second: 1000
    backends:
      web1: {address: ["2001:db8::11", 10.0.0.11], priority: 0, max_connections: 100, forwarding: dnat}
`

func TestPlainReader(t *testing.T) {
	for _, text := range append(plainTexts, manyServices(50)) {
		if !bothWays(t, text) {
			t.Errorf("the plain reader does not take %q", text)
		}
	}
	for _, text := range []string{
		"a: 010", "a: 0x10", "a: 1e3", "a: .5", "a: -1", "a: 1_000", "a: ~", "a: null", "a: Yes", "a: b c", "a: \"\\n\"", "a: 'it''s'",
		"a: |\n  b\n", "a: >\n  b\n", "a: &x b\nc: *x\n", "a: !!str b", "---\na: b", "a: b\n...\n", "a: b\na: c\n", "a: {b: c, b: d}", "a: {b: c,}", "a: [b,]",
		"a: {b: c", "a: [b]]", "a: {b}", "a: [b: c]", "a:\n   b: c\n  d: e\n", "a:\n- - b\n", "a:\n- b: c\n", "? a\n: b\n", "\"a\": b", "a: b: c", "a: b\n c\n",
		"a:b", "a: b#c", "a:\tb", "\ta: b", "a: 1:20", "a: [1:20]", "a: {b:c}", "a: {b: }", "- a", " a: b", "a: [b\n  , c]", "a: 99999999999999999999",
		"a: b\r\nc: d\r\n", "a: 0 \r\n", "a: 0 \n", "\ufeffa: b", "a: ä", "true: a", "null: a", "1: a", "A: b", "a: ::1", "a: @b", "a: `b", "a: %b", "a: b,c", "a: [b c]", "a:\n- b\n  c\n",
	} {
		bothWays(t, text)
	}
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	for _, f := range append(files, exampleFiles(t)...) {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		took := bothWays(t, string(data))
		if strings.HasPrefix(f, examples) && !took {
			t.Logf("%s is not plain", f)
		}
	}
}

// FuzzPlainReader looks for text that the two readers take differently.
func FuzzPlainReader(f *testing.F) {
	for _, text := range plainTexts {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) { bothWays(t, text) })
}

// BenchmarkParse is the reader of plain YAML beside the parser of all of it.
func BenchmarkParse(b *testing.B) {
	text := []byte(manyServices(1000))
	for _, way := range []string{"plain", "all"} {
		b.Run(way, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				ps := problems{lines: map[string][]string{}}
				r := newYAMLReader(&ps, "s.yaml", 0, text)
				if !r.bounded(text) {
					b.Fatal("out of bounds")
				}
				var ok bool
				if way == "plain" {
					_, ok = parsePlain(r.src, ps.lines["s.yaml"])
				} else {
					_, ok = r.parse(text)
				}
				if !ok {
					b.Fatal(fmt.Sprint(ps.list))
				}
			}
		})
	}
}
