// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/core/nft"
)

const (
	diffContext = 3
	// maxEdits bounds the search for the shortest diff, whose memory grows with
	// its square. What differs in more lines is shown as gone and come whole.
	maxEdits = 1000
)

// unifiedDiff is what turns one text into another, as diff -u prints it; empty if
// they are the same.
func unifiedDiff(fromName, toName, from, to string) string {
	a, b := lines(from), lines(to)
	ops := diffLines(a, b)
	var out strings.Builder
	for _, h := range hunks(ops) {
		if out.Len() == 0 {
			fmt.Fprintf(&out, "--- %s\n+++ %s\n", fromName, toName)
		}
		h.write(&out)
	}
	return out.String()
}

func lines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

// An editOp is one line of a diff: kept ' ', gone '-' or come '+'.
type editOp struct {
	kind byte
	line string
}

// diffLines finds the edits between two texts, by Myers' algorithm.
func diffLines(a, b []string) (ops []editOp) {
	head := 0
	for head < len(a) && head < len(b) && a[head] == b[head] {
		ops = append(ops, editOp{' ', a[head]})
		head++
	}
	tail := 0
	for tail < len(a)-head && tail < len(b)-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	ops = append(ops, shortest(a[head:len(a)-tail], b[head:len(b)-tail])...)
	for _, line := range a[len(a)-tail:] {
		ops = append(ops, editOp{' ', line})
	}
	return ops
}

// shortest is the shortest list of edits, or all of a gone and all of b come if
// that is too long to look for.
func shortest(a, b []string) []editOp {
	// far[k] is how far in a a path with d edits comes on diagonal k = x - y.
	far := map[int]int{1: 0}
	var trace []map[int]int
	for d := 0; d <= min(len(a)+len(b), maxEdits); d++ {
		next := make(map[int]int, d+1)
		for k := -d; k <= d; k += 2 {
			x := far[k-1] + 1
			if k == -d || k != d && far[k-1] < far[k+1] {
				x = far[k+1]
			}
			y := x - k
			for x < len(a) && y < len(b) && a[x] == b[y] {
				x, y = x+1, y+1
			}
			next[k] = x
			if x >= len(a) && y >= len(b) {
				return backtrack(a, b, append(trace, far), d)
			}
		}
		trace = append(trace, far)
		far = next
	}
	ops := make([]editOp, 0, len(a)+len(b))
	for _, line := range a {
		ops = append(ops, editOp{'-', line})
	}
	for _, line := range b {
		ops = append(ops, editOp{'+', line})
	}
	return ops
}

// backtrack walks the path of d edits from its end; trace[i] are the ends of the
// paths of i-1 edits.
func backtrack(a, b []string, trace []map[int]int, d int) (ops []editOp) {
	x, y := len(a), len(b)
	for ; d >= 0; d-- {
		far, k := trace[d], x-y
		before := k - 1
		if k == -d || k != d && far[k-1] < far[k+1] {
			before = k + 1
		}
		px := far[before]
		py := px - before
		for x > px && y > py && x > 0 && y > 0 {
			x, y = x-1, y-1
			ops = append(ops, editOp{' ', a[x]})
		}
		if d == 0 {
			break
		}
		if before == k+1 {
			y--
			ops = append(ops, editOp{'+', b[y]})
		} else {
			x--
			ops = append(ops, editOp{'-', a[x]})
		}
	}
	slices.Reverse(ops)
	return ops
}

// A hunk is edits with some lines around them.
type hunk struct {
	from, to int // the lines before it
	ops      []editOp
}

func hunks(ops []editOp) (list []hunk) {
	from, to := 0, 0 // lines so far
	last := -1       // index of the latest edit
	for i, op := range ops {
		if op.kind != ' ' {
			if last < 0 || i-last > 2*diffContext {
				lead := min(diffContext, i)
				if last >= 0 {
					h := &list[len(list)-1]
					h.ops = append(h.ops, ops[last+1:last+1+diffContext]...)
				}
				list = append(list, hunk{from: from - lead, to: to - lead, ops: slices.Clone(ops[i-lead : i+1])})
			} else {
				h := &list[len(list)-1]
				h.ops = append(h.ops, ops[last+1:i+1]...)
			}
			last = i
		}
		if op.kind != '+' {
			from++
		}
		if op.kind != '-' {
			to++
		}
	}
	if last >= 0 {
		h := &list[len(list)-1]
		h.ops = append(h.ops, ops[last+1:min(len(ops), last+1+diffContext)]...)
	}
	return list
}

func (h hunk) write(w *strings.Builder) {
	gone, come := 0, 0
	for _, op := range h.ops {
		if op.kind != '+' {
			gone++
		}
		if op.kind != '-' {
			come++
		}
	}
	start := func(before, n int) int {
		if n == 0 {
			return before
		}
		return before + 1
	}
	fmt.Fprintf(w, "@@ -%d,%d +%d,%d @@\n", start(h.from, gone), gone, start(h.to, come), come)
	for _, op := range h.ops {
		fmt.Fprintf(w, "%c%s\n", op.kind, op.line)
	}
}

var (
	counterText = regexp.MustCompile(`packets [0-9]+ bytes [0-9]+`)
	tableFlags  = regexp.MustCompile(`(?m)^\t(flags .*|# progname .*)\n`)
	dynamicSet  = regexp.MustCompile(`(?ms)^\t(?:map|set) [^\n]*\{\n.*?^\t\}\n`)
	elementList = regexp.MustCompile(`(?ms)^\t\telements = \{.*?\}\n(\t\})`)
)

// listTable is the table as nft lists it, without what packets have counted or put
// there and without the flags of its owner.
func listTable(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "nft", "list", "table", "inet", nft.DefaultTable).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, clean(string(exit.Stderr)))
	}
	if err != nil {
		return "", &codedError{exitFailure, fmt.Errorf("list the table in the kernel: %w", err), "without a daemon, --nft needs the command nft"}
	}
	return normalListing(string(out)), nil
}

// A block is a set, a chain or an object of a listing.
var block = regexp.MustCompile(`(?ms)^\t[a-z][^\n]* \{\n.*?^\t\}\n`)

// inOrderOf puts the blocks of a listing into the order of another, so that only
// what differs is left. The kernel lists them as they were made.
func inOrderOf(listing, model string) string {
	place := map[string]int{}
	for i, b := range block.FindAllString(model, -1) {
		head, _, _ := strings.Cut(b, "\n")
		place[head] = i
	}
	blocks := block.FindAllString(listing, -1)
	slices.SortStableFunc(blocks, func(a, b string) int {
		return cmp.Compare(placeOf(a, place), placeOf(b, place))
	})
	return separate(listing, blocks)
}

// placeOf is where a block belongs; last of all if the model has none of its name.
func placeOf(b string, place map[string]int) int {
	head, _, _ := strings.Cut(b, "\n")
	if i, ok := place[head]; ok {
		return i
	}
	return len(place)
}

// separate is a listing with these blocks, and an empty line between any two.
func separate(listing string, blocks []string) string {
	if listing == "" {
		return ""
	}
	head := strings.SplitAfterN(listing, "\n", 3) // the table and its comment
	return strings.Join(head[:min(2, len(head))], "") + strings.Join(blocks, "\n") + "}\n"
}

func normalListing(text string) string {
	text = tableFlags.ReplaceAllString(text, "")
	text = counterText.ReplaceAllString(text, "packets 0 bytes 0")
	return dynamicSet.ReplaceAllStringFunc(text, func(block string) string {
		if !strings.Contains(block, "dynamic") {
			return block
		}
		return elementList.ReplaceAllString(block, "$1")
	})
}
