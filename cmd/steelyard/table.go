// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A color is a terminal's escape sequence; empty leaves the text alone.
type color string

const (
	bold   color = "\x1b[1m"
	dim    color = "\x1b[2m"
	red    color = "\x1b[31m"
	green  color = "\x1b[32m"
	yellow color = "\x1b[33m"
	plain  color = "\x1b[0m"
)

// A painter colours text, or not.
type painter bool

func (p painter) paint(c color, text string) string {
	if !p || c == "" || text == "" {
		return text
	}
	return string(c) + text + string(plain)
}

// A column is the head of a column. Numbers are Right aligned.
type column struct {
	title string
	right bool
}

// A cell is text and its colour, which takes no width.
type cell struct {
	text  string
	color color
}

// A table lines up its rows. Several tables with one widths line up with one
// another too.
type table struct {
	columns []column
	rows    [][]cell
}

// add appends a row of plain text and cells. Control characters, which a policy
// or a monitor might have put there, do not reach the terminal.
func (t *table) add(cells ...any) {
	row := make([]cell, len(cells))
	for i, c := range cells {
		switch c := c.(type) {
		case cell:
			row[i] = cell{clean(c.text), c.color}
		default:
			row[i] = cell{text: clean(fmt.Sprint(c))}
		}
	}
	t.rows = append(t.rows, row)
}

// drop takes a column out.
func (t *table) drop(i int) {
	t.columns = slices.Delete(t.columns, i, i+1)
	for k := range t.rows {
		t.rows[k] = slices.Delete(t.rows[k], i, i+1)
	}
}

// widths are the columns' widths in characters, no smaller than atLeast.
func (t *table) widths(atLeast []int) []int {
	w := make([]int, len(t.columns))
	for i, c := range t.columns {
		w[i] = len(c.title)
		if i < len(atLeast) {
			w[i] = max(w[i], atLeast[i])
		}
		for _, row := range t.rows {
			w[i] = max(w[i], utf8.RuneCountInString(row[i].text))
		}
	}
	return w
}

// write prints the table with its head, each line behind indent. The last
// column is not padded, so no line ends in spaces.
func (t *table) write(out io.Writer, indent string, widths []int, p painter) {
	head := make([]cell, len(t.columns))
	for i, c := range t.columns {
		head[i] = cell{c.title, dim}
	}
	for _, row := range append([][]cell{head}, t.rows...) {
		var b strings.Builder
		pad := 0 // owed to the next cell that has text
		for i, c := range row {
			gap := widths[i] - utf8.RuneCountInString(c.text)
			if t.columns[i].right {
				pad, gap = pad+gap, 0
			}
			if c.text != "" {
				b.WriteString(strings.Repeat(" ", pad) + p.paint(c.color, c.text))
				pad = 0
			}
			pad += gap + 2
		}
		fmt.Fprintf(out, "%s%s\n", indent, b.String())
	}
}

// clean replaces what could move the cursor or colour the terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}
