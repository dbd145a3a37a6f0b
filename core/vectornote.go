// SPDX-License-Identifier: Apache-2.0

package core

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxVectorNote is the longest Note of a VectorBackend, in bytes.
const MaxVectorNote = 120

// VectorNote is a text as the Note of a VectorBackend: one line of characters to print, cut
// to MaxVectorNote.
func VectorNote(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return ' '
		}
		return r
	}, text)
	text = strings.TrimSpace(text)
	if len(text) <= MaxVectorNote {
		return text
	}
	const more = "…"
	end := MaxVectorNote - len(more)
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return strings.TrimSpace(text[:end]) + more
}

// CheckVectorNote says what is wrong with a Note that comes from another node.
func CheckVectorNote(note string) error { return checkText("note", note, MaxVectorNote) }
