// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
)

// didYouMean is a hint for an unknown word.
func didYouMean(word string, known []string) string {
	if n := core.Nearest(word, known); n != "" {
		return "did you mean " + strconv.Quote(n) + "?"
	}
	return ""
}

// oneOf is the hint that lists what would do.
func oneOf(word string, known []string) string {
	if h := didYouMean(word, known); h != "" {
		return h
	}
	if len(known) == 0 || len(known) > 24 {
		return ""
	}
	sorted := slices.Clone(known)
	slices.Sort(sorted)
	return "known: " + strings.Join(sorted, ", ")
}

// aloneHint is how to write a single value in the place of a map, if that is what
// stands there, or a list in the place of names.
func aloneHint(k *key, v value, path string) string {
	name := keyName(path[strings.LastIndex(path, ".")+1:])
	switch {
	case v.shape == isList && k.kind == kMap:
		return fmt.Sprintf("give each a name, as in %s: {%s: …}", name, k.elem.name)
	case v.shape == isMap || v.shape == isList || k.alone == "" || v.text == "":
		return ""
	}
	text := v.text
	if v.shape == isInt && strings.Contains(k.alone, "timeout") {
		text += "s"
	}
	if v.shape == isBool || secretWord(name) || !plainWord.MatchString(text) && !wholeNumber(v.text) {
		text = "…" // it would be wrong there, too, or must not be shown
	}
	return "write " + name + ": " + fmt.Sprintf(k.alone, text)
}
