// SPDX-License-Identifier: Apache-2.0

package admin

// nearest returns the name that differs from word by at most two edits, or ""
// if none does. A short word is near to everything, so it is allowed fewer.
func nearest(word string, names []string) string {
	best, limit := "", min(2, len(word)/2)
	for _, n := range names {
		if d := edits(word, n); d <= limit {
			best, limit = n, d-1
		}
	}
	return best
}

// edits counts the bytes to insert, remove, replace or swap with their
// neighbour that make b of a.
func edits(a, b string) int {
	// Row i, column j: from the first i bytes of a to the first j of b.
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			same := 1
			if a[i-1] == b[j-1] {
				same = 0
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, d[i-1][j-1]+same)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}
