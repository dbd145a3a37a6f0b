// SPDX-License-Identifier: Apache-2.0

package config

import (
	"encoding/hex"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestMasked: whatever the reply is, written out with some of its half bytes as x,
// it is told from any other that differs where there is no x, and from none else.
func TestMasked(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		reply := rapid.SliceOfN(rapid.Byte(), 1, 64).Draw(t, "reply")
		text := []byte(hex.EncodeToString(reply))
		for _, i := range rapid.SliceOf(rapid.IntRange(0, len(text)-1)).Draw(t, "x at") {
			text[i] = 'x'
		}
		if !maskPattern.Match(text) {
			t.Fatalf("the pattern refuses %s", text)
		}
		want, mask := masked(string(text))
		if len(want) != len(reply) || len(mask) != len(reply) {
			t.Fatalf("%s has %d bytes and a mask of %d, want %d", text, len(want), len(mask), len(reply))
		}
		at := rapid.IntRange(0, len(text)-1).Draw(t, "half byte")
		other := append([]byte(nil), reply...)
		other[at/2] ^= byte(rapid.IntRange(1, 15).Draw(t, "by")) << (4 * (1 - at%2))
		if same := other[at/2]&mask[at/2] == want[at/2]; same != (text[at] == 'x') {
			t.Errorf("%s: another half byte %d goes unseen: %t", text, at, same)
		}
	})
	if value, mask := masked(" "); value != nil || mask != nil || !strings.EqualFold(hex.EncodeToString(fromHex("0A 1b")), "0a1b") {
		t.Errorf("nothing, or spaces, came out as %x, %x", value, mask)
	}
}

// TestWithin: the place of a part of a text, in every way of writing it.
func TestWithin(t *testing.T) {
	tests := []struct {
		name, line, text, part string
		want                   string // the part of the line; empty: the whole value
	}{
		{"plain", "expect: ab(cd", "ab(cd", "(cd", "(cd"},
		{"in single quotes", `expect: 'it''s (cd'`, "it's (cd", "(cd", "(cd"},
		{"in double quotes", `expect: "a\\d(c"`, `a\d(c`, "(c", "(c"},
		{"with an escape in it", `expect: "a\x41\u00e9(c"`, "aAé(c", "(c", "(c"},
		{"the escape itself", `expect: "a\\d"`, `a\d`, `\d`, `\\d`},
		{"from elsewhere", "expect: *alias", "a(b", "(b", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := &builder{loader: &loader{ps: problems{lines: map[string][]string{"f": {tt.line}}}}}
			src := &source{file: "f"}
			whole := src.at(1, len("expect: ")+1, len(tt.line)-len("expect: "))
			got := b.within(whole, tt.text, strings.Index(tt.text, tt.part), len(tt.part))
			want := whole
			if tt.want != "" {
				i := strings.Index(tt.line, tt.want)
				want = src.at(1, i+1, len(tt.want))
			}
			if got != want {
				t.Errorf("column %d of width %d, want %d of width %d", got.col, got.width, want.col, want.width)
			}
		})
	}
}
