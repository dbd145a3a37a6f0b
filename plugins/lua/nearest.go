// SPDX-License-Identifier: Apache-2.0

package lua

import "strings"

// nearest is the word that was probably meant, at most two letters away; empty
// if none is near. core/config has the same for the words of a configuration.
func nearest(word string, known []string) string {
	best, at := "", 3
	for _, k := range known {
		if d := distance(strings.ToLower(word), strings.ToLower(k)); d < at && d < len(k)-1 {
			best, at = k, d
		}
	}
	return best
}

// distance counts the letters to put in, leave out or change (Levenshtein).
// Words whose lengths differ by more than 2 are far apart.
func distance(a, b string) int {
	if d := len(a) - len(b); d > 2 || d < -2 {
		return 3
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
