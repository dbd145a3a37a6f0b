// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"regexp"
	"regexp/syntax"
	"strings"
)

// expression checks a regular expression, and points at the part that is wrong.
func (b *builder) expression(path, text string) {
	if text == "" || b.spoilt[path] {
		return
	}
	_, err := regexp.Compile(text)
	if err == nil {
		return
	}
	at, what := b.at(path), strings.TrimPrefix(err.Error(), "error parsing regexp: ")
	var se *syntax.Error
	if errors.As(err, &se) {
		what = string(se.Code)
		if se.Expr != "" {
			if i := strings.Index(text, se.Expr); i >= 0 {
				at = b.within(at, text, i, len(se.Expr))
			}
			what += ": " + se.Expr
		}
	}
	b.spoil(at, path, expressionHint(text), "no regular expression: %s", what)
}

// expressionHint is for those who come from PCRE.
func expressionHint(text string) string {
	for _, look := range []string{"(?=", "(?!", "(?<=", "(?<!"} {
		if strings.Contains(text, look) {
			return "expressions are RE2, which neither looks ahead nor behind; http has reject for what must not be there"
		}
	}
	if regexp.MustCompile(`\\[1-9]`).MatchString(text) {
		return "expressions are RE2, which has no back references"
	}
	return `put a \ before a sign that stands for itself; expressions are RE2, in single quotes a \ needs no second one`
}

// within is the place of n bytes of a text from byte i on, where the text stands on
// one line; else that of the text.
func (b *builder) within(at pos, text string, i, n int) pos {
	lines := b.ps.lines[at.file()]
	if at.line < 1 || int(at.line) > len(lines) {
		return at
	}
	line := []rune(lines[at.line-1])
	col := int(at.col) - 1
	if col >= len(line) {
		return at
	}
	quote := line[col]
	if quote == '"' || quote == '\'' {
		col++
	} else {
		quote = 0
	}
	from, ok := skipText(line, col, text[:i], quote)
	to, okEnd := skipText(line, from, text[i:i+n], quote)
	if !ok || !okEnd {
		return at
	}
	return at.src.at(int(at.line), from+1, max(1, to-from))
}

// skipText is the column behind text, which is written from col on, in quotes of
// that kind. It reports false if it is not written so.
func skipText(line []rune, col int, text string, quote rune) (int, bool) {
	for _, r := range text {
		switch {
		case col >= len(line):
			return col, false
		case quote == '"' && line[col] == '\\' && col+1 < len(line):
			col += 2 + map[rune]int{'x': 2, 'u': 4, 'U': 8}[line[col+1]]
			continue
		case quote == '\'' && r == '\'':
			col++ // it is written twice
		}
		if col >= len(line) || line[col] != r {
			return col, false
		}
		col++
	}
	return col, true
}
