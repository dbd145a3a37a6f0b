// SPDX-License-Identifier: Apache-2.0

package config

import (
	"regexp"
	"strings"
	"unicode"

	"github.com/steelyard-lb/steelyard/core"
)

const hidden = "(secret)"

var (
	// A key is all that stands before a colon: what is no key at all, such as
	// pass"word, may still have been meant as one.
	keyInLine = regexp.MustCompile(`([^{}\[\],:]+):[ \t]*`)
	// The colon of a secret may have been forgotten.
	noColon = regexp.MustCompile(`(?i)\b(?:community|password|passwd|passphrase|secret|token)["']?[ \t]+[^\s:]`)
	// A comma may have been forgotten, so that the secret is part of another value.
	inMessage = regexp.MustCompile(`(?is)\b(community|password|passwd|passphrase|secret|token)\\?["']?[ \t]*:.*$`)
	endsValue = regexp.MustCompile(`^[ \t]*([,}\]#]|$)`) // what may follow a quote
	userInfo  = regexp.MustCompile(`://[^/@\s]*@`)
	plainWord = regexp.MustCompile(`^(\./)?[A-Za-z/]([A-Za-z0-9_/.-]*[A-Za-z0-9_/])?$|^[0-9]+(\.[0-9]+)?(ms|s|m|h)$|^[0-9]+(\.[0-9]+){3}$`)
)

// secretWords are the keys whose values are never shown, and what a hand in a
// hurry makes of them is hidden too: a misspelt secret is still a secret.
var secretWords = []string{"community", "password", "passwd", "passphrase", "secret", "token"}

// secretWord reports whether a key of that name may hold a secret. The keys
// that say where a secret is, such as password_file, do not.
func secretWord(name string) bool {
	name = strings.ToLower(strings.Trim(name, " \t\"'-?"))
	if strings.HasSuffix(name, "_file") || strings.HasSuffix(name, "_env") {
		return false
	}
	for _, w := range secretWords {
		if core.EditDistance(name, w) <= 2 || strings.Contains(name, w) {
			return true
		}
	}
	return false
}

// display is line n of lines (from 1) as it may be shown, with where the caret
// goes and how wide it is. It works on the text alone, so that it also holds
// for a file that does not parse.
func display(lines []string, n, col, width int) (source string, caret, wide int) {
	line := lines[n-1]
	shown := hideSecrets(line)
	if belowSecret(lines, n) {
		shown = blank(line, indent(line))
	}
	// A control character could move the cursor or colour the terminal.
	shown = strings.Map(func(r rune) rune {
		if r != '\t' && !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, shown)
	caret = shownColumn(line, shown, col)
	total := len([]rune(shown))
	return shown, caret, max(1, min(width, total-caret+1))
}

// belowSecret reports whether line n is part of a value that began on a line
// above: whether the nearest line with less indent ends in a secret's key, or
// the nearest line with a key promises a secret and does not give it.
func belowSecret(lines []string, n int) bool {
	for i := n - 2; i >= 0; i-- {
		text := strings.TrimRight(lines[i], " \t|>+-")
		m := keyInLine.FindAllStringSubmatch(text, -1)
		if m == nil {
			continue
		}
		if strings.HasSuffix(text, ":") && secretWord(m[len(m)-1][1]) {
			return true
		}
		break
	}
	here := indent(lines[n-1])
	for i := n - 2; i >= 0 && here > 0; i-- {
		if strings.TrimSpace(lines[i]) == "" || indent(lines[i]) >= here {
			continue
		}
		all := keyInLine.FindAllStringSubmatch(lines[i], -1)
		if all != nil && secretWord(all[len(all)-1][1]) {
			return true
		}
		here = indent(lines[i])
	}
	return false
}

func indent(line string) int { return len(line) - len(strings.TrimLeft(line, " \t")) }

// hideSecrets puts a word in place of each secret in the line.
func hideSecrets(line string) string {
	line = userInfo.ReplaceAllString(line, "://"+hidden+"@")
	if m := noColon.FindStringIndex(line); m != nil {
		end := valueEnd(line, m[0], m[1]-1)
		line = blank(line[:end], m[1]-1) + line[end:]
	}
	from := 0
	for {
		m := keyInLine.FindStringSubmatchIndex(line[from:])
		if m == nil {
			return line
		}
		start := from + m[1]
		if !secretWord(line[from+m[2] : from+m[3]]) {
			from = start
			continue
		}
		end := valueEnd(line, from+m[0], start)
		line = blank(line[:end], start) + line[end:]
		from = min(start+len(hidden), len(line))
	}
}

// keyName is a key as a problem may quote it. What is no word may be a key and
// its value, with the colon forgotten; then only the first word is quoted.
func keyName(name string) string {
	if i := strings.IndexFunc(name, func(r rune) bool { return !unicode.IsPrint(r) || strings.ContainsRune(" \"'{}[],:#", r) }); i >= 0 {
		return name[:i] + "…"
	}
	return name
}

// blank replaces everything from start on, if there is anything.
func blank(line string, start int) string {
	if strings.TrimSpace(line[min(start, len(line)):]) == "" {
		return line
	}
	return line[:start] + hidden
}

// valueEnd is where the value that begins at start ends: at its quote, or inside
// braces at the next comma or brace, else with the line. In doubt more is hidden.
func valueEnd(line string, key, start int) int {
	rest := line[start:]
	lead := len(rest) - len(strings.TrimLeft(rest, " \t"))
	if v := rest[lead:]; v != "" && (v[0] == '"' || v[0] == '\'') {
		n := strings.IndexByte(v[1:], v[0]) + 2 // the length with its quotes
		if n < 2 || strings.Contains(v[:n], `\`) || !endsValue.MatchString(v[n:]) {
			return len(line)
		}
		return start + lead + n
	}
	if strings.Count(line[:key], "{") > strings.Count(line[:key], "}") {
		if i := strings.IndexAny(rest, ",}"); i >= 0 {
			return start + i
		}
	}
	return len(line)
}

// shownColumn is where column col of line went in shown: as far from the
// nearer end that the two have in common.
func shownColumn(line, shown string, col int) int {
	a, b := []rune(line), []rune(shown)
	col = max(1, min(col, len(a)+1))
	same := 0
	for same < len(a) && same < len(b) && a[same] == b[same] {
		same++
	}
	if col-1 <= same || len(a) == len(b) {
		return min(col, len(b)+1)
	}
	if c := len(b) - (len(a) - col); c > same {
		return min(c, len(b)+1)
	}
	return min(same+1, len(b)+1)
}
