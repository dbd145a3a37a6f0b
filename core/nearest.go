// SPDX-License-Identifier: Apache-2.0

package core

import "strings"

// EditDistance is how many letters must be put in, left out, changed or swapped with
// their neighbour to make b of a (Levenshtein, with swaps). Past 2 it may say any
// number above 2.
func EditDistance(a, b string) int {
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

// Nearest is the word that was probably meant; empty if none is near. A word of
// one or two letters must not turn into any other of that length.
func Nearest(word string, known []string) string {
	best, at := "", 3
	for _, k := range known {
		if d := EditDistance(strings.ToLower(word), strings.ToLower(k)); d < at && d < max(len(k), len(word))-d {
			best, at = k, d
		}
	}
	return best
}
