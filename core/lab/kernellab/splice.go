// SPDX-License-Identifier: Apache-2.0

package kernellab

import (
	"errors"
	"strings"
)

// The markers between which a page of the documentation holds the tables.
const (
	begin = "<!-- kernel-lab:begin -->\n"
	end   = "<!-- kernel-lab:end -->"
)

// Splice replaces what stands between the markers of a page by block.
func Splice(page, block string) (string, error) {
	head, rest, ok := strings.Cut(page, begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return "", errors.New("the page lacks the lines " + strings.TrimSpace(begin) + " and " + end + ", in this order")
	}
	return head + begin + "\n" + block + "\n" + end + tail, nil
}
