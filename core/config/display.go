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
	noColon = regexp.MustCompile(`(?i)\b(?:community|password|passwd|passphrase|secret|token|authorization|cookie|headers|metadata)["']?[ \t]+[^\s:]|\benv["']?[ \t]*\{`)
	// A comma may have been forgotten, so that the secret is part of another value.
	inMessage = regexp.MustCompile(`(?is)\b(community|password|passwd|passphrase|secret|token)\\?["']?[ \t]*:.*$`)
	plainKey  = regexp.MustCompile(`^[ -]*["']?[\w.-]+["']?:`)
	endsValue = regexp.MustCompile(`^[ \t]*([,}\]#]|$)`) // what may follow a quote
	userInfo  = regexp.MustCompile(`://[^/@\s]*@`)
	// The path of an address that a webhook calls is often a token.
	urlPath = regexp.MustCompile(`((?:https?:?|/)["'!*:x{ \t]*/["'!*:x{ \t]*[^/,}]+[/?])[^,}]+`)
	// A seed of NATS, which belongs nowhere in a configuration.
	seed = regexp.MustCompile(`\bS[A-Z][A-Z2-7]{40,}`)
	// What a webhook calls, however it is written; other programs call a path so.
	urlKey = regexp.MustCompile(`(\burl["']?[ \t]*:[ \t]*)["']?[^/\s"',}][^,}]*`)
	urlCut = regexp.MustCompile(`https?:?[^\s"',}]*$`)
	// commandWord is one that needs no quotes in YAML and none of a shell.
	commandWord = regexp.MustCompile(`^[A-Za-z/-][A-Za-z0-9_./-]*$`)
	plainWord   = regexp.MustCompile(`^(\./)?[A-Za-z/]([A-Za-z0-9_/.-]*[A-Za-z0-9_/])?$|^[0-9]+(\.[0-9]+)?(ms|s|m|h)$|^[0-9]+(\.[0-9]+){3}$`)
)

// secretWords are the keys whose values are never shown, and what a hand in a
// hurry makes of them is hidden too: a misspelt secret is still a secret.
var secretWords = []string{"community", "password", "passwd", "passphrase", "secret", "token", "authorization", "cookie"}

// secretMaps are the keys of maps whose values are secrets.
var secretMaps = []string{"headers", "metadata", "environment"}

func secretMap(name string) bool {
	for _, w := range secretMaps {
		if core.EditDistance(name, w) <= 2 || strings.Contains(name, w) {
			return true
		}
	}
	words := strings.Fields(name)
	for _, word := range []string{strings.Join(words, ""), strings.Join(words[max(len(words)-1, 0):], "")} {
		// env is a short word: with a slip in it, it must not be another key.
		if word != "end" && core.EditDistance(word, "env") <= 1 {
			return true
		}
	}
	return false
}

// secretWord reports whether a key of that name may hold a secret. The keys
// that say where a secret is, such as password_file, do not.
func secretWord(name string) bool {
	name = strings.ToLower(strings.Trim(name, " \t\"'-?"))
	if strings.HasSuffix(name, "_file") || strings.HasSuffix(name, "_env") {
		return false
	}
	if secretMap(name) {
		return true
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
func belowSecret(lines []string, n int) bool { return below(lines, n, farNested) }

// farNested is how many keys around a line are looked at.
const farNested = 8

func below(lines []string, n, depth int) bool {
	for i := n - 2; i >= 0; i-- {
		text := strings.TrimRight(lines[i], " \t|>+-")
		m := keyInLine.FindAllStringSubmatch(text, -1)
		if m == nil {
			continue
		}
		if strings.HasSuffix(text, ":") && (secretWord(m[len(m)-1][1]) || depth > 0 && below(lines, i+1, depth-1)) {
			return true
		}
		break
	}
	if insideSecretMap(lines, n) {
		return true
	}
	if n > 1 && urlCut.MatchString(lines[n-2]) && !plainKey.MatchString(lines[n-1]) {
		return true // an address broken in two
	}
	here := indent(lines[n-1])
	if n > 1 && (!plainKey.MatchString(lines[n-1]) || strings.TrimSpace(lines[n-2]) == "") {
		here = max(here, indent(lines[n-2])) + 1 // broken: it may belong to what stands above
	}
	for i := n - 2; i >= 0 && here > 0; i-- {
		if strings.TrimSpace(lines[i]) == "" || indent(lines[i]) >= here {
			continue
		}
		all := keyInLine.FindAllStringSubmatch(lines[i], -1)
		if all != nil && secretWord(all[len(all)-1][1]) || all == nil && secretWord(strings.TrimSpace(lines[i])) {
			return true
		}
		if plainKey.MatchString(lines[i]) { // else it is broken, and its indent says nothing
			here = indent(lines[i])
		}
	}
	return false
}

// farMap is how many lines above the brace of a map is looked for.
const farMap = 100

// insideSecretMap reports whether line n is inside the braces of a map of secrets,
// such as headers, which were opened on a line above.
func insideSecretMap(lines []string, n int) bool {
	open := 0 // braces that the lines from i to n leave open
	for i := n - 2; i >= 0 && i > n-farMap; i-- {
		for _, m := range keyInLine.FindAllStringSubmatchIndex(lines[i], -1) {
			if v := lines[i][m[1]:]; strings.HasPrefix(v, "{") && secretWord(lines[i][m[2]:m[3]]) && braces(v)+open > 0 {
				return true
			}
		}
		open += braces(lines[i])
	}
	return false
}

func braces(s string) int { return strings.Count(s, "{") - strings.Count(s, "}") }

func indent(line string) int { return len(line) - len(strings.TrimLeft(line, " \t")) }

// hideURLs leaves only the host of an address, and nothing of a seed.
func hideURLs(s string) string {
	if strings.Contains(s, "/") { // most lines have none, and expressions take their time
		s = urlPath.ReplaceAllString(userInfo.ReplaceAllString(s, "://"+hidden+"@"), "$1"+hidden)
	}
	return seed.ReplaceAllString(s, hidden)
}

// hideSecrets puts a word in place of each secret in the line.
func hideSecrets(line string) string {
	if strings.Contains(line, "url") {
		line = urlKey.ReplaceAllString(line, "$1"+hidden)
	}
	line = hideURLs(line)
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
	if i := strings.IndexAny(rest, "{,}"); i >= 0 && rest[i] == '{' {
		return start + i + mapEnd(rest[i:])
	}
	if secretMap(strings.ToLower(strings.Trim(line[key:start], " \t\"':{"))) {
		return len(line) // its brace was forgotten
	}
	if strings.Count(line[:key], "{") > strings.Count(line[:key], "}") {
		if i := strings.IndexAny(rest, ",}"); i >= 0 {
			return start + i
		}
	}
	return len(line)
}

// mapEnd is where the map that s begins with ends; with quotes in it all is taken.
func mapEnd(s string) int {
	depth := 0
	for i, r := range s {
		switch r {
		case '"', '\'':
			return len(s)
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(s)
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
