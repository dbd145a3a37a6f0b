// SPDX-License-Identifier: Apache-2.0

package core

import (
	"strings"
	"testing"
)

func TestVectorNote(t *testing.T) {
	for in, want := range map[string]string{
		"":                                       "",
		"drained by alice, Prüfung":              "drained by alice, Prüfung",
		" two\nlines\x1b[31m ":                   "two lines [31m",
		"no \xff UTF-8":                          "no   UTF-8",
		strings.Repeat("a", MaxVectorNote):       strings.Repeat("a", MaxVectorNote),
		strings.Repeat("ä", MaxVectorNote):       strings.Repeat("ä", 58) + "…",
		strings.Repeat("a", 116) + " " + "bcdef": strings.Repeat("a", 116) + "…",
	} {
		if got := VectorNote(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// FuzzVectorNote: whatever is made a note is one that others take.
func FuzzVectorNote(f *testing.F) {
	f.Add("drained by alice, \xff\n\u2028" + strings.Repeat("€", 50))
	f.Fuzz(func(t *testing.T, text string) {
		note := VectorNote(text)
		if err := CheckVectorNote(note); err != nil || VectorNote(note) != note {
			t.Fatalf("%q becomes %q: %v", text, note, err)
		}
	})
}
