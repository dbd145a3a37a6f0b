// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// scalar turns a word into what its key wants, or says why it is not that.
func scalar(k *key, v value) (out any, why, hint string) {
	if v.shape == isList || v.shape == isMap {
		hint := ""
		if k.name == "expect" && v.shape == isMap {
			hint = "write a regular expression alone; status has a key of its own"
		}
		return nil, fmt.Sprintf("got %s, want %s", v.shape, k.kind), hint
	}
	switch k.kind {
	case kText, kSecret:
		return text(k, v)
	case kWord:
		if !slices.Contains(k.enum, v.text) {
			return nil, fmt.Sprintf("%q is not one of %s", v.text, strings.Join(k.enum, ", ")), cmp.Or(foreignValue(k.aliases, v.text), didYouMean(v.text, k.enum))
		}
		return v.text, "", ""
	case kBool:
		if (v.shape == isBool || v.shape == isLoose) && (v.text == "true" || v.text == "false") {
			return v.text == "true", "", ""
		}
	case kInt:
		n, err := strconv.Atoi(v.text)
		if (v.shape == isInt || v.shape == isLoose) && err == nil {
			return n, outside(k, float64(n)), ""
		}
		if v.shape == isInt {
			return nil, "the number is too large", ""
		}
	case kNumber:
		if k.truth && (v.shape == isBool || v.shape == isLoose) && (v.text == "true" || v.text == "false") {
			return map[string]float64{"true": 1}[v.text], "", ""
		}
		f, err := strconv.ParseFloat(v.text, 64)
		if (v.shape == isInt || v.shape == isFloat || v.shape == isLoose) && err == nil && !math.IsNaN(f) && !math.IsInf(f, 0) {
			return f, outside(k, f), ""
		}
	case kDuration:
		return duration(k, v)
	}
	return nil, fmt.Sprintf("got %s, want %s", described(v), k.kind), quoted(v, k)
}

// text takes what is written as text. A plain number is refused: 007 and 1e3
// would not come out as they went in.
func text(k *key, v value) (any, string, string) {
	if k.asIs && (v.shape == isInt || v.shape == isFloat || v.shape == isBool) {
		v.shape = isText
	}
	if n, err := strconv.ParseUint(v.text, 10, 63); k.numeric && err == nil && v.shape != isBool && v.shape != isFloat {
		return v.text, outside(k, float64(n)), k.hint
	}
	if v.shape != isText && v.shape != isLoose {
		hint := "put it in quotes"
		if k.pattern != nil && !k.pattern.MatchString(v.text) {
			hint = k.hint // quotes alone would not do
		}
		return nil, fmt.Sprintf("got %s, want text", v.shape), hint
	}
	if k.pattern != nil && !k.pattern.MatchString(v.text) {
		return nil, fmt.Sprintf("%q cannot be used here", v.text), k.hint
	}
	if strings.ContainsRune(v.text, 0) {
		return nil, "a NUL character cannot stand here", ""
	}
	return v.text, "", ""
}

func duration(k *key, v value) (any, string, string) {
	d, err := time.ParseDuration(v.text)
	if v.shape == isBool || err != nil {
		if n, err := strconv.ParseFloat(v.text, 64); err == nil && v.shape != isBool && n > 0 {
			return nil, fmt.Sprintf("the duration %s has no unit", v.text), fmt.Sprintf("did you mean \"%ss\"?", v.text)
		}
		return nil, fmt.Sprintf("got %s, want %s", described(v), k.kind), "units are ms, s, m and h"
	}
	low, high := time.Duration(k.min*float64(time.Second)), time.Duration(k.max*float64(time.Second))
	if d < low || d > high {
		return nil, fmt.Sprintf("%s is outside %s to %s", v.text, short(low), short(high)), ""
	}
	return short(d), "", ""
}

// short is the duration without its zero parts: 1m, not 1m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func outside(k *key, n float64) string {
	if n >= k.min && n <= k.max {
		return ""
	}
	format := func(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
	return fmt.Sprintf("%s is outside %s to %s", format(n), format(k.min), format(k.max))
}

// described is the shape of a value, and the value if it is a word.
func described(v value) string {
	if v.shape == isText || v.shape == isLoose {
		return strconv.Quote(v.text)
	}
	return v.shape.String()
}

// quoted is the hint for a value that would do without its quotes.
func quoted(v value, k *key) string {
	if v.shape != isText {
		return ""
	}
	switch {
	case k.kind == kBool:
		return truth(v)
	case k.kind == kNumber && strings.HasSuffix(v.text, "%"):
		if f, err := strconv.ParseFloat(strings.TrimSuffix(v.text, "%"), 64); err == nil && outside(k, f/100) == "" {
			return fmt.Sprintf("did you mean %q?", strconv.FormatFloat(f/100, 'f', -1, 64))
		}
	}
	v.shape = isLoose
	if _, why, _ := scalar(k, v); why == "" {
		return "write it without quotes"
	}
	return ""
}

// truth is the hint for a word that other programs take for true or false.
func truth(v value) string {
	switch strings.ToLower(v.text) {
	case "yes", "on", "enabled":
		return "write true"
	case "no", "off", "disabled":
		return "write false"
	case "true", "false":
		return "write it without quotes"
	}
	return ""
}
