// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// A Problem is one mistake, at one place.
type Problem struct {
	// File, Line and Column say where, counted from 1 and columns in
	// characters. Line is 0 when the problem is the file itself. A value out of
	// the environment or a flag has no line: File then names the variable or
	// the flag.
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	Key    string `json:"key,omitempty"` // the path of the key: services.web.port

	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"` // what to do about it

	// Source is the line, with its secrets hidden, and Width how many of its
	// characters from Caret on are meant.
	Source string `json:"source,omitempty"`
	Caret  int    `json:"-"`
	Width  int    `json:"-"`
}

// Error is the problem on one line, for where the line itself is not shown.
func (p Problem) Error() string {
	s := p.place() + ": "
	// A variable or a flag says the key itself, and so do some messages.
	if last := p.Key[strings.LastIndex(p.Key, ".")+1:]; p.Line > 0 && !strings.Contains(p.Message, last) {
		s += p.Key + ": "
	}
	s += p.Message
	if p.Hint != "" {
		s += " (" + p.Hint + ")"
	}
	return s
}

func (p Problem) place() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Errors are all the problems of a configuration, in the order of the layers
// and lines. Load returns it as its error.
type Errors []Problem

// Error lists every problem, one a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, p := range e {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// ConfigInvalid tells those who do not know this type that the configuration is
// what was wrong: the control socket's answer to a reload says so.
func (e Errors) ConfigInvalid() bool { return true }

// The colours of Render, as terminals have them.
const (
	bold  = "\x1b[1m"
	red   = "\x1b[1;31m"
	green = "\x1b[32m"
	plain = "\x1b[0m"
)

// Render writes each problem with its line, a caret under the place, and the
// hint. Color adds terminal escapes and nothing else.
func (e Errors) Render(w io.Writer, color bool) {
	e.render(w, color, "error")
	if n := len(e); n > 1 {
		fmt.Fprintf(w, "%d errors\n", n)
	}
}

// RenderWarnings is Render for problems that stop nothing.
func (e Errors) RenderWarnings(w io.Writer, color bool) { e.render(w, color, "warning") }

func (e Errors) render(w io.Writer, color bool, severity string) {
	paint := func(c, s string) string {
		if !color {
			return s
		}
		return c + s + plain
	}
	for _, p := range e {
		fmt.Fprintf(w, "%s %s %s\n", paint(bold, p.place()+":"), paint(red, severity+":"), p.Message)
		if p.Source != "" {
			// Tabs stay tabs, so that the caret stands right at any width.
			pad := strings.Map(func(r rune) rune {
				if r == '\t' {
					return r
				}
				return ' '
			}, string([]rune(p.Source)[:p.Caret-1]))
			fmt.Fprintf(w, "%5d | %s\n", p.Line, p.Source)
			fmt.Fprintf(w, "      | %s%s\n", pad, paint(red, strings.Repeat("^", p.Width)))
		}
		if p.Hint != "" {
			fmt.Fprintf(w, "      = %s\n", paint(green, p.Hint))
		}
	}
}

// A pos is where a key or a value was written. There is one for each word of
// the configuration, so it is small.
type pos struct {
	src   *source
	line  int32 // 0: not out of a file
	col   uint16
	width uint16 // characters, at least 1
}

// A source is what a pos is in.
type source struct {
	layer int    // counted from 0
	file  string // or "environment STEELYARD_X", "flag x.y"
}

// nowhere is the place of what has no line.
func nowhere(layer int, file string) pos { return pos{src: &source{layer, file}} }

// at is a place in a file.
func (s *source) at(line, col, width int) pos {
	return pos{s, int32(line), uint16(min(col, maxLine)), uint16(min(width, maxLine))}
}

func (p pos) file() string {
	if p.src == nil {
		return ""
	}
	return p.src.file
}

func (p pos) layer() int {
	if p.src == nil {
		return 0
	}
	return p.src.layer
}

// maxProblems is how many problems are looked for. Nobody reads more, each takes time to
// show, and whoever may push definitions would have a node do nothing else for hours.
const maxProblems = 200

// problems gathers what is wrong. It is not safe for concurrent use.
type problems struct {
	list  []located
	lines map[string][]string // of each file
}

type located struct {
	Problem
	layer int
}

// full reports whether there are so many that no more are looked for.
func (ps *problems) full() bool { return len(ps.list) >= maxProblems }

// add notes a problem of the key at path, unless there are too many.
func (ps *problems) add(at pos, path, hint, format string, args ...any) {
	if ps.full() {
		return
	}
	p := Problem{File: at.file(), Line: int(at.line), Column: int(at.col), Key: keyName(path), Hint: hint}
	p.Message = inMessage.ReplaceAllString(hideURLs(fmt.Sprintf(format, args...)), "$1: "+hidden)
	if lines := ps.lines[p.File]; p.Line > 0 && p.Line <= len(lines) {
		p.Source, p.Caret, p.Width = display(lines, p.Line, p.Column, max(int(at.width), 1))
	}
	ps.list = append(ps.list, located{p, at.layer()})
}

// errors returns the problems as an error; nil if there is none.
func (ps *problems) errors() error {
	if len(ps.list) == 0 {
		return nil
	}
	return ps.sorted()
}

// sorted are the problems in the order a reader meets them.
func (ps *problems) sorted() Errors {
	slices.SortStableFunc(ps.list, func(a, b located) int {
		if a.layer != b.layer {
			return a.layer - b.layer
		}
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		if a.Column != b.Column {
			return a.Column - b.Column
		}
		return strings.Compare(a.Message, b.Message)
	})
	var out Errors
	for _, p := range ps.list {
		out = append(out, p.Problem)
	}
	out = slices.CompactFunc(out, func(a, b Problem) bool { return a == b })
	if ps.full() {
		out = append(out, Problem{File: out[len(out)-1].File, Message: fmt.Sprintf("there may be more; after %d problems no more are looked for", maxProblems)})
	}
	return out
}
