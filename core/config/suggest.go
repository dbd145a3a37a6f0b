// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// distance is how many letters must be put in, left out, changed or swapped with
// their neighbour to make b of a (Levenshtein, with swaps). Past 2 it may say any
// number above 2.
func distance(a, b string) int {
	ra, rb := []rune(a), []rune(b)
	if d := len(ra) - len(rb); d > 2 || d < -2 {
		return 3
	}
	var before []int
	row := make([]int, len(rb)+1)
	for j := range row {
		row[j] = j
	}
	for i := range ra {
		next := make([]int, len(rb)+1)
		next[0] = i + 1
		for j := range rb {
			cost := 1
			if ra[i] == rb[j] {
				cost = 0
			}
			next[j+1] = min(row[j]+cost, next[j]+1, row[j+1]+1)
			if i > 0 && j > 0 && ra[i] == rb[j-1] && ra[i-1] == rb[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, row = row, next
	}
	return row[len(rb)]
}

// nearest is the word that was probably meant; empty if none is near. A word of
// one or two letters must not turn into any other of that length.
func nearest(word string, known []string) string {
	best, at := "", 3
	for _, k := range known {
		if d := distance(strings.ToLower(word), strings.ToLower(k)); d < at && d < max(len(k), len(word))-d {
			best, at = k, d
		}
	}
	return best
}

// didYouMean is a hint for an unknown word.
func didYouMean(word string, known []string) string {
	if n := nearest(word, known); n != "" {
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
