// SPDX-License-Identifier: Apache-2.0

package suite

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/steelyard-lb/steelyard/core"
)

// A Problem is what is wrong with a scenario file, and where.
type Problem struct {
	Line, Column  int
	Message, Hint string
}

// Problems are all that is wrong with one file.
type Problems struct {
	Path string
	List []Problem
}

func (p *Problems) Error() string {
	lines := make([]string, len(p.List))
	for i, q := range p.List {
		lines[i] = fmt.Sprintf("%s:%d:%d: %s", p.Path, q.Line, q.Column, q.Message)
		if q.Hint != "" {
			lines[i] += " (" + q.Hint + ")"
		}
	}
	return strings.Join(lines, "\n")
}

// maxScenarios bounds a scenario file, in bytes.
const maxScenarios = 4 << 20

// A yamlReader reads a file strictly and notes every problem.
type yamlReader struct {
	problems *Problems
}

// An entry is one key of a map.
type entry struct {
	key       string
	line, col int // of the key
	value     ast.Node
}

func (r *yamlReader) problem(n ast.Node, hint, format string, a ...any) {
	p := n.GetToken().Position
	r.problemAt(p.Line, p.Column, hint, format, a...)
}

func (r *yamlReader) problemAt(line, col int, hint, format string, a ...any) {
	r.problems.List = append(r.problems.List, Problem{line, col, fmt.Sprintf(format, a...), hint})
}

// parse reads YAML; nil after noting why it is none.
func (r *yamlReader) parse(data []byte) (root ast.Node) {
	defer func() {
		if p := recover(); p != nil { // a bug of the parser, met on what is no YAML
			r.problemAt(1, 1, "", "the YAML parser gave up: %v", p)
			root = nil
		}
	}()
	if len(data) > maxScenarios {
		r.problemAt(1, 1, "", "%d bytes, at most %d are read", len(data), maxScenarios)
		return nil
	}
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		line, message := yamlError(err)
		r.problemAt(line, 1, "", "%s", message)
		return nil
	}
	for _, doc := range file.Docs {
		if doc.Body != nil {
			return doc.Body
		}
	}
	r.problemAt(1, 1, "it begins with scenarios:", "the file is empty")
	return nil
}

// yamlError takes the line out of "[3:5] text" and what follows.
func yamlError(err error) (line int, message string) {
	text, _, _ := strings.Cut(err.Error(), "\n")
	line = 1
	if rest, ok := strings.CutPrefix(text, "["); ok {
		if at, message, ok := strings.Cut(rest, "] "); ok {
			l, _, _ := strings.Cut(at, ":")
			if n, err := strconv.Atoi(l); err == nil {
				return n, message
			}
		}
	}
	return line, text
}

// entries are the keys of a map; known lists those there are, nil for any.
func (r *yamlReader) entries(n ast.Node, what string, known []string) []entry {
	var values []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	case *ast.NullNode:
		return nil
	default:
		r.problem(n, "", "%s: want a map", what)
		return nil
	}
	var out []entry
	for _, v := range values {
		at := v.Key.GetToken().Position
		e := entry{keyText(v.Key), at.Line, at.Column, v.Value}
		if known != nil && !slices.Contains(known, e.key) {
			r.problemAt(at.Line, at.Column, oneOf(e.key, known), "unknown key %q in %s", e.key, what)
			continue
		}
		out = append(out, e)
	}
	return out
}

func keyText(k ast.MapKeyNode) string {
	if s, ok := k.(*ast.StringNode); ok {
		return s.Value
	}
	return k.GetToken().Value
}

// items are the entries of a list.
func (r *yamlReader) items(n ast.Node, what string) []ast.Node {
	list, ok := n.(*ast.SequenceNode)
	if !ok {
		r.problem(n, "", "%s: want a list", what)
		return nil
	}
	return list.Values
}

// text is a plain value as it was written; false after noting that it is none.
func (r *yamlReader) text(n ast.Node, what string) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NanNode, *ast.InfinityNode:
		return n.GetToken().Value, true
	case *ast.NullNode:
		return "unknown", true
	}
	r.problem(n, "", "%s: want a single value", what)
	return "", false
}

// oneOf is the word that was probably meant, or those there are.
func oneOf(word string, known []string) string {
	if k := core.Nearest(word, known); k != "" {
		return fmt.Sprintf("did you mean %q?", k)
	}
	return "known: " + strings.Join(known, ", ")
}
