// SPDX-License-Identifier: Apache-2.0

package config

import (
	"regexp"
	"strconv"
	"strings"
)

var (
	plainFloat = regexp.MustCompile(`^(0|[1-9][0-9]{0,6})\.[0-9]{1,7}$`)
	// Durations, ranges of ports, IPv4 and IPv6, with and without a length.
	plainNumeric = regexp.MustCompile(`^([1-9][0-9]*(ms|s|m|h)|[1-9][0-9]{0,4}-[1-9][0-9]{0,4}|[0-9]{1,3}(\.[0-9]{1,3}){3}(/[0-9]{1,2})?|` +
		`[0-9a-f]{1,4}:[0-9a-f:]*:[0-9a-f]{1,4}(/[0-9]{1,3})?)$`)
)

// special reports whether YAML, of some version, sees more in a word than text.
func special(word string) bool {
	switch strings.ToLower(word) {
	case "null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf":
		return true
	}
	return false
}

func wordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '/' || c == '_' || c == '-'
}

// classify says what a word is, or false if it is for the parser to say.
func (v *value) classify(word string) bool {
	switch {
	case word == "true" || word == "false":
		v.shape = isBool
	case word == "" || len(word) > 128 || special(word):
		return false
	case wholeNumber(word):
		v.shape = isInt
	case plainFloat.MatchString(word):
		f, err := strconv.ParseFloat(word, 64)
		v.shape, v.text = isFloat, strconv.FormatFloat(f, 'g', -1, 64)
		return err == nil
	case word[0] >= '0' && word[0] <= '9', strings.Contains(word, ":"):
		if v.shape = isText; !plainNumeric.MatchString(word) {
			return false
		}
	case word[0] == '-' || word[0] == '.' && !strings.HasPrefix(word, "./") || word[0] == '_':
		return false
	default:
		v.shape = isText
	}
	v.text = strings.Clone(word)
	return true
}

func wholeNumber(word string) bool {
	if len(word) > 15 || word[0] == '0' && len(word) > 1 {
		return false
	}
	for i := range len(word) {
		if word[i] < '0' || word[i] > '9' {
			return false
		}
	}
	return true
}

// A keySet finds a key that a map has twice. Small maps are looked through.
type keySet map[string]bool

const (
	fewPairs   = 16
	usualPairs = 4
)

func (s *keySet) has(pairs []pair, name string) bool {
	if len(pairs) < fewPairs {
		for i := range pairs {
			if pairs[i].key == name {
				return true
			}
		}
		return false
	}
	if *s == nil {
		*s = keySet{}
		for i := range pairs {
			(*s)[pairs[i].key] = true
		}
	}
	if (*s)[name] {
		return true
	}
	(*s)[name] = true
	return false
}
